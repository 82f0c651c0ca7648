"""`artgen denoise`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.drawing import Delivery, draw_requests
from artgen.cli.options import flattened
from artgen.cli.reporting import note
from artgen.cli.words import Pictures
from artgen.errors import InputFileError, UsageError
from artgen.settings import Adapted, Frames, Noise, Output, Picture, Place, Report, Seed, Series, Steps, Sweep

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.generate import Picture as Made
    from artgen.prepare import Prepared

SHOWN = 768
"""Pixels a side of a picture that a comparison shows; of a larger one, the middle."""

GAIN = 2
"""How much stronger the removed noise is shown."""

Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="The same picture without noise: prints PSNR, SSIM and perceptual distance to it, before and after.",
        metavar="FILE",
        rich_help_panel="Report",
    ),
]
Compare = Annotated[
    Path | None,
    typer.Option(
        "--compare",
        help="Also draw a sheet: noisy, denoised, the noise removed, and the reference if there is one.",
        metavar="FILE",
        rich_help_panel="Report",
    ),
]


@flattened
def denoise(
    source: Picture,
    noise: Noise,
    steps: Steps,
    seed: Seed,
    sweep: Sweep,
    model: Adapted,
    compute: Place,
    output: Output,
    frames: Frames,
    report: Report,
    words: Pictures = None,
    reference: Reference = None,
    compare: Compare = None,
) -> None:
    """Remove noise from pictures, such as grain and sensor noise; nothing is drawn from words.

    The noise is estimated unless --sigma says how strong it is. Size, grey, transparency and 16 bits stay. No noise is
    added: img2img's --strength, which other tools call denoising, is something else.

    artgen denoise noisy.png
    """
    from artgen.requests import Denoise

    pictures = [*([source.image] if source.image else []), *(words or [])]
    groups = (noise, steps, seed, model, compute)
    delivery = Delivery(output, frames, report)
    if sweep.sweep or len(pictures) > 1 or any(path.is_dir() for path in pictures):
        if reference or compare:
            raise UsageError("--reference and --compare take one picture at a time.", "Run it once for each.")
        from artgen.cli.as_batch import draw_as_batch

        series = Series(seed=None if seed.seed is None else str(seed.seed))
        draw_as_batch(Denoise.task, (noise, steps, model, compute), pictures, series, sweep, delivery)
        return
    request = Denoise.of(*groups, image=pictures[0] if pictures else None)
    judge = _Judge(reference, compare, output.overwrite, report)
    draw_requests([request], delivery, check=judge.check, finished=judge.finished)


class _Judge:
    """Compares a denoised picture with the noisy one and with a reference."""

    def __init__(self, reference: Path | None, compare: Path | None, overwrite: bool, report: Report) -> None:
        """Reads the reference, if there is one.

        Raises:
            InputFileError: it cannot be used.
            UsageError, OutputError: a comparison cannot be written to that file.
        """
        from artgen import images
        from artgen.cli.sheet import check_sheet

        self._reference = images.load_exact(reference).image if reference else None
        self._name = reference
        self._compare = compare
        self._overwrite = overwrite
        self._report = report
        self._noisy: Image.Image | None = None
        if compare is not None:
            check_sheet(compare, overwrite, "--compare")

    def check(self, job: "Prepared") -> None:
        """Holds the reference to the picture's size.

        Raises:
            InputFileError: it has another one.
        """
        self._noisy = job.image
        if self._reference is not None and self._reference.size != job.size:
            wide, high = self._reference.size
            raise InputFileError(
                f"'{self._name}' is {wide}x{high} and the picture {job.width}x{job.height}.",
                "A reference is the same picture without noise.",
            )

    def finished(self, picture: "Made", path: Path) -> dict[str, Any]:  # noqa: ARG002
        """Prints what was measured and draws the comparison; returns what was measured."""
        if self._noisy is None:
            raise TypeError("nothing was checked")
        found: dict[str, dict[str, float]] = {}
        if self._reference is not None:
            from artgen.engine.measuring import measure

            before, after = (measure(image, self._reference) for image in (self._noisy, picture.image))
            found = {"before": before, "after": after}
            if not self._report.quiet:
                for name, words in _WORDS.items():
                    note(f"{words.format(before[name])} -> {words.partition(' ')[2].format(after[name])}")
        if self._compare is not None:
            self._draw(picture.image, found)
        # JSON has no infinity, the PSNR of equal pictures.
        return {when: {name: _finite(value) for name, value in each.items()} for when, each in found.items()}

    def _draw(self, clean: "Image.Image", found: dict[str, dict[str, float]]) -> None:
        from PIL import ImageChops

        from artgen.cli.sheet import write_sheets
        from artgen.sheets import Cell, Sheet

        noisy, clean = (_middle(image) for image in (self._noisy, clean))
        removed = ImageChops.subtract(noisy, clean, 1 / GAIN, 128)
        shown = [("noisy", noisy), ("denoised", clean), (f"removed, {GAIN} times as strong", removed)]
        if self._reference is not None:
            shown.append(("reference", _middle(self._reference)))
        labels = {"noisy": found.get("before"), "denoised": found.get("after")}
        cells = [Cell(None, _label(name, labels.get(name)), image) for name, image in shown]
        side = max(256, *noisy.size)
        write_sheets(
            [Sheet([cells])],
            Path(self._compare or ""),
            cell=side,
            overwrite=self._overwrite,
            told=not self._report.json,
        )


_WORDS = {
    "psnr": "PSNR {:.2f} dB",
    "ssim": "SSIM {:.4f}",
    "perceptual_distance": "distance {:.4f}",
}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _label(name: str, measured: dict[str, float] | None) -> str:
    if measured is None:
        return name
    return "\n".join([name, *(words.format(measured[key]) for key, words in _WORDS.items())])


def _middle(image: "Image.Image | None") -> "Image.Image":
    if image is None:
        raise TypeError("there is no picture")
    wide, high = (min(side, SHOWN) for side in image.size)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    from artgen.images import without_alpha

    return without_alpha(image).convert("RGB").crop((left, top, left + wide, top + high))
