"""Compares removers of noise on photographs that the bundled denoiser's training never opens.

Gaussian noise is added, clipped and rounded to 8 bits as a file would hold it, the same for every method. Prints a
table for colour and one for grey, and writes them to `--out` as `table.md`, with every single measurement in
`measurements.json`. What is measured already is not measured again: a run that was stopped goes on.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import skimage.data
from methods import Method, methods, threads
from PIL import Image

from artgen.engine import metrics

sys.path.append(str(Path(__file__).parents[1] / "train_denoiser"))
from pictures import HELD_OUT

SIGMAS = (10, 15, 25, 50, 75)
KINDS = ("colour", "grey")


@dataclass(frozen=True)
class Measurement:
    """One method on one picture.

    Attributes:
        kind: colour or grey.
        picture: its name in `skimage.data`.
        sigma: of the noise before it was clipped, 0 to 255.
        psnr: dB.
        ssim: 1 is equal.
        perceptual_distance: 0 is equal.
        seconds_per_megapixel: with `threads` threads, the loading of models left out.
    """

    kind: str
    picture: str
    sigma: float
    method: str
    psnr: float
    ssim: float
    perceptual_distance: float
    seconds_per_megapixel: float
    threads: int

    @property
    def key(self) -> tuple[str, str, float, str]:
        return self.kind, self.picture, self.sigma, self.method


def pictures(kind: str) -> Iterator[tuple[str, np.ndarray]]:
    """The held-out photographs: those in colour, or all of them in grey."""
    for name in (Path(file).stem for file in HELD_OUT):
        pixels = getattr(skimage.data, name)()
        if kind == "grey":
            yield name, np.asarray(Image.fromarray(pixels).convert("L"))
        elif pixels.ndim == 3:
            yield name, pixels


def with_noise(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """The picture as a noisy file would hold it; always the same."""
    noise = sigma * np.random.default_rng(round(sigma)).standard_normal(pixels.shape)
    return eight_bits(pixels + noise)


def eight_bits(pixels: np.ndarray) -> np.ndarray:
    return np.clip(np.round(pixels), 0, 255).astype(np.uint8)


def measure(kind: str, name: str, clean: np.ndarray, sigma: float, method: str, way: Method) -> Measurement:
    """Runs one method on one picture."""
    given = with_noise(clean, sigma)
    begun = time.perf_counter()
    found = eight_bits(way(given, sigma).astype(np.float64))
    seconds = (time.perf_counter() - begun) / (clean.shape[0] * clean.shape[1] / 1e6)
    return Measurement(
        kind, name, sigma, method,
        round(metrics.psnr(found, clean), 3),
        round(metrics.ssim(found, clean), 4),
        round(metrics.vae_feature_distance(found, clean), 4),
        round(seconds, 2),
        threads(),
    )  # fmt: skip


def table(measured: list[Measurement], kind: str, order: list[str]) -> str:
    """Means over the pictures as Markdown: PSNR, SSIM and perceptual distance for each sigma, then the time."""
    rows = [row for row in measured if row.kind == kind]
    sigmas = sorted({row.sigma for row in rows})
    names = ", ".join(dict.fromkeys(row.picture for row in rows))
    lines = [
        f"In {kind} ({names}): PSNR in dB / SSIM / perceptual distance",
        "",
        "| method | " + " | ".join(f"sigma {sigma:g}" for sigma in sigmas) + " | s per megapixel |",
        "|---|" + "---|" * (len(sigmas) + 1),
    ]
    for method in order:
        mine = [row for row in rows if row.method == method]
        if not mine:
            continue
        cells = [_cell([row for row in mine if row.sigma == sigma]) for sigma in sigmas]
        seconds = np.mean([row.seconds_per_megapixel for row in mine])
        lines.append(f"| {method} | {' | '.join(cells)} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def _cell(rows: list[Measurement]) -> str:
    if not rows:
        return ""
    psnr, ssim, distance = np.mean([(row.psnr, row.ssim, row.perceptual_distance) for row in rows], axis=0)
    return f"{psnr:.2f} / {ssim:.3f} / {distance:.3f}"


def read(path: Path) -> dict[tuple[str, str, float, str], Measurement]:
    """What was measured before, by what it is of."""
    if not path.exists():
        return {}
    rows = [Measurement(**row) for row in json.loads(path.read_text())]
    return {row.key: row for row in rows}


def write(path: Path, measured: dict[tuple[str, str, float, str], Measurement]) -> None:
    """All measurements, in place of the file at once."""
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps([asdict(row) for row in measured.values()], indent=1) + "\n")
    beside.replace(path)


def complete(measured: dict[tuple[str, str, float, str], Measurement], ways: dict[str, Method],
             sigmas: list[float], kinds: list[str], path: Path) -> None:  # fmt: skip
    """Measures what is not measured yet, and writes after each."""
    for kind in kinds:
        for name, clean in pictures(kind):
            for sigma in sigmas:
                for method, way in ways.items():
                    if (kind, name, sigma, method) in measured:
                        continue
                    row = measure(kind, name, clean, sigma, method, way)
                    measured[row.key] = row
                    write(path, measured)
                    print(*asdict(row).values(), flush=True, file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("data/denoise_benchmark"))
    parser.add_argument("--only", nargs="+", metavar="METHOD", help="of the table's first column; all without it")
    parser.add_argument("--sigma", type=float, nargs="+", default=list(SIGMAS), help="of the noise, 0 to 255")
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--model", help="of pixels; the bundled denoiser without it")
    parser.add_argument("--latent-model", help="Stable Diffusion; the bundled text-to-image model without it")
    options = parser.parse_args()
    ways = methods(options.model, options.latent_model)
    if unknown := set(options.only or ()) - set(ways):
        parser.error(f"there is no method {', '.join(sorted(unknown))}; there are {', '.join(ways)}")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "measurements.json"
    measured = read(path)
    chosen = {name: way for name, way in ways.items() if name in (options.only or ways)}
    for name, way in chosen.items():
        if name.startswith(("artgen", "latent")):
            way(np.full((64, 64, 3), 128, np.uint8), 25)  # reads the model, which is not timed
    complete(measured, chosen, options.sigma, options.kind, path)
    tables = "\n".join(table(list(measured.values()), kind, list(ways)) for kind in options.kind)
    (options.out / "table.md").write_text(tables)
    print(tables)


if __name__ == "__main__":
    main()
