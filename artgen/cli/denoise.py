"""Define the command `artgen denoise`."""

from functools import partial
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
from artgen.errors import UsageError
from artgen.spec.settings import (
    DenoiseSettings,
    DeviceSettings,
    FilterSettings,
    FramesSettings,
    LoraSettings,
    OutputSettings,
    PresetSettings,
    RemoteSettings,
    ReportSettings,
    ScaledInput,
    SeedSettings,
    SeriesSettings,
    StepsSettings,
    SweepSettings,
)
from artgen.system.input_files import input_stem

if TYPE_CHECKING:
    from artgen.engine.generate import GeneratedImage

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
@partial(flatten_settings, hidden=("include_noising",))
def denoise(
    source: ScaledInput,
    denoise_settings: DenoiseSettings,
    steps: StepsSettings,
    seed: SeedSettings,
    sweep: SweepSettings,
    preset: PresetSettings,
    filtering: FilterSettings,
    model: LoraSettings,
    compute: DeviceSettings,
    remote: RemoteSettings,
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
    from artgen.spec.restoration_requests import Denoise

    image_paths = [*([source.image] if source.image else []), *(image_args or [])]
    groups = (preset, filtering, source, denoise_settings, steps, seed, model, compute)
    options = OutputOptions(output, frames, report, remote)
    if needs_batch(image_paths, sweep):
        if reference or compare:
            raise UsageError(
                "Cannot use --reference or --compare with several images.", "Run the command once for each image."
            )
        series = SeriesSettings(seed=None if seed.seed is None else str(seed.seed))
        batch_groups = (preset, filtering, source, denoise_settings, steps, model, compute)
        dispatch_batch(Denoise.task, batch_groups, image_paths, series, sweep, options)
        return
    if not report.quiet:
        note_unused_settings(sweep)
    from artgen.api.denoise_comparison import METRIC_FORMATS, DenoiseComparison
    from artgen.cli.remote_jobs import create_jobs
    from artgen.cli.remote_server import find_server, reject_local_options
    from artgen.outputs import check_sheet_path, path_of_file_option, write_sheets

    request = Denoise.from_settings(*groups, image=image_paths[0] if image_paths else None)
    if find_server(remote) is not None:
        reject_local_options(frames, reference=reference, compare=compare)
    sheet_path = None
    if compare is not None:
        sheet_path = path_of_file_option(
            compare, f"{input_stem(image_paths[0]) if image_paths else ''}-comparison.png", "--compare"
        )
    comparison = DenoiseComparison(reference)
    for note in () if report.quiet else comparison.notes:
        print_note(note)
    if sheet_path is not None:
        check_sheet_path(sheet_path, output.overwrite, "--compare")

    def on_saved(result: "GeneratedImage", path: Path) -> dict[str, Any]:  # noqa: ARG001
        metrics = comparison.measure(result)
        if metrics and not report.quiet:
            before, after = metrics["before"], metrics["after"]
            for name, (label, value_format) in METRIC_FORMATS.items():
                print_note(f"{label} {value_format.format(before[name])} -> {value_format.format(after[name])}.")
        if sheet_path is not None:
            sheet, cell_px = comparison.sheet(result, metrics)
            prints_path = not (report.json or is_stdout(output.output))
            on_written = print_saved_path if prints_path else lambda _: None
            write_sheets([sheet], sheet_path, cell_px=cell_px, overwrite=output.overwrite, on_written=on_written)
        return dict(metrics)

    jobs = create_jobs([request], options, check_job=comparison.check_job, on_saved=on_saved)
    run_requests(jobs, report)
