"""Measure `artgen upscale --method redraw` with the bundled model: fidelity, sharpness, seams and memory.

    python tests/benchmarks/upscale_redraw.py fidelity [--count 8] [--strength 0.2] [--tile-size 128]
    python tests/benchmarks/upscale_redraw.py seams [--count 40] [--tile-size 128]
    python tests/benchmarks/upscale_redraw.py memory [--side 8192]

fidelity: images of the bundled model are enlarged by 2. PSNR: the result, reduced with Lanczos, against the original
image. Edge gradient: mean absolute difference of neighboring pixels, divided by that of the image enlarged with
Lanczos.

seams: mean absolute step across the edges of the tiles and the edges and middle lines of the blended bands, divided by
the mean absolute step across the lines 1 to 8 pixels away, on photographs of scikit-image, generated images and
gradients. In an image that Lanczos enlarges by 2, the steps at even positions are larger than those at odd positions.
Therefore the second ratio uses only the lines 2, 4, 6 and 8 pixels away.

memory: peak resident memory of a process that redraws an image and saves it, minus that of a process that redraws one
tile. No model is loaded: the tiles are copied, so that only the memory beyond the model is measured.
"""

import argparse
import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from artgen.engine.upscaling.tiles import TileGrid

PROMPTS = (
    "a red apple", "a cat", "a house at night", "a blue car", "a green tree", "a yellow flower", "a fish", "a boat",
    "a fox in the snow", "a dog on the grass", "a lion in the desert", "a whale in the sea", "an owl at night",
    "a red rose", "a cactus in the desert", "a mushroom on the grass", "a pizza", "a strawberry", "a birthday cake",
    "a castle at sunset", "a snowy mountain", "a volcano", "a church in the snow", "a helicopter in the sky",
    "a fire truck", "a bicycle at the top left", "a rocket at night", "a sailboat at sunset", "a tractor on the grass",
    "a rainbow", "a snowman at the bottom right", "a moon at the top right", "an umbrella", "a robot on the left",
    "a skull", "a balloon in the sky", "a teddy bear", "a trophy on the right", "a guitar", "a laptop",
)  # fmt: skip
"""Different subjects. The first `FIDELITY_IMAGES` are the images of `fidelity`."""
FIDELITY_IMAGES = 8
SEAM_DISTANCES = {"lines 1 to 8": range(1, 9), "even lines": range(2, 9, 2)}
"""Distances of the lines in pixels with which the seams are compared, by name."""
STEPS = 30


