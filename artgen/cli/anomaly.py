"""Define the command `artgen anomaly`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.api import engine_checks
from artgen.cli.anomaly_files import OutputFiles
from artgen.cli.console import EXIT_SOME_FAILED, discard_note, print_error, print_note, print_path, print_result
from artgen.cli.display import Display
from artgen.cli.interrupts import EXIT_INTERRUPTED
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import OptionalImages
from artgen.cli.reporter import Reporter
from artgen.errors import ArtgenError, InputFileError
from artgen.spec.settings import AnomalySettings, DeviceSettings, ModelRef, ReportSettings
from artgen.system import process
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.jobs.anomaly import AnomalyJob

FitOutputFile = Annotated[
    str | None,
    typer.Option(
        "--save-fit",
        help="Save the statistics of the normal images to a .safetensors file.",
        metavar="FILE",
        rich_help_panel="Output",
    ),
]
HeatmapFile = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="Save the image next to its heat map. A folder ends with / or exists. Several images need a folder.",
        metavar="FILE|FOLDER",
        rich_help_panel="Output",
    ),
]
CsvFile = Annotated[
    str | None,
    typer.Option("--csv", help="Save the ranked scores as a table.", metavar="FILE", rich_help_panel="Output"),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Overwrite existing files.", rich_help_panel="Output")]


@dataclass(frozen=True, kw_only=True)
class AnomalyScore:
    """Store the score of an image for `--json`.

    Attributes:
        file: path of the image.
        score: anomaly score, 0 or higher; 1 is normal. None with `--dry-run`.
        p_value: fraction of normal images with at least this score; None without a fit.
        is_anomaly: whether p_value <= alpha; None without a fit.
        threshold: lowest score of an anomalous image; None without a fit.
        alpha: significance level; None without a fit.
        peak: coordinates x and y of the most anomalous pixel; None with `--dry-run`.
        width: width of the image in pixels.
        height: height of the image in pixels.
        map: path of the heat map; None without `--map`.
        method: space of the noise: pixel or latent.
        model: name of the model.
        model_hash: SHA-256 of the main weights of the model.
        prompt: description of normal images; empty if there is none.
        noise_levels: noise levels in increasing order: gray levels for pixel, strengths for latent.
        noise_samples: noise samples per level.
        seed: seed of the noise.
    """

    file: Path
    score: float | None = None
    p_value: float | None = None
    is_anomaly: bool | None = None
    threshold: float | None = None
    alpha: float | None = None
    peak: tuple[int, int] | None = None
    width: int
    height: int
    map: Path | None
    method: str
    model: str
    model_hash: str
    prompt: str
    noise_levels: tuple[float, ...]
    noise_samples: int
    seed: int


OUTPUT = JsonOutput(lambda: AnomalyScore)


@OUTPUT
@flatten_settings
def anomaly(
    anomaly_settings: AnomalySettings,
    model: ModelRef,
    compute: DeviceSettings,
    report: ReportSettings,
    image_args: OptionalImages = None,
    fit_path: FitOutputFile = None,
    heatmap_path: HeatmapFile = None,
    csv_path: CsvFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Score how anomalous images are, and locate the regions.

    Noise of several levels is added to the image, and a diffusion model denoises it. The score is the difference
    between the image and its reconstructions. With --fit, the score of normal images gives a p-value and a verdict.
    Several images are ranked.

    artgen anomaly image.png
    artgen anomaly image.png --fit normal/ --map heat.png
    artgen anomaly photos/ --fit normal/ --csv scores.csv
    """
    from artgen import images
    from artgen.jobs import anomaly as anomaly_jobs

    request = anomaly_jobs.Anomaly.from_settings(anomaly_settings, model, compute)
    paths_and_roots = list(images.iter_images(image_args or [], on_note=discard_note if report.quiet else print_note))
    print_fit = (lambda path: print_note(str(path))) if report.json else print_path
    output_files = OutputFiles(paths_and_roots, heatmap_path, csv_path, fit_path, overwrite, print_fit)
    output_files.check_writable(request)
    image_sizes, read_errors = anomaly_jobs.read_image_sizes([path for path, _ in paths_and_roots])
    if paths_and_roots and not image_sizes:
        raise read_errors[0]
    failures: list[ArtgenError] = [*read_errors]
    for error in failures:
        print_error(error)
    with Reporter(report.quiet, report.verbose) as reporter:
        job = anomaly_jobs.prepare_anomaly_job(request, reporter, download=not report.dry_run)
        image_paths = _filter_by_size(job, image_sizes, failures)
        if report.dry_run:
            engine_checks.check_model(job.model)
            _print_plan({path: image_sizes[path] for path in image_paths}, job, output_files, report.json)
            if not report.quiet:
                print_note(
                    f"Dry run: {counted(len(image_paths), 'image')} would be scored, "
                    f"and {counted(len(job.normal_paths), 'image')} would be used for the fit."
                )
            return
        results, interrupted = _score_all(job, image_paths, output_files, reporter, failures)
        reporter.close()
    results.sort(key=lambda result: -result.score)
    for result in results:
        if report.json:
            OUTPUT.print(_result_json(result, job, output_files.heatmap_path(result.path)))
        else:
            print_result(_result_line(result))
    output_files.write_csv(results)
    _display_heatmap(results, output_files, report)
    _exit(len(paths_and_roots), failures, interrupted, print_summary=not report.quiet)


