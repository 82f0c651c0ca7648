"""`artgen anomaly`."""

import csv
import gc
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import EXIT_SOME_FAILED, Reporter, print_error, print_json, print_note, print_result
from artgen.cli.interrupts import EXIT_INTERRUPTED
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import OptionalImages
from artgen.errors import ArtgenError, InputFileError, OutputError, UsageError
from artgen.spec.settings import AnomalySettings, DeviceSettings, ModelRef, ReportSettings

if TYPE_CHECKING:
    from artgen.engine.anomaly.result import AnomalyResult
    from artgen.jobs.anomaly import AnomalyJob

FitOutputFile = Annotated[
    Path | None,
    typer.Option(
        "--save-fit", help="Keep what --fit learnt: a .safetensors file.", metavar="FILE", rich_help_panel="Output"
    ),
]
HeatmapFile = Annotated[
    Path | None,
    typer.Option(
        "--map",
        help="Draw the picture beside its heat map: a file, or a folder for several pictures.",
        metavar="FILE|FOLDER",
        rich_help_panel="Output",
    ),
]
CsvFile = Annotated[
    Path | None, typer.Option("--csv", help="Also write the ranked table.", metavar="FILE", rich_help_panel="Output")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel="Output")]


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
    """Tell how surprising a picture is, and where.

    The picture is noised to several levels and denoised; what the model does not expect does not come back. With --fit
    and pictures that are normal, the score gets a p-value and a verdict; several pictures are ranked.

    artgen anomaly picture.png --fit normal/ --map heat.png
    """
    from artgen import images
    from artgen.jobs import anomaly as anomaly_jobs

    request = anomaly_jobs.Anomaly.from_settings(anomaly_settings, model, compute)
    named = list(images.iter_images(image_args or []))
    targets = _OutputFiles(named, heatmap_path, csv_path, fit_path, overwrite)
    targets.check_writable(request)
    usable, unusable = anomaly_jobs.read_image_sizes([path for path, _ in named])
    if named and not usable:
        raise unusable[0]
    failures: list[ArtgenError] = [*unusable]
    for error in failures:
        print_error(error)
    with Reporter(report.quiet, report.verbose) as reporter:
        job = anomaly_jobs.prepare_anomaly_job(request, reporter)
        pictures = _filter_by_size(job, usable, failures)
        if report.dry_run:
            print_note(
                f"dry run: {len(pictures)} pictures would be looked at, {len(job.normal_paths)} learnt from, nothing was"
            )
            return
        found, stopped = _score_all(job, pictures, targets, reporter, failures)
        reporter.close()
    found.sort(key=lambda each: -each.score)
    for each in found:
        if report.json:
            print_json(_result_record(each, job))
        else:
            print_result(_result_line(each))
    targets.write_csv(found)
    _exit(len(named), failures, stopped, print_summary=not report.quiet)


def _filter_by_size(
    job: "AnomalyJob", image_sizes: "Mapping[Path, tuple[int, int]]", failures: list[ArtgenError]
) -> list[Path]:
    """The pictures that the fit can judge; a single one that it cannot is the command's error."""
    found = []
    for path, size in image_sizes.items():
        try:
            job.check_size(path, size)
        except InputFileError as error:
            if len(image_sizes) == 1:
                raise
            print_error(error)
            failures.append(error)
        else:
            found.append(path)
    return found


def _score_all(
    job: "AnomalyJob",
    image_paths: Sequence[Path],
    output_files: "_OutputFiles",
    reporter: Reporter,
    failures: list[ArtgenError],
) -> "tuple[list[AnomalyResult], bool]":
    """What was found, and whether Ctrl-C ended it; what was found before is kept."""
    gc.enable()
    from artgen.engine.anomaly.detector import AnomalyDetector, load_fit

    found: list[AnomalyResult] = []
    eye = AnomalyDetector(job, reporter)
    normal = eye.fit() if job.normal_paths else load_fit(job)
    if job.normal_paths and normal is not None:
        output_files.write_fit(normal.to_safetensors())
    for number, path in enumerate(image_paths, 1):
        try:
            each = eye.score(path, normal, number, len(image_paths))
        except InputFileError as error:
            if len(image_paths) == 1:
                raise
            print_error(error)
            failures.append(error)
            continue
        except KeyboardInterrupt:
            if not found:
                raise
            return found, True
        output_files.write_heatmap(each)
        found.append(each)
    return found, False


def _exit(total: int, failures: Sequence[ArtgenError], interrupted: bool, *, print_summary: bool) -> None:
    if interrupted:
        print_error(ArtgenError("Interrupted; what was looked at before is above."))
        raise typer.Exit(EXIT_INTERRUPTED)
    if failures:
        if print_summary:
            print_note(f"{len(failures)} of {total} pictures could not be looked at")
        raise typer.Exit(EXIT_SOME_FAILED if len(failures) < total else failures[0].exit_code)


def _result_line(result: "AnomalyResult") -> str:
    """`0.05  surprising  score 2.31  at 76,90  picture.png`."""
    where = "{},{}".format(*result.peak_xy)
    if result.p_value is None:
        return f"score {result.score:.3f}  at {where}  {result.path}"
    verdict = "surprising" if result.is_anomalous else "normal"
    return f"{verdict:<10}  p {result.p_value:.4f}  score {result.score:.3f}  at {where}  {result.path}"