def main() -> None:
    """Run the measurement of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=["fidelity", "seams", "memory", "redraw"])
    parser.add_argument("--count", type=int, help="number of generated images [8, or 40 for seams]")
    parser.add_argument("--side", type=int, default=8192, help="side of the result of `memory` in pixels")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--strength", type=float, default=0.2)
    parser.add_argument("--tile-size", type=int)
    parser.add_argument("--tile-overlap", type=int)
    arguments = parser.parse_args()
    settings = {"strength": arguments.strength, "steps": arguments.steps}
    settings |= {"tile_size": arguments.tile_size, "tile_overlap": arguments.tile_overlap}
    settings = {name: value for name, value in settings.items() if value is not None}
    if arguments.measurement == "fidelity":
        measure_fidelity(arguments.count or FIDELITY_IMAGES, settings)
    elif arguments.measurement == "seams":
        measure_seams(arguments.count or len(PROMPTS), settings)
    elif arguments.measurement == "memory":
        measure_memory(arguments.side)
    else:
        redraw_plain_image(arguments.side)


def generated_images(count: int) -> list[Image.Image]:
    """Return images of the bundled model."""
    import artgen

    return [
        artgen.txt2img(prompt, model="tiny", seed=index, steps=STEPS).image
        for index, prompt in enumerate(PROMPTS[:count])
    ]


def redraw(image: Image.Image, by: float, settings: dict[str, Any]) -> Image.Image:
    """Return the enlarged image."""
    import artgen

    return artgen.upscale(image, by=by, method="redraw", model="tiny", seed=100, **settings).image


def psnr(first: Image.Image, second: Image.Image) -> float:
    """Return the peak signal-to-noise ratio of two images of the same size in dB."""
    error = np.mean((np.asarray(first, np.float64) - np.asarray(second, np.float64)) ** 2)
    return float(10 * np.log10(255**2 / error))


def edge_gradient(image: Image.Image) -> float:
    """Return the mean absolute difference of neighboring pixels in gray levels."""
    gray = np.asarray(image.convert("L"), np.float64)
    return float((np.abs(np.diff(gray, axis=0)).mean() + np.abs(np.diff(gray, axis=1)).mean()) / 2)


def measure_fidelity(count: int, settings: dict[str, Any]) -> None:
    """Print PSNR and the edge gradient of each image, and the means."""
    decibels, ratios, lanczos_decibels = [], [], []
    for prompt, image in zip(PROMPTS, generated_images(count), strict=False):
        size = (2 * image.width, 2 * image.height)
        plain = image.resize(size, Image.Resampling.LANCZOS)
        result = redraw(image, 2, settings)
        decibels.append(psnr(result.resize(image.size, Image.Resampling.LANCZOS), image))
        lanczos_decibels.append(psnr(plain.resize(image.size, Image.Resampling.LANCZOS), image))
        ratios.append(edge_gradient(result) / edge_gradient(plain))
        print(f"{prompt:20} {decibels[-1]:5.1f} dB  gradient x{ratios[-1]:.2f}", flush=True)
    print(
        f"mean                 {statistics.mean(decibels):5.1f} dB  gradient x{statistics.mean(ratios):.2f}  "
        f"(Lanczos: {statistics.mean(lanczos_decibels):.1f} dB)"
    )


def seam_ratio(image: Image.Image, grid: "TileGrid", distances: Iterable[int]) -> float:
    """Return the mean step across the seams, divided by the mean step across lines near them.

    Args:
        image: enlarged image.
        grid: positions of the tiles.
        distances: distances of these lines from a seam in pixels, on both sides.
    """
    gray = np.asarray(image.convert("L"), np.float64)
    offsets = [sign * distance for distance in distances for sign in (-1, 1)]
    at, near = [], []
    for pixels, starts, tile in ((gray, grid.lefts, grid.tile_width), (gray.T, grid.tops, grid.tile_height)):
        steps = np.abs(np.diff(pixels, axis=1)).mean(axis=0)  # steps[x]: between the columns x and x + 1
        for (first, second), (begin, width) in zip(
            itertools.pairwise(starts), grid.blended_bands(starts, tile), strict=True
        ):
            for line in sorted({second, begin, begin + width // 2, begin + width, first + tile}):
                if all(1 <= line + offset < len(steps) for offset in (0, *offsets)):
                    at.append(steps[line - 1])
                    near.append(np.mean([steps[line + offset - 1] for offset in offsets]))
    return float(np.sum(at) / max(np.sum(near), 1e-9))


def seam_images(count: int) -> Iterator[tuple[str, Image.Image]]:
    """Yield groups and images: photographs, generated images and gradients, 128 to 256 pixels per side."""
    from skimage import data

    for name in ("astronaut", "coffee", "chelsea", "rocket"):
        photo = Image.fromarray(getattr(data, name)()).convert("RGB")
        yield "photographs", photo.resize((192, 192), Image.Resampling.LANCZOS)
    for image in generated_images(count):
        yield "generated images", image
    ramp = np.linspace(0, 255, 192)
    horizontal = np.repeat(np.broadcast_to(ramp, (192, 192))[..., None], 3, axis=2)
    yield "gradients", Image.fromarray(horizontal.astype(np.uint8))
    yield "gradients", Image.radial_gradient("L").resize((192, 192)).convert("RGB")


def measure_seams(count: int, settings: dict[str, Any]) -> None:
    """Print the mean ratios of each group and of all images, for redraw and for Lanczos at the same lines."""
    from artgen.engine.upscaling.tiles import TileGrid

    ratios: dict[str, list[dict[str, float]]] = {}
    for group, image in seam_images(count):
        result = redraw(image, 2, settings)
        tile = settings.get("tile_size", 128)
        grid = TileGrid(*result.size, tile, tile, settings.get("tile_overlap", tile // 4), pixel_side=2)
        plain = image.resize(result.size, Image.Resampling.LANCZOS)
        row = {
            f"{method}, {name}": seam_ratio(each, grid, distances)
            for name, distances in SEAM_DISTANCES.items()
            for method, each in (("redraw", result), ("Lanczos", plain))
        }
        for key in (group, "all"):
            ratios.setdefault(key, []).append(row)
        print(f"{group:18} " + "  ".join(f"{value:.3f}" for value in row.values()), flush=True)
    for group, rows in ratios.items():
        print(f"{group} ({len(rows)})")
        for key in rows[0]:
            values = [row[key] for row in rows]
            error = statistics.stdev(values) / len(values) ** 0.5
            print(f"    {key:22} {statistics.mean(values):.3f} +- {error:.3f}, maximum {max(values):.3f}")


class CopiedTiles:
    """Take the place of `BatchRunner`: return the input of each tile, so that only the other memory is measured."""

    def __init__(self, jobs: Any, *_: Any) -> None:
        self._jobs = jobs

    def run_next_batch(self, start: int) -> list[Any]:
        """Return the results of all jobs from `start` on."""
        from artgen.engine.results import GeneratedImage
        from artgen.spec.records import to_record

        return [GeneratedImage(job.image, to_record(job.request), job.request) for job in self._jobs[start:]]


def redraw_plain_image(side: int) -> None:
    """Redraw a small image with copied tiles and save the result; print the peak memory of the process in MiB."""
    import artgen
    from artgen.engine.upscaling import redraw as engine

    engine.BatchRunner = CopiedTiles  # type: ignore[assignment, misc]
    image = Image.effect_noise((max(8, side // 8), max(8, side // 8)), 50).convert("RGB")
    with tempfile.TemporaryDirectory() as folder:
        artgen.upscale(image, by=8, method="redraw", model="tiny", seed=1).save(f"{folder}/result.png")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


def measure_memory(side: int) -> None:
    """Print the peak memory of a large image beyond that of one tile."""
    peaks = {}
    for each in (128, side):
        command = [sys.executable, __file__, "redraw", "--side", str(each)]
        peaks[each] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
        print(f"{each}x{each}: {peaks[each]} MiB", flush=True)
    print(f"beyond the model: {peaks[side] - peaks[128]} MiB")


if __name__ == "__main__":
    main()
