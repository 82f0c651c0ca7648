"""Measure how well each method of `artgen upscale` restores photographs, and write the section `upscale`.

    python tests/benchmarks/upscale.py [--methods NAME ...] [--upscaler NAME ...] [--quick]

Photographs of scikit-image that artgen's bundled models were not trained on are reduced by 2 and by 4 with bicubic
filtering, enlarged to their size, and compared. The rows with random weights measure only the speed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import results
import skimage.data
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.metrics import compare_images
from artgen.engine.upscaling.esrgan import RRDBNet
from artgen.engine.upscaling.networks import EnlargeOptions, enlarge
from artgen.events import no_op
from artgen.registry.upscalers import Upscaler, resolve_upscaler

PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
"""Color photographs of scikit-image (CC0 or public domain) that are not training data of the bundled models."""
FACTORS = (2, 4)
SPEED_SIDE_PX = 96
"""Side of the image that networks with random weights enlarge."""
METRICS = {"psnr": "psnr", "ssim": "ssim", "distance": "vae_feature_distance"}
CPU = DeviceConfig("cpu", "fp32")
TITLE = """## `upscale.py`: restoration of reduced photographs

Four photographs of scikit-image (astronaut, chelsea, coffee, rocket), reduced with bicubic filtering and enlarged to
their size; means. The perceptual distance is `artgen.engine.metrics.vae_feature_distance`. Seconds are wall time per
megapixel of the result, with one thread, on a machine with other work. A network with the scale 2 runs twice for the
factor 4."""
RANDOM_TITLE = """Networks at their full size with random weights. These rows measure only the speed, not the
quality of the trained networks, which need a download. Seconds per megapixel of the result:"""
CONCLUSION = """\
`redraw` generates details, and PSNR and SSIM prefer smooth results. With `tiny`, its result is limited by the small
autoencoder, which reconstructs these photographs with 24.2 dB without any change. `tiny-x2` is a small network
(78,636 parameters): it restores edges and no texture, and it was trained on images that were reduced as in this
benchmark. Photographs with noise or JPEG artifacts are not in the benchmark."""

Enlarge = Callable[[Image.Image, int], Image.Image]


def load_photo(name: str, max_side: int | None) -> Image.Image:
    """Return a photograph whose sides are multiples of 4."""
    photo = Image.fromarray(getattr(skimage.data, name)())
    width, height = (min(side, max_side or side) // 4 * 4 for side in photo.size)
    return photo.crop((0, 0, width, height))


def lanczos(image: Image.Image, factor: int) -> Image.Image:
    """Return the image enlarged with Lanczos."""
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def with_network(upscaler: Upscaler) -> Enlarge:
    """Return a function that enlarges images with a network."""

    def run(image: Image.Image, factor: int) -> Image.Image:
        options = EnlargeOptions(size=(image.width * factor, image.height * factor))
        return Image.fromarray(enlarge(np.asarray(image), upscaler, CPU, no_op, options))

    return run


def with_redraw(model: str) -> Enlarge:
    """Return a function that enlarges images with tiled img2img."""
    import artgen

    def run(image: Image.Image, factor: int) -> Image.Image:
        return artgen.upscale(image, by=factor, method="redraw", model=model, seed=0, device="cpu").image

    return run


def measure(name: str, run: Enlarge, factor: int, photos: Sequence[Image.Image]) -> dict[str, Any]:
    """Return the mean metrics of a method, and its seconds per megapixel without the loading of the model."""
    scores: list[dict[str, float]] = []
    seconds = megapixels = 0.0
    run(photos[0].crop((0, 0, 64, 64)), factor)  # loads the model
    for photo in photos:
        small = photo.resize((photo.width // factor, photo.height // factor), Image.Resampling.BICUBIC)
        started = time.perf_counter()
        found = run(small, factor)
        seconds += time.perf_counter() - started
        megapixels += photo.width * photo.height / 1e6
        scores.append(compare_images(found.convert("RGB"), photo))
    means = {short: statistics.mean(each[key] for each in scores) for short, key in METRICS.items()}
    return {"factor": factor, "method": name, **means, "seconds": seconds / megapixels}


def random_networks(folder: Path) -> dict[str, Upscaler]:
    """Save networks with random weights at the sizes of the published ones."""
    torch.manual_seed(0)
    found = {}
    for name, scale, options in (
        ("Swin2SR classical x2", 2, {}),
        ("Swin2SR lightweight x2", 2, {"embed_dim": 60, "depths": [6] * 4, "num_heads": [6] * 4,
                                       "upsampler": "pixelshuffledirect"}),
    ):  # fmt: skip
        config = transformers.Swin2SRConfig(upscale=scale, num_channels_out=3, **options)
        transformers.Swin2SRForImageSuperResolution(config).save_pretrained(folder / name)
        found[name] = resolve_upscaler(str(folder / name))
    for name, blocks in (("RRDBNet x4, 23 blocks", 23), ("RRDBNet x4, 6 blocks", 6)):
        save_file(RRDBNet(64, blocks, 32, 2, 1).state_dict(), folder / f"{name}.safetensors")
        found[name] = resolve_upscaler(str(folder / f"{name}.safetensors"))
    return found


def measure_speed(upscaler: Upscaler, side: int) -> float:
    """Return the seconds per megapixel of the result, for one tile."""
    pixels = np.asarray(load_photo("astronaut", side))
    run = with_network(upscaler)
    run(Image.fromarray(pixels[:32, :32]), upscaler.scale)
    started = time.perf_counter()
    found = run(Image.fromarray(pixels), upscaler.scale)
    return (time.perf_counter() - started) / (found.width * found.height / 1e6)


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the measurements as a table."""
    lines = [
        "| factor | method | PSNR in dB | SSIM | perceptual distance | s per megapixel |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        scores = f"{row['psnr']:.2f} | {row['ssim']:.3f} | {row['distance']:.4f}"
        lines.append(f"| {row['factor']} | {row['method']} | {scores} | {row['seconds']:.2f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="*", default=["lanczos", "network", "redraw", "random"])
    parser.add_argument("--upscaler", nargs="*", default=["tiny-x2"], help="networks with trained weights")
    parser.add_argument("--quick", action="store_true", help="crops of one photograph, for tests")
    parser.add_argument("--page", type=Path, default=results.PAGE)
    options = parser.parse_args()
    names = PHOTOS[:1] if options.quick else PHOTOS
    photos = [load_photo(name, 64 if options.quick else None) for name in names]
    methods: dict[str, Enlarge] = {"lanczos": lanczos} if "lanczos" in options.methods else {}
    if "network" in options.methods:
        methods |= {name: with_network(resolve_upscaler(name, offline=True)) for name in options.upscaler}
    if "redraw" in options.methods:
        methods["redraw with `tiny`, strength 0.2"] = with_redraw("tiny")
    rows = []
    for factor in FACTORS:
        for name, run in methods.items():
            rows.append(measure(name, run, factor, photos))
            print(table(rows)[-1], flush=True)
    speeds: dict[str, float] = {}
    if "random" in options.methods:
        with tempfile.TemporaryDirectory() as folder:
            for name, upscaler in random_networks(Path(folder)).items():
                speeds[name] = measure_speed(upscaler, 16 if options.quick else SPEED_SIDE_PX)
                print(name, f"{speeds[name]:.1f} s per megapixel", flush=True)
    lines = [TITLE, f"\n{results.today()}, {results.machine()}.\n", *table(rows)]
    if speeds:
        lines += [f"\n{RANDOM_TITLE}\n", "| network | s per megapixel |", "|---|---|"]
        lines += [f"| {name} | {seconds:.0f} |" for name, seconds in speeds.items()]
    lines.append(f"\n{CONCLUSION}")
    results.write("upscale", "\n".join(lines), {"rows": rows, "random_weights": speeds}, options.page)


if __name__ == "__main__":
    main()
