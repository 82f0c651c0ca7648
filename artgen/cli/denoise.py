"""`artgen denoise`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import print_note
from artgen.cli.dispatch import dispatch_batch, needs_batch
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import OptionalImages
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.errors import InputFileError, UsageError
from artgen.spec.settings import (
    DenoiseSettings,
    DeviceSettings,
    FramesSettings,
    InputImage,
    LoraSettings,
    OutputSettings,
    ReportSettings,
    SeedSettings,
    SeriesSettings,
    StepsSettings,
    SweepSettings,
)

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.generate import GeneratedImage as Made
    from artgen.jobs.prepare import Job

MAX_COMPARED_PX = 768
"""Pixels a side of a picture that a comparison shows; of a larger one, the middle."""

REMOVED_NOISE_GAIN = 2
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


@flatten_settings
def denoise(
    source: InputImage,
    denoise_settings: DenoiseSettings,
    steps: StepsSettings,
    seed: SeedSettings,
    sweep: SweepSettings,
    model: LoraSettings,
    compute: DeviceSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: ReportSettings,
    image_args: OptionalImages = None,
    reference: Reference = None,
    compare: Compare = None,
) -> None:
    """Remove noise from pictures, such as grain and sensor noise; nothing is drawn from words.

    The noise is estimated unless --sigma says how strong it is. Size, grey, transparency and 16 bits stay. No noise is
    added: img2img's --strength, which other tools call denoising, is something else.

    artgen denoise noisy.png
    """
    from artgen.spec.requests import Denoise

    pictures = [*([source.image] if source.image else []), *(image_args or [])]
    groups = (denoise_settings, steps, seed, model, compute)
    options = OutputOptions(output, frames, report)
    if needs_batch(pictures, sweep):
        if reference or compare:
            raise UsageError(
                "--reference and --compare support only one image.", "Run the command once for each image."
            )
        series = SeriesSettings(seed=None if seed.seed is None else str(seed.seed))
        dispatch_batch(Denoise.task, (denoise_settings, steps, model, compute), pictures, series, sweep, options)
        return
    from artgen.cli.request_jobs import RequestJobs

    request = Denoise.from_settings(*groups, image=pictures[0] if pictures else None)
    comparison = _Comparison(reference, compare, output.overwrite, report)
    jobs = RequestJobs([request], options, check_job=comparison.check_job, on_saved=comparison.on_saved)
    run_requests(jobs, report)


class _Comparison:
    """Compares a denoised picture with the noisy one and with a reference."""

    def __init__(
        self, reference_path: Path | None, sheet_path: Path | None, overwrite: bool, report: ReportSettings
    ) -> None:
        """Reads the reference, if there is one.

        Raises:
            InputFileError: it cannot be used.
            UsageError, OutputError: a comparison cannot be written to that file.
        """
        from artgen import images
        from artgen.cli.sheet import check_sheet_path

        self._reference = images.load_lossless(reference_path).image if reference_path else None
        self._reference_path = reference_path
        self._sheet_path = sheet_path
        self._overwrite = overwrite
        self._report = report
        self._noisy: Image.Image | None = None
        if sheet_path is not None:
            check_sheet_path(sheet_path, overwrite, "--compare")

    def check_job(self, job: "Job") -> None:
        """Holds the reference to the picture's size.

        Raises:
            InputFileError: it has another one.
        """
        self._noisy = job.image
        if self._reference is not None and self._reference.size != job.size:
            wide, high = self._reference.size
            raise InputFileError(
                f"'{self._reference_path}' is {wide}x{high} and the picture {job.width}x{job.height}.",
                "A reference is the same picture without noise.",
            )

    def on_saved(self, result: "Made", path: Path) -> dict[str, Any]:  # noqa: ARG002
        """Prints what was measured and draws the comparison; returns what was measured."""
        if self._noisy is None:
            raise TypeError("nothing was checked")
        found: dict[str, dict[str, float]] = {}
        if self._reference is not None:
            from artgen.engine.metrics import compare_images

            before, after = (compare_images(image, self._reference) for image in (self._noisy, result.image))
            found = {"before": before, "after": after}
            if not self._report.quiet:
                for name, words in _METRIC_FORMATS.items():
                    print_note(f"{words.format(before[name])} -> {words.partition(' ')[2].format(after[name])}")
        if self._sheet_path is not None:
            self._write_sheet(result.image, found)
        # JSON has no infinity, the PSNR of equal pictures.
        return {when: {name: _finite_or_none(value) for name, value in each.items()} for when, each in found.items()}

    def _write_sheet(self, denoised: "Image.Image", metrics: dict[str, dict[str, float]]) -> None:
        from PIL import ImageChops

        from artgen.cli.sheet import write_sheets
        from artgen.images.contact_sheet import Cell, ContactSheet

        noisy, denoised = (_center_crop(image) for image in (self._noisy, denoised))
        removed = ImageChops.subtract(noisy, denoised, 1 / REMOVED_NOISE_GAIN, 128)
        shown = [("noisy", noisy), ("denoised", denoised), (f"removed, {REMOVED_NOISE_GAIN} times as strong", removed)]
        if self._reference is not None:
            shown.append(("reference", _center_crop(self._reference)))
        labels = {"noisy": metrics.get("before"), "denoised": metrics.get("after")}
        cells = [Cell(None, _cell_label(name, labels.get(name)), image) for name, image in shown]
        side = max(256, *noisy.size)
        write_sheets(
            [ContactSheet([cells])],
            Path(self._sheet_path or ""),
            cell_px=side,
            overwrite=self._overwrite,
            print_paths=not self._report.json,
        )


_METRIC_FORMATS = {
    "psnr": "PSNR {:.2f} dB",
    "ssim": "SSIM {:.4f}",
    "vae_feature_distance": "distance {:.4f}",
}


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _cell_label(name: str, metrics: dict[str, float] | None) -> str:
    if metrics is None:
        return name
    return "\n".join([name, *(words.format(metrics[key]) for key, words in _METRIC_FORMATS.items())])


def _center_crop(image: "Image.Image | None") -> "Image.Image":
    if image is None:
        raise TypeError("there is no picture")
    wide, high = (min(side, MAX_COMPARED_PX) for side in image.size)
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    from artgen.images import drop_alpha

    return drop_alpha(image).convert("RGB").crop((left, top, left + wide, top + high))
