"""Define the command `artgen rank`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.api import engine_checks
from artgen.api.rank import ImageScore, create_rank_sheet, sort_scores
from artgen.cli.console import EXIT_SOME_FAILED, discard_note, print_error, print_note, print_result
from artgen.cli.display import Display
from artgen.cli.interrupts import EXIT_INTERRUPTED
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import RequiredImages
from artgen.cli.reporter import Reporter
from artgen.cli.user_defaults import is_typed
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.spec.settings import DeviceSettings, ModelRef, RankSettings, ReportSettings
from artgen.system import process
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.jobs.image_ranking import RankPlan, ScoredPrompt

_OVERWRITE_HINT = "Choose another name, or add --overwrite."


@dataclass(frozen=True, kw_only=True)
class RankedFile:
    """Store the rank of an image for `--json`.

    Attributes:
        file: path of the image.
        rank: rank of the image, from 1; None for a failed image and with `--dry-run`.
        score: score of the image; higher is better. None without a rank.
        prompt: text with which the image was compared; None if it is unknown.
        kind: kind of the score: model or clip.
        model: name of the model; None if no image can be scored.
        error: why the image has no score; None otherwise.
    """

    file: Path
    rank: int | None = None
    score: float | None = None
    prompt: str | None = None
    kind: str
    model: str | None = None
    error: str | None = None


OUTPUT = JsonOutput(lambda: RankedFile)


@dataclass(frozen=True)
class _Results:
    """Store the scores and the errors of the images of a run."""

    scores: list[ImageScore]
    failures: dict[Path, ArtgenError]
    is_interrupted: bool = False


@OUTPUT
@flatten_settings
def rank(
    image_args: RequiredImages,
    rank_settings: RankSettings,
    model: ModelRef,
    compute: DeviceSettings,
    report: ReportSettings,
    csv_file: Annotated[
        str | None,
        typer.Option("--csv", help="Save the table as CSV.", metavar="FILE", rich_help_panel="Output"),
    ] = None,
    sheet_file: Annotated[
        str | None,
        typer.Option(
            "--sheet",
            help="Save a contact sheet of the images, the best image first.",
            metavar="FILE",
            rich_help_panel="Output",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite existing files.", rich_help_panel="Output")
    ] = False,
) -> None:
    """Rank images by how well they fit a prompt.

    The score is how much lower the denoising error of the model is with the prompt than without it. --score clip uses a
    CLIP model instead. Without --prompt, each image is compared with its recorded prompt. Compare only scores of the
    same prompt and the same model.

    artgen rank outputs/ --prompt "a red fox"
    artgen rank outputs/ --csv scores.csv --sheet best.png
    """
    from artgen import images
    from artgen.jobs.image_ranking import RankRequest, find_prompt, prepare_ranking, reject_unused_model
    from artgen.outputs import STDOUT, find_stream
    from artgen.spec.fields import non_default_settings

    request = RankRequest(**non_default_settings(rank_settings, model, compute))
    if is_typed("model"):
        reject_unused_model(request)
    csv_path, sheet_path = _output_paths(csv_file, sheet_file, overwrite=overwrite)
    is_csv_printed = csv_path is not None and find_stream(str(csv_path)) == STDOUT
    if is_csv_printed and report.json:
        raise UsageError(
            "Cannot combine --json and --csv -: both print to stdout.", "Remove --json, or use --csv scores.csv."
        )
    on_note = discard_note if report.quiet else print_note
    paths = [path for path, _ in images.iter_images(image_args, on_note=on_note)]
    with Reporter(report.quiet, report.verbose) as reporter:
        prompts: dict[Path, ScoredPrompt] = {}
        failures: dict[Path, ArtgenError] = {}
        for path in paths:
            try:
                images.load_image(path)
                prompts[path] = find_prompt(path, request, reporter)
            except InputFileError as error:
                failures[path] = error
        if not prompts:
            raise next(iter(failures.values()))
        plan = prepare_ranking(request, list(prompts.values()), reporter, download=not report.dry_run)
        if report.dry_run:
            _print_dry_run(plan, prompts, failures, report)
            return
        results = _score_all(plan, prompts, failures, reporter)
        reporter.close()
    ranked = sort_scores(results.scores)
    if not is_csv_printed:
        _print_table(ranked, results.failures, plan, as_json=report.json)
    if csv_path is not None:
        _write_csv(csv_path, ranked, results.failures, overwrite=overwrite)
    if sheet_path is not None and ranked:
        _write_sheet(sheet_path, ranked, report, overwrite=overwrite)
    _exit(len(paths), results, print_summary=not report.quiet)


def _output_paths(csv_file: str | None, sheet_file: str | None, *, overwrite: bool) -> tuple[Path | None, Path | None]:
    """Return the paths of the table and of the sheet, before images are read.

    Raises:
        UsageError: a name is empty, or has a wrong suffix.
        OutputError: a file exists already, or cannot be written.
    """
    from artgen.cli.usage_errors import is_image_name
    from artgen.errors import OutputError
    from artgen.outputs import check_sheet_path, find_stream, path_of_file_option

    csv_path = None if csv_file is None else path_of_file_option(csv_file, "scores.csv", "--csv")
    sheet_path = None if sheet_file is None else path_of_file_option(sheet_file, "sheet.png", "--sheet")
    if sheet_path is not None:
        check_sheet_path(sheet_path, overwrite, "--sheet")
    if csv_path is not None and is_image_name(str(csv_path)):
        raise UsageError(f"A table is a .csv file, not '{csv_path}'.", "--csv scores.csv")
    if csv_path is not None and find_stream(str(csv_path)) is None:
        if csv_path.is_dir():
            raise OutputError(f"Cannot write to '{csv_path}': it is a folder.", "Use the name of a file.")
        if csv_path.exists() and not overwrite:
            raise OutputError(f"'{csv_path}' exists already.", _OVERWRITE_HINT)
    return csv_path, sheet_path


def _score_all(
    plan: "RankPlan",
    prompts: "Mapping[Path, ScoredPrompt]",
    failures: dict[Path, ArtgenError],
    reporter: Reporter,
) -> _Results:
    """Score the images. Results before Ctrl-C are returned."""
    from artgen.engine import fast_import

    with process.paused_gc(), fast_import.quiet_log():
        from artgen.engine.image_scores.rank_images import FileScorer

    scores: list[ImageScore] = []
    scorer = FileScorer(plan, len(prompts), reporter)
    for number, (path, prompt) in enumerate(prompts.items(), 1):
        try:
            scores.append(ImageScore(path, prompt.text, scorer.score(path, prompt, number)))
        except InputFileError as error:
            failures[path] = error
        except KeyboardInterrupt:
            if not scores:
                raise
            return _Results(scores, failures, is_interrupted=True)
    return _Results(scores, failures)


def _print_table(
    ranked: Sequence[ImageScore], failures: Mapping[Path, ArtgenError], plan: "RankPlan", *, as_json: bool
) -> None:
    kind, model = plan.request.kind, plan.model_name
    width = len(str(len(ranked)))
    for number, each in enumerate(ranked, 1):
        if as_json:
            OUTPUT.print(
                RankedFile(file=each.path, rank=number, score=each.score, prompt=each.prompt, kind=kind, model=model)
            )
        else:
            print_result(f"{number:>{width}}  {each.score:>8.4f}  {each.path}")
    for path, error in failures.items():
        if as_json:
            OUTPUT.print(RankedFile(file=path, kind=kind, model=model, error=error.message))
        else:
            print_result(f"{'-':>{width}}  {'failed':>8}  {path}")
            print_error(error)


def _write_csv(
    path: Path, ranked: Sequence[ImageScore], failures: Mapping[Path, ArtgenError], *, overwrite: bool
) -> None:
    from artgen.outputs import write_table

    rows: list[list[object]] = [
        [number, str(each.path), float(f"{each.score:.6g}"), each.prompt, ""] for number, each in enumerate(ranked, 1)
    ]
    rows += [["", str(file), "", "", error.message] for file, error in failures.items()]
    header = ("rank", "file", "score", "prompt", "error")
    write_table(path, header, rows, overwrite=overwrite, hint=_OVERWRITE_HINT)


def _write_sheet(path: Path, ranked: Sequence[ImageScore], report: ReportSettings, *, overwrite: bool) -> None:
    written: list[Path] = create_rank_sheet(ranked).write(path, overwrite=overwrite)
    display = Display(report)
    for page in written:
        if not report.quiet:
            print_note(str(page))
        display.show_file(page)
    display.open(written[0])


def _print_dry_run(
    plan: "RankPlan",
    prompts: "Mapping[Path, ScoredPrompt]",
    failures: Mapping[Path, ArtgenError],
    report: ReportSettings,
) -> None:
    """Print the images that would be scored, and what would be downloaded."""
    for job in list(plan.jobs.values())[:1]:
        engine_checks.check_model(job.model)
    for path, prompt in prompts.items():
        if report.json:
            OUTPUT.print(RankedFile(file=path, prompt=prompt.text, kind=plan.request.kind, model=plan.model_name))
        else:
            print_result(f"{path}  {prompt.text}")
    for error in failures.values():
        print_error(error)
    if not report.quiet:
        notes = [plan.score_model.download_note] if plan.score_model else []
        notes += list(dict.fromkeys(note for job in plan.jobs.values() for note in job.notes))
        for note in filter(None, [*notes, f"Dry run: {counted(len(prompts), 'image')} would be scored."]):
            print_note(note)
    if failures:
        raise typer.Exit(EXIT_SOME_FAILED)


def _exit(total: int, results: _Results, *, print_summary: bool) -> None:
    if results.is_interrupted:
        print_error(ArtgenError("Interrupted: the results so far are printed above."))
        raise typer.Exit(EXIT_INTERRUPTED)
    failures = results.failures
    if failures:
        if print_summary:
            print_note(f"{len(failures):,} of {counted(total, 'image')} could not be scored.")
        raise typer.Exit(EXIT_SOME_FAILED if results.scores else next(iter(failures.values())).exit_code)
