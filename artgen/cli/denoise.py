"""Define the command `artgen denoise`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import print_note
from artgen.cli.dispatch import dispatch_batch, needs_batch, note_unused_settings
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import OptionalImages
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.cli.stdout_image import is_stdout, print_saved_path
from artgen.errors import InputFileError, UsageError
from artgen.spec.settings import (
    DenoiseSettings,
    DeviceSettings,
    FramesSettings,
    LoraSettings,
    OutputSettings,
    PresetSettings,
    ReportSettings,
    ScaledInput,
    SeedSettings,
    SeriesSettings,
    StepsSettings,
    SweepSettings,
)

if TYPE_CHECKING:
    from PIL import Image

    from artgen.engine.generate import GeneratedImage
    from artgen.jobs.job import Job

MAX_COMPARED_PX = 768
"""Maximum width and height of an image in the comparison, in pixels. Larger images are cropped at the center."""

REMOVED_NOISE_GAIN = 2
"""Factor that amplifies the removed noise in the comparison."""

Reference = Annotated[
    Path | None,
    typer.Option(
        "--reference",
        help="Noise-free version of the image. Prints PSNR, SSIM and VAE feature distance before and after.",
        metavar="FILE",
        rich_help_panel="Report",
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        help="Save a sheet with the noisy image, the denoised image, the removed noise and the reference.",
        metavar="FILE|FOLDER",
        rich_help_panel="Report",
    ),
]


@image_output("denoise")
@flatten_settings
def denoise(
    source: ScaledInput,
    denoise_settings: DenoiseSettings,
    steps: StepsSettings,
    seed: SeedSettings,
    sweep: SweepSettings,
    preset: PresetSettings,
    model: LoraSettings,
    compute: DeviceSettings,
    output: OutputSettings,
    frames: FramesSettings,
    report: ReportSettings,
    image_args: OptionalImages = None,
    reference: Reference = None,
    compare: Compare = None,
) -> None:
    """Remove noise, such as grain and sensor noise, from images.

    The noise level is estimated unless --sigma is set. Size, transparency, gray mode, 16-bit depth, color
    profile, dpi, date and camera do not change.
    (The denoising strength of img2img is a different setting: `artgen img2img --strength`.)

    artgen denoise noisy.png
    artgen denoise noisy.png --sigma 25 -o clean.png
    artgen denoise photos/ -o clean/
    """
    from artgen.spec.requests import Denoise

    image_paths = [*([source.image] if source.image else []), *(image_args or [])]
    groups = (preset, source, denoise_settings, steps, seed, model, compute)
    options = OutputOptions(output, frames, report)
    if needs_batch(image_paths, sweep):
        if reference or compare:
            raise UsageError(
                "Cannot use --reference or --compare with several images.", "Run the command once for each image."
            )
        series = SeriesSettings(seed=None if seed.seed is None else str(seed.seed))
        batch_groups = (preset, source, denoise_settings, steps, model, compute)
        dispatch_batch(Denoise.task, batch_groups, image_paths, series, sweep, options)
        return
    if not report.quiet:
        note_unused_settings(sweep)
    from artgen.cli.request_jobs import RequestJobs

    request = Denoise.from_settings(*groups, image=image_paths[0] if image_paths else None)
    sheet_path = None
    if compare is not None:
        from artgen.outputs import path_of_file_option

        sheet_path = path_of_file_option(
            compare, f"{image_paths[0].stem if image_paths else ''}-comparison.png", "--compare"
        )
    comparison = _Comparison(
        reference, sheet_path, output.overwrite, report, print_sheet_path=not (report.json or is_stdout(output.output))
    )
    jobs = RequestJobs([request], options, check_job=comparison.check_job, on_saved=comparison.on_saved)
    run_requests(jobs, report)


class _Comparison:
    """Compare a denoised image with the noisy image and with a reference."""

    def __init__(
        self,
        reference_path: Path | None,
        sheet_path: Path | None,
        overwrite: bool,
        report: ReportSettings,
        *,
        print_sheet_path: bool,
    ) -> None:
        """Load the reference, if there is one.

        Raises:
            InputFileError: the reference cannot be read.
            UsageError: the suffix of the sheet is not an image suffix.
            OutputError: the sheet exists already.
        """
        from artgen import images
        from artgen.outputs import check_sheet_path

        self._reference: Image.Image | None = None
        if reference_path is not None:
            reference = images.load_lossless(reference_path)
            self._reference, _ = images.convert_to_srgb(reference.image, reference.low_bytes)
            for note in () if report.quiet else reference.notes:
                print_note(note)
        self._reference_path = reference_path
        self._sheet_path = sheet_path
        self._overwrite = overwrite
        self._report = report
        self._print_sheet_path = print_sheet_path
        self._noisy: Image.Image | None = None
        if sheet_path is not None:
            check_sheet_path(sheet_path, overwrite, "--compare")

    def check_job(self, job: "Job") -> None:
        """Check that the reference has the size of the image.

        Raises:
            InputFileError: the sizes differ.
        """
        from artgen import images
        from artgen.jobs.job import DenoiseJob

        if isinstance(job, DenoiseJob):
            self._noisy, _ = images.convert_to_srgb(job.image, job.low_bytes)
        if self._reference is not None and self._reference.size != job.size:
            width, height = self._reference.size
            raise InputFileError(
                f"Cannot use the reference '{self._reference_path}': it is {width}x{height} pixels, "
                f"but the image is {job.width}x{job.height}.",
                "Use the noise-free version of the same image.",
            )

    def on_saved(self, result: "GeneratedImage", path: Path) -> dict[str, Any]:  # noqa: ARG002
        """Print the metrics and write the comparison. Return the metrics before and after denoising."""
        if self._noisy is None:
            raise TypeError("check_job was not called")
        from artgen import images

        metrics: dict[str, dict[str, float]] = {}
        denoised, _ = images.convert_to_srgb(result.image, result.low_bytes)
        if self._reference is not None:
            from artgen.engine.metrics import compare_images

            before, after = (compare_images(image, self._reference) for image in (self._noisy, denoised))
            metrics = {"before": before, "after": after}
            if not self._report.quiet:
                for name, (label, value_format) in _METRIC_FORMATS.items():
                    print_note(f"{label} {value_format.format(before[name])} -> {value_format.format(after[name])}.")
        if self._sheet_path is not None:
            self._write_sheet(denoised, metrics)
        return dict(metrics)

    def _write_sheet(self, denoised: "Image.Image", metrics: dict[str, dict[str, float]]) -> None:
        from PIL import ImageChops

        from artgen.images.contact_sheet import Cell, ContactSheet
        from artgen.outputs import write_sheets

        noisy, denoised = (_center_crop(image) for image in (self._noisy, denoised))
        removed = ImageChops.subtract(noisy, denoised, 1 / REMOVED_NOISE_GAIN, 128)
        panels = [("noisy", noisy), ("denoised", denoised), (f"removed noise x {REMOVED_NOISE_GAIN}", removed)]
        if self._reference is not None:
            panels.append(("reference", _center_crop(self._reference)))
        labels = {"noisy": metrics.get("before"), "denoised": metrics.get("after")}
        cells = [Cell(None, _cell_label(name, labels.get(name)), image) for name, image in panels]
        side = max(256, *noisy.size)
        write_sheets(
            [ContactSheet([cells])],
            Path(self._sheet_path or ""),
            cell_px=side,
            overwrite=self._overwrite,
            on_written=print_saved_path if self._print_sheet_path else lambda _: None,
        )


_METRIC_FORMATS = {
    "psnr": ("PSNR", "{:.2f} dB"),
    "ssim": ("SSIM", "{:.4f}"),
    "vae_feature_distance": ("VAE feature distance", "{:.4f}"),
}


def _cell_label(name: str, metrics: dict[str, float] | None) -> str:
    if metrics is None:
        return name
    lines = (f"{label} {value.format(metrics[key])}" for key, (label, value) in _METRIC_FORMATS.items())
    return "\n".join([name, *lines])


def _center_crop(image: "Image.Image | None") -> "Image.Image":
    if image is None:
        raise TypeError("the image is missing")
    from artgen.images import drop_alpha

    width, height = (min(side, MAX_COMPARED_PX) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return drop_alpha(image).convert("RGB").crop((left, top, left + width, top + height))