def _display_heatmap(results: "Sequence[AnomalyResult]", output_files: OutputFiles, report: ReportSettings) -> None:
    """Show the heat map of the most anomalous image, and open the files of `--map`, if requested."""
    display = Display(report)
    if results and display.shows:
        from artgen.engine.anomaly.heatmap import render_result

        display.show(render_result(results[0]))
    if results:
        display.open(output_files.heatmap_location)


def _filter_by_size(
    job: "AnomalyJob", image_sizes: "Mapping[Path, tuple[int, int]]", failures: list[ArtgenError]
) -> list[Path]:
    """Return the images whose size the fit supports. The error of a single image is raised."""
    image_paths = []
    for path, size in image_sizes.items():
        try:
            job.check_size(path, size)
        except InputFileError as error:
            if len(image_sizes) == 1:
                raise
            print_error(error)
            failures.append(error)
        else:
            image_paths.append(path)
    return image_paths


def _score_all(
    job: "AnomalyJob",
    image_paths: Sequence[Path],
    output_files: OutputFiles,
    reporter: Reporter,
    failures: list[ArtgenError],
) -> "tuple[list[AnomalyResult], bool]":
    """Return the results, and whether Ctrl-C interrupted the loop. Results before Ctrl-C are returned."""
    from artgen.engine import fast_import

    with process.paused_gc(), fast_import.quiet_log():
        from artgen.engine.anomaly.detector import AnomalyDetector, load_fit

    results: list[AnomalyResult] = []
    detector = AnomalyDetector(job, reporter)
    normal = detector.fit() if job.normal_paths else load_fit(job)
    if job.normal_paths and normal is not None:
        output_files.write_fit(normal.to_safetensors())
    for number, path in enumerate(image_paths, 1):
        try:
            result = detector.score(path, normal, number, len(image_paths))
        except InputFileError as error:
            if len(image_paths) == 1:
                raise
            print_error(error)
            failures.append(error)
            continue
        except KeyboardInterrupt:
            if not results:
                raise
            return results, True
        output_files.write_heatmap(result)
        results.append(result)
    return results, False


def _exit(total: int, failures: Sequence[ArtgenError], interrupted: bool, *, print_summary: bool) -> None:
    if interrupted:
        print_error(ArtgenError("Interrupted: the results so far are printed above."))
        raise typer.Exit(EXIT_INTERRUPTED)
    if failures:
        if print_summary:
            print_note(f"{len(failures):,} of {counted(total, 'image')} could not be scored.")
        raise typer.Exit(EXIT_SOME_FAILED if len(failures) < total else failures[0].exit_code)


def _result_line(result: "AnomalyResult") -> str:
    """Return a line such as `anomalous  p 0.0100  score 2.310  at 76,90  image.png`."""
    peak = "{},{}".format(*result.peak_xy)
    if result.p_value is None:
        return f"score {result.score:.3f}  at {peak}  {result.path}"
    verdict = "anomalous" if result.is_anomalous else "normal"
    return f"{verdict:<9}  p {result.p_value:.4f}  score {result.score:.3f}  at {peak}  {result.path}"


def _result_json(result: "AnomalyResult", job: "AnomalyJob", heatmap: Path | None) -> AnomalyScore:
    has_fit = result.p_value is not None
    return AnomalyScore(
        file=result.path,
        score=result.score,
        p_value=result.p_value,
        is_anomaly=result.is_anomalous,
        threshold=result.threshold if has_fit else None,
        alpha=result.alpha if has_fit else None,
        peak=result.peak_xy,
        width=result.image.width,
        height=result.image.height,
        map=heatmap,
        **asdict(job.config),
    )


def _print_plan(sizes: "Mapping[Path, tuple[int, int]]", job: "AnomalyJob", files: OutputFiles, as_json: bool) -> None:
    """Print the images that would be scored."""
    for path, (width, height) in sizes.items():
        if as_json:
            heatmap = files.heatmap_path(path)
            OUTPUT.print(AnomalyScore(file=path, width=width, height=height, map=heatmap, **asdict(job.config)))
        else:
            print_path(path)
