"""Define the command `artgen rank`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.api import batch_checks, engine_checks
from artgen.api.rank import ImageScore, sort_scores
from artgen.cli.console import EXIT_SOME_FAILED, discard_note, print_error, print_note, print_result
from artgen.cli.interrupts import EXIT_INTERRUPTED
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import RequiredImages
from artgen.cli.rank_files import rank_files
from artgen.cli.reporter import Reporter
from artgen.cli.user_defaults import is_typed
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.spec.settings import DeviceSettings, ModelRef, RankRunSettings, RankSettings, ReportSettings
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.jobs.image_ranking import RankPlan, ScoredPrompt


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
    run: RankRunSettings,
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
    artgen rank outputs/ --prompt "a red fox" --workers 2
    """
    from artgen import images
    from artgen.jobs.image_ranking import RankPlan, RankRequest, find_prompt, prepare_ranking, reject_unused_model
    from artgen.spec.fields import non_default_settings

    request = RankRequest(**non_default_settings(rank_settings, model, compute))
    if is_typed("model"):
        reject_unused_model(request)
    batch_checks.reject_gpu_numbers([compute.device], run)
    files = rank_files(csv_file, sheet_file, run.shard, overwrite=overwrite)
    if files.is_csv_printed and report.json:
        raise UsageError(
            "Cannot combine --json and --csv -: both print to stdout.", "Remove --json, or use --csv scores.csv."
        )
    on_note = discard_note if report.quiet else print_note
    paths = [path for path, _ in images.iter_images(image_args, on_note=on_note)][files.shard[0] :: files.shard[1]]
    with Reporter(report.quiet, report.verbose) as reporter:
        prompts: dict[Path, ScoredPrompt] = {}
        failures: dict[Path, ArtgenError] = {}
        for path in paths:
            try:
                images.load_image(path)
                prompts[path] = find_prompt(path, request, reporter)
            except InputFileError as error:
                failures[path] = error
        if failures and not prompts and files.num_parts == 1:
            raise next(iter(failures.values()))
        plan = RankPlan(request)
        if prompts:  # a part can be empty
            plan = prepare_ranking(request, list(prompts.values()), reporter, download=not report.dry_run)
        if report.dry_run:
            _print_dry_run(plan, prompts, failures, report)
            return
        results = _score_all(plan, prompts, failures, run, reporter)
        reporter.close()
    ranked = sort_scores(results.scores)
    if not files.is_csv_printed:
        _print_table(ranked, results.failures, plan, as_json=report.json)
    if not results.is_interrupted or files.num_parts == 1:
        files.write(ranked, results.failures, report, overwrite=overwrite)
    _exit(len(paths), results, print_summary=not report.quiet)


def _score_all(
    plan: "RankPlan",
    prompts: "Mapping[Path, ScoredPrompt]",
    failures: dict[Path, ArtgenError],
    run: RankRunSettings,
    reporter: Reporter,
) -> _Results:
    """Score the images. Results before Ctrl-C are returned."""
    from artgen.queue.score_files import score_files

    scores: list[ImageScore] = []
    indexes = {path: index for index, path in enumerate(prompts)}
    is_interrupted = False
    try:
        for each in score_files(plan, prompts, reporter, num_workers=run.workers, ray=run.ray):
            if each.error is not None:
                failures[each.path] = each.error
            elif each.score is not None:
                scores.append(ImageScore(each.path, prompts[each.path].text, each.score, indexes[each.path]))
    except KeyboardInterrupt:
        if not scores:
            raise
        is_interrupted = True
    scores.sort(key=lambda each: each.index)  # equal scores keep the order of the images
    return _Results(scores, failures, is_interrupted)


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
