"""Compare denoising methods on photographs that the training of the bundled denoiser does not use.

Gaussian noise is added, clipped and rounded to 8 bits, identically for every method. The script prints one table for
color and one for gray images, and writes them to `--out` as `table.md`, with all measurements in `measurements.json`.
Existing measurements are not repeated, so an interrupted run resumes.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from methods import Method, build_methods, num_threads
from PIL import Image

from artgen.engine import metrics

sys.path.append(str(Path(__file__).parents[1] / "train_denoiser"))
from image_sources import HELD_OUT

SIGMAS = (10, 15, 25, 50, 75)
KINDS = ("color", "gray")
FORMER_KINDS = {"colour": "color", "grey": "gray"}
FORMER_FIELD_NAMES = {"picture": "image"}


@dataclass(frozen=True)
class Measurement:
    """Store the measurement of one method on one image.

    Attributes:
        kind: color or gray.
        image: name of the image in `skimage.data`.
        sigma: standard deviation of the noise before clipping, 0 to 255.
        method: name of the method.
        psnr: peak signal-to-noise ratio in dB.
        ssim: structural similarity; 1 for equal images.
        perceptual_distance: perceptual distance; 0 for equal images.
        seconds_per_megapixel: duration without model loading, with `threads` threads.
        threads: number of threads.
    """

    kind: str
    image: str
    sigma: float
    method: str
    psnr: float
    ssim: float
    perceptual_distance: float
    seconds_per_megapixel: float
    threads: int

    @property
    def key(self) -> tuple[str, str, float, str]:
        return self.kind, self.image, self.sigma, self.method


def canonical_kind(kind: str) -> str:
    """Return the current name of a kind; earlier versions used British spelling."""
    return FORMER_KINDS.get(kind, kind)


def load_images(kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and pixels of the held-out photographs: the color photographs, or all photographs in gray."""
    for name in (Path(file).stem for file in HELD_OUT):
        pixels = getattr(skimage.data, name)()
        if kind == "gray":
            yield name, np.asarray(Image.fromarray(pixels).convert("L"))
        elif pixels.ndim == 3:
            yield name, pixels


def add_noise(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Add reproducible noise and round to 8 bits."""
    noise = sigma * np.random.default_rng(round(sigma)).standard_normal(pixels.shape)
    return round_to_uint8(pixels + noise)


def round_to_uint8(pixels: np.ndarray) -> np.ndarray:
    """Round and clip to 0 to 255."""
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def measure(kind: str, name: str, clean: np.ndarray, sigma: float, method: str, denoise: Method) -> Measurement:
    """Run one method on one image."""
    noisy = add_noise(clean, sigma)
    start = time.perf_counter()
    denoised = round_to_uint8(denoise(noisy, sigma).astype(np.float64))
    seconds = (time.perf_counter() - start) / (clean.shape[0] * clean.shape[1] / 1e6)
    return Measurement(
        kind, name, sigma, method,
        round(metrics.psnr(denoised, clean), 3),
        round(metrics.ssim(denoised, clean), 4),
        round(metrics.vae_feature_distance(denoised, clean), 4),
        round(seconds, 2),
        num_threads(),
    )  # fmt: skip


def format_table(measured: list[Measurement], kind: str, order: list[str]) -> str:
    """Return a Markdown table of the means over the images: PSNR, SSIM, perceptual distance per sigma, and the time."""
    rows = [row for row in measured if row.kind == kind]
    sigmas = sorted({row.sigma for row in rows})
    names = ", ".join(dict.fromkeys(row.image for row in rows))
    lines = [
        f"{kind.capitalize()} ({names}): PSNR in dB / SSIM / perceptual distance",
        "",
        "| method | " + " | ".join(f"sigma {sigma:g}" for sigma in sigmas) + " | s per megapixel |",
        "|---|" + "---|" * (len(sigmas) + 1),
    ]
    for method in order:
        method_rows = [row for row in rows if row.method == method]
        if not method_rows:
            continue
        cells = [_cell([row for row in method_rows if row.sigma == sigma]) for sigma in sigmas]
        seconds = np.mean([row.seconds_per_megapixel for row in method_rows])
        lines.append(f"| {method} | {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _cell(rows: list[Measurement]) -> str:
    if not rows:
        return ""
    psnr, ssim, distance = np.mean([(row.psnr, row.ssim, row.perceptual_distance) for row in rows], axis=0)
    return f"{psnr:.2f} / {ssim:.3f} / {distance:.3f}"


def _current_fields(row: dict[str, Any]) -> dict[str, Any]:
    """Return a measurement of a file, which may have been written by an earlier version, with current names."""
    current = {FORMER_FIELD_NAMES.get(name, name): value for name, value in row.items()}
    return {**current, "kind": canonical_kind(row["kind"])}


def read_measurements(path: Path) -> dict[tuple[str, str, float, str], Measurement]:
    """Read earlier measurements, by key."""
    if not path.exists():
        return {}
    rows = [Measurement(**_current_fields(row)) for row in json.loads(path.read_text())]
    return {row.key: row for row in rows}


def write_measurements(path: Path, measured: dict[tuple[str, str, float, str], Measurement]) -> None:
    """Write all measurements atomically."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps([asdict(row) for row in measured.values()], indent=1) + "\n")
    temporary.replace(path)


def run_missing(measured: dict[tuple[str, str, float, str], Measurement], all_methods: dict[str, Method],
             sigmas: list[float], kinds: list[str], path: Path) -> None:  # fmt: skip
    """Run the missing measurements. Write the file after each measurement."""
    for kind in kinds:
        for name, clean in load_images(kind):
            for sigma in sigmas:
                for method, denoise in all_methods.items():
                    if (kind, name, sigma, method) in measured:
                        continue
                    row = measure(kind, name, clean, sigma, method, denoise)
                    measured[row.key] = row
                    write_measurements(path, measured)
                    print(*asdict(row).values(), flush=True, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/denoise_benchmark"))
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="methods of the first table column [all]")
    parser.add_argument("--sigma", type=float, nargs="+", default=list(SIGMAS), help="noise levels, 0 to 255")
    parser.add_argument("--kind", nargs="+", type=canonical_kind, choices=KINDS, default=list(KINDS))
    parser.add_argument("--model", help="pixel denoiser [the bundled denoiser]")
    parser.add_argument("--latent-model", help="Stable Diffusion model [the bundled text-to-image model]")
    options = parser.parse_args()
    all_methods = build_methods(options.model, options.latent_model)
    if unknown := set(options.only or ()) - set(all_methods):
        parser.error(f"unknown method: {', '.join(sorted(unknown))}. Use: {', '.join(all_methods)}.")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "measurements.json"
    measured = read_measurements(path)
    selected = {name: denoise for name, denoise in all_methods.items() if name in (options.only or all_methods)}
    for name, denoise in selected.items():
        if name.startswith(("artgen", "latent")):
            denoise(np.full((64, 64, 3), 128, np.uint8), 25)  # load the model before the measurement
    run_missing(measured, selected, options.sigma, options.kind, path)
    tables = "\n".join(format_table(list(measured.values()), kind, list(all_methods)) for kind in options.kind)
    (options.out / "table.md").write_text(tables)
    print(tables)


if __name__ == "__main__":
    main()
