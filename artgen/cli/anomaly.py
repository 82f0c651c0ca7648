"""`artgen anomaly`."""

import csv
import gc
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.interrupts import INTERRUPTED
from artgen.cli.options import flattened
from artgen.cli.reporting import SOME_FAILED, Reporter, complain, emit, emit_json, note
from artgen.cli.words import Pictures
from artgen.errors import ArtgenError, InputFileError, OutputError, UsageError
from artgen.settings import Place, Report, Surprise, Weights

if TYPE_CHECKING:
    from artgen.anomalies import Prepared
    from artgen.engine.anomaly import Finding

SaveFit = Annotated[
    Path | None,
    typer.Option(
        "--save-fit", help="Keep what --fit learnt: a .safetensors file.", metavar="FILE", rich_help_panel="Result"
    ),
]
Map = Annotated[
    Path | None,
    typer.Option(
        "--map",
        help="Draw the picture beside its heat map: a file, or a folder for several pictures.",
        metavar="FILE|FOLDER",
        rich_help_panel="Result",
    ),
]
Table = Annotated[
    Path | None, typer.Option("--csv", help="Also write the ranked table.", metavar="FILE", rich_help_panel="Result")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.", rich_help_panel="Result")]


@flattened
def anomaly(
    surprise: Surprise,
    model: Weights,
    compute: Place,
    report: Report,
    words: Pictures = None,
    save_fit: SaveFit = None,
    map: Map = None,  # noqa: A002 - the option's name
    csv: Table = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell how surprising a picture is, and where.

    The picture is noised to several levels and denoised; what the model does not expect does not come back. With --fit
    and pictures that are normal, the score gets a p-value and a verdict; several pictures are ranked.

    artgen anomaly picture.png --fit normal/ --map heat.png
    """
    from artgen import anomalies, images

    request = anomalies.Anomaly.of(surprise, model, compute)
    named = list(images.pictures_in(words or []))
    targets = _Targets(named, map, csv, save_fit, overwrite)
    targets.check(request)
    usable, unusable = anomalies.read_pictures([path for path, _ in named])
    if named and not usable:
        raise unusable[0]
    failures: list[ArtgenError] = [*unusable]
    for error in failures:
        complain(error)
    with Reporter(report.quiet, report.verbose) as reporter:
        job = anomalies.prepare(request, reporter)
        pictures = _of_size(job, usable, failures)
        if report.dry_run:
            note(f"dry run: {len(pictures)} pictures would be looked at, {len(job.normal)} learnt from, nothing was")
            return
        found, stopped = _look(job, pictures, targets, reporter, failures)
        reporter.close()
    found.sort(key=lambda each: -each.score)
    for each in found:
        if report.json:
            emit_json(_record(each, job))
        else:
            emit(_line(each))
    targets.write_table(found)
    _leave(len(named), failures, stopped, told=not report.quiet)


def _of_size(job: "Prepared", pictures: "Mapping[Path, tuple[int, int]]", failures: list[ArtgenError]) -> list[Path]:
    """The pictures that the fit can judge; a single one that it cannot is the command's error."""
    found = []
    for path, size in pictures.items():
        try:
            job.check_size(path, size)
        except InputFileError as error:
            if len(pictures) == 1:
                raise
            complain(error)
            failures.append(error)
        else:
            found.append(path)
    return found


def _look(
    job: "Prepared", pictures: Sequence[Path], targets: "_Targets", reporter: Reporter, failures: list[ArtgenError]
) -> "tuple[list[Finding], bool]":
    """What was found, and whether Ctrl-C ended it; what was found before is kept."""
    gc.enable()
    from artgen.engine.anomaly import Eye, read

    found: list[Finding] = []
    eye = Eye(job, reporter)
    normal = eye.learn() if job.normal else read(job)
    if job.normal and normal is not None:
        targets.write_fit(normal.packed())
    for number, path in enumerate(pictures, 1):
        try:
            each = eye.look(path, normal, number, len(pictures))
        except InputFileError as error:
            if len(pictures) == 1:
                raise
            complain(error)
            failures.append(error)
            continue
        except KeyboardInterrupt:
            if not found:
                raise
            return found, True
        targets.write_map(each)
        found.append(each)
    return found, False


def _leave(total: int, failures: Sequence[ArtgenError], stopped: bool, *, told: bool) -> None:
    if stopped:
        complain(ArtgenError("Interrupted; what was looked at before is above."))
        raise typer.Exit(INTERRUPTED)
    if failures:
        if told:
            note(f"{len(failures)} of {total} pictures could not be looked at")
        raise typer.Exit(SOME_FAILED if len(failures) < total else failures[0].exit_code)


def _line(found: "Finding") -> str:
    """`0.05  surprising  score 2.31  at 76,90  picture.png`."""
    where = "{},{}".format(*found.peak)
    if found.p_value is None:
        return f"score {found.score:.3f}  at {where}  {found.path}"
    verdict = "surprising" if found.surprising else "normal"
    return f"{verdict:<10}  p {found.p_value:.4f}  score {found.score:.3f}  at {where}  {found.path}"


def _record(found: "Finding", job: "Prepared") -> dict[str, Any]:
    normal = {"p_value": found.p_value, "surprising": found.surprising, "threshold": found.threshold}
    given = normal if found.p_value is not None else {}
    look = {name: value for name, value in asdict(job.look).items() if value != ""}
    values: dict[str, Any] = {
        "file": str(found.path),
        "score": found.score,
        **given,
        "alpha": found.alpha if given else None,
    }
    values |= {"peak": list(found.peak), "width": found.image.width, "height": found.image.height, **look}
    return {name: value for name, value in values.items() if value is not None}


class _Targets:
    """The files that are written beside what is printed."""

    def __init__(
        self, named: Sequence[tuple[Path, Path]], maps: Path | None, table: Path | None, fit: Path | None, over: bool
    ) -> None:
        self._roots = dict(named)
        self._map, self._table, self._fit, self._overwrite = maps, table, fit, over
        self._several = len(named) > 1 or any(path.parent != root for path, root in named)

    def check(self, request: Any) -> None:
        """Refuses what cannot be written, or has nothing to be made from.

        Raises:
            UsageError: no picture; a map or a fit without what it takes; another suffix.
            OutputError: a file exists already.
        """
        from artgen.outputs import picture_format

        if not self._roots and not (self._fit and request.fit):
            raise UsageError("anomaly needs a picture, or --fit and --save-fit.", "artgen anomaly picture.png")
        if self._fit is not None:
            if request.fit is None or not request.fit.is_dir():
                raise UsageError("--save-fit keeps what a folder of normal pictures taught.", "Add --fit normal/.")
            if self._fit.suffix != ".safetensors":
                raise UsageError(f"A fit is a .safetensors file, not '{self._fit}'.", "--save-fit normal.safetensors")
        if self._map is not None and not self._several:
            picture_format(self._map, "A heat map", "--map heat.png")
        drawn = [self._map_of(path) for path in self._roots] if self._map else []
        if len(set(drawn)) < len(drawn):
            raise UsageError("The heat maps of two pictures would have one name.", "Draw them into different folders.")
        for target in (self._table, self._fit, *drawn):
            if target is not None and target.exists() and not self._overwrite:
                raise OutputError(f"'{target}' exists already.", "Choose another name, or add --overwrite.")
            if target is not None and target.is_dir():
                raise OutputError(f"'{target}' is a folder.", "Name a file.")

    def _map_of(self, path: Path) -> Path:
        if self._map is None:
            raise TypeError("no heat map is wanted")
        if not self._several:
            return self._map
        within = path.relative_to(self._roots[path])
        return self._map / within.with_suffix(".png")

    def write_map(self, found: "Finding") -> None:
        """Draws a picture beside its heat map, if that is wanted."""
        if self._map is None:
            return
        from artgen.engine.anomalies.drawing import draw
        from artgen.outputs import encode_plain, picture_format

        path = self._map_of(found.path)
        kind = picture_format(path, "A heat map", "--map heat.png")
        self._write(path, encode_plain(draw(found), kind))

    def write_fit(self, data: bytes) -> None:
        """Keeps what was learnt, if that is wanted."""
        if self._fit is not None:
            self._write(self._fit, data)
            if not self._roots:
                emit(str(self._fit))

    def write_table(self, found: "Sequence[Finding]") -> None:
        """Writes the ranked table, if it is wanted."""
        if self._table is None:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(["rank", "file", "score", "p_value", "surprising", "x", "y"])
        for rank, each in enumerate(found, 1):
            verdict = "" if each.surprising is None else str(each.surprising).lower()
            p = "" if each.p_value is None else f"{each.p_value:.6g}"
            rows.writerow([rank, _safe(str(each.path)), f"{each.score:.6g}", p, verdict, *each.peak])
        self._write(self._table, text.getvalue().encode("utf-8", "surrogateescape"))

    def _write(self, path: Path, data: bytes) -> None:
        from artgen.outputs import write_asked

        write_asked(path, data, overwrite=self._overwrite, hint="Choose another name, or add --overwrite.")


def _safe(name: str) -> str:
    """A name that a spreadsheet does not take for a formula."""
    return f"./{name}" if name[:1] in "=+-@\t\r" else name