def _result_record(result: "AnomalyResult", job: "AnomalyJob") -> dict[str, Any]:
    normal = {"p_value": result.p_value, "is_anomaly": result.is_anomalous, "threshold": result.threshold}
    given = normal if result.p_value is not None else {}
    look = {name: value for name, value in asdict(job.config).items() if value != ""}
    values: dict[str, Any] = {
        "file": str(result.path),
        "score": result.score,
        **given,
        "alpha": result.alpha if given else None,
    }
    values |= {"peak": list(result.peak_xy), "width": result.image.width, "height": result.image.height, **look}
    return {name: value for name, value in values.items() if value is not None}


class _OutputFiles:
    """The files that are written beside what is printed."""

    def __init__(
        self,
        paths_and_roots: Sequence[tuple[Path, Path]],
        heatmap_path: Path | None,
        csv_path: Path | None,
        fit_path: Path | None,
        overwrite: bool,
    ) -> None:
        self._root_by_path = dict(paths_and_roots)
        self._heatmap_path, self._csv_path, self._fit_path, self._overwrite = (
            heatmap_path,
            csv_path,
            fit_path,
            overwrite,
        )
        self._multiple_images = len(paths_and_roots) > 1 or any(path.parent != root for path, root in paths_and_roots)

    def check_writable(self, request: Any) -> None:
        """Refuses what cannot be written, or has nothing to be made from.

        Raises:
            UsageError: no picture; a map or a fit without what it takes; another suffix.
            OutputError: a file exists already.
        """
        from artgen.outputs import format_from_suffix

        if not self._root_by_path and not (self._fit_path and request.fit):
            raise UsageError("anomaly needs a picture, or --fit and --save-fit.", "artgen anomaly picture.png")
        if self._fit_path is not None:
            if request.fit is None or not request.fit.is_dir():
                raise UsageError("--save-fit keeps what a folder of normal pictures taught.", "Add --fit normal/.")
            if self._fit_path.suffix != ".safetensors":
                raise UsageError(
                    f"A fit is a .safetensors file, not '{self._fit_path}'.", "--save-fit normal.safetensors"
                )
        if self._heatmap_path is not None and not self._multiple_images:
            format_from_suffix(self._heatmap_path, "A heat map", "--map heat.png")
        drawn = [self._heatmap_path_for(path) for path in self._root_by_path] if self._heatmap_path else []
        if len(set(drawn)) < len(drawn):
            raise UsageError("The heat maps of two pictures would have one name.", "Draw them into different folders.")
        for target in (self._csv_path, self._fit_path, *drawn):
            if target is not None and target.exists() and not self._overwrite:
                raise OutputError(f"'{target}' exists already.", "Choose another name, or add --overwrite.")
            if target is not None and target.is_dir():
                raise OutputError(f"'{target}' is a folder.", "Name a file.")

    def _heatmap_path_for(self, path: Path) -> Path:
        if self._heatmap_path is None:
            raise TypeError("no heat map is wanted")
        if not self._multiple_images:
            return self._heatmap_path
        within = path.relative_to(self._root_by_path[path])
        return self._heatmap_path / within.with_suffix(".png")

    def write_heatmap(self, result: "AnomalyResult") -> None:
        """Draws a picture beside its heat map, if that is wanted."""
        if self._heatmap_path is None:
            return
        from artgen.engine.anomaly.heatmap import render_result
        from artgen.outputs import encode_without_metadata, format_from_suffix

        path = self._heatmap_path_for(result.path)
        kind = format_from_suffix(path, "A heat map", "--map heat.png")
        self._write_file(path, encode_without_metadata(render_result(result), kind))

    def write_fit(self, data: bytes) -> None:
        """Keeps what was learnt, if that is wanted."""
        if self._fit_path is not None:
            self._write_file(self._fit_path, data)
            if not self._root_by_path:
                print_result(str(self._fit_path))

    def write_csv(self, results: "Sequence[AnomalyResult]") -> None:
        """Writes the ranked table, if it is wanted."""
        if self._csv_path is None:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["rank", "file", "score", "p_value", "is_anomaly", "x", "y"])
        for rank, each in enumerate(results, 1):
            verdict = "" if each.is_anomalous is None else str(each.is_anomalous).lower()
            p = "" if each.p_value is None else f"{each.p_value:.6g}"
            rows.writerow([rank, _escape_formula(str(each.path)), f"{each.score:.6g}", p, verdict, *each.peak_xy])
        self._write_file(self._csv_path, text.getvalue().encode("utf-8", "surrogateescape"))

    def _write_file(self, path: Path, data: bytes) -> None:
        from artgen.outputs import write_user_file

        write_user_file(path, data, overwrite=self._overwrite, hint="Choose another name, or add --overwrite.")


def _escape_formula(name: str) -> str:
    """A name that a spreadsheet does not take for a formula."""
    return f"./{name}" if name[:1] in "=+-@\t\r" else name
