"""Select how a command runs: its requests directly, as a batch with a ledger, or as a sweep."""

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.cli.console import discard_note, print_note
from artgen.cli.display import note_unused_preview
from artgen.cli.positionals import check_stdin_uses, reject_stdin
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.cli.status_line import status_line
from artgen.cli.stdout_image import print_saved_path
from artgen.cli.user_defaults import is_typed
from artgen.errors import ArtgenError
from artgen.spec.settings import (
    CombinationSettings,
    ReportSettings,
    RunSettings,
    SeriesSettings,
    SweepSettings,
    VariationSettings,
    options_of,
)
from artgen.system.files import missing_file_error
from artgen.system.input_files import is_stdin

if TYPE_CHECKING:
    from artgen.spec.base_requests import Request

_ONE_CHOICE = CombinationSettings()
_ONE_IMAGE = SeriesSettings()


def dispatch(
    request_type: "type[Request]",
    groups: Sequence[Any],
    series: SeriesSettings,
    sweep: SweepSettings,
    options: OutputOptions,
    combination: CombinationSettings = _ONE_CHOICE,
    *,
    image_paths: Sequence[Path] = (),
) -> None:
    """Run one request for each seed. A folder, several images, a sweep or `--combinatorial` run as a batch.

    Args:
        request_type: class of the requests.
        groups: setting groups of the requests.
        series: seeds and number of images.
        sweep: settings to sweep.
        options: settings that apply to the results.
        combination: whether each combination of the wildcards is an image.
        image_paths: input images and folders.

    Raises:
        ArtgenError: a request is invalid, or a single image failed.
    """
    check_stdin_uses(*image_paths, *(getattr(group, "mask", None) for group in groups))
    for path in image_paths:
        if not is_stdin(path) and not os.path.lexists(path):  # before the modules that read images are imported
            raise missing_file_error(path)
    if not options.report.quiet:
        status_line.start()
    if needs_batch(image_paths, sweep, series) or combination.combinatorial:
        dispatch_batch(request_type.task, (*groups, combination), image_paths, series, sweep, options)
        return None
    if not options.report.quiet:
        note_unused_settings(sweep)
    from artgen.spec.prompt_filter import check_typed_prompts
    from artgen.spec.seeds import expand_series

    num_candidates = next((group.best_of for group in groups if hasattr(group, "best_of")), None)
    image = {"image": image_paths[0]} if image_paths else {}
    varied = next((group for group in groups if isinstance(group, VariationSettings)), VariationSettings())
    all_seeds = expand_series(series, varied.variation_seed, varied.variation_strength, num_candidates=num_candidates)
    requests = [request_type.from_settings(*groups, **image, **seeds) for seeds in all_seeds]
    from artgen.cli.remote_server import find_server, reject_local_options

    if find_server(options.remote) is None:
        check_typed_prompts(requests)
    # Imported here: an invalid request is refused before these slow imports.
    from artgen.cli.remote_jobs import create_jobs
    from artgen.jobs.batch_size import parse_batch_size

    batch_size = parse_batch_size(series.batch_size)
    if find_server(options.remote) is not None:
        reject_local_options(options.frames, series.batch_size)
    if not image_paths:
        run_requests(create_jobs(requests, options, batch_size=batch_size), options.report)
        return None
    from artgen.events import note_listener
    from artgen.jobs.prompt_expansion import report_once
    from artgen.jobs.recorded_prompt import add_unsupported, with_recorded_prompts
    from artgen.spec.fields import non_default_settings

    given = {name for name in options_of(request_type) if is_typed(name)} | non_default_settings(*groups).keys()
    listener = report_once(note_listener(discard_note if options.report.quiet else print_note))
    while True:  # each repetition has one recorded setting less
        jobs = create_jobs(with_recorded_prompts(requests, given, listener), options, batch_size=batch_size)
        try:
            return run_requests(jobs, options.report)
        except ArtgenError as error:
            add_unsupported(error, given, listener)


def note_unused_settings(sweep: SweepSettings) -> None:
    """Print a note for settings of folder runs and sweeps that have no effect on a single image.

    Raises:
        UsageError: the shard is invalid.
    """
    flags = [
        f"--{name.replace('_', '-')}"
        for name, each in options_of(RunSettings).items()
        if getattr(sweep, name) != each.default
    ]
    if sweep.shard is not None:
        from artgen.queue.job_queue import parse_shard

        parse_shard(sweep.shard)
    if flags:
        verb = "has" if len(flags) == 1 else "have"
        print_note(f"{', '.join(flags)} {verb} no effect on a single image.")


def needs_batch(image_paths: Sequence[Path], sweep: SweepSettings, series: SeriesSettings = _ONE_IMAGE) -> bool:
    """Return whether a command runs as a batch: a sweep, a folder, several images, or several seeds in processes."""
    folders = (path for path in image_paths if not is_stdin(path) and os.path.isdir(path))  # noqa: PTH112
    has_processes = sweep.workers > 1 or sweep.ray is not None or sweep.shard is not None
    is_series = series.count > 1 or re.search(r",|\d-", series.seed or "") is not None
    return bool(sweep.sweep) or len(image_paths) > 1 or any(folders) or (has_processes and is_series)


def dispatch_batch(
    task: str,
    groups: Sequence[Any],
    image_paths: Sequence[Path],
    series: SeriesSettings,
    sweep: SweepSettings,
    options: OutputOptions,
) -> None:
    """Run a folder, several images or seeds, a sweep or all combinations of a prompt as a batch. See `dispatch`.

    Raises:
        UsageError: an image is read from stdin.
        ArtgenError: a request is invalid.
    """
    from artgen.spec.control import parse_control
    from artgen.spec.image_prompt import parse_image_prompt

    controls = [parse_control(text).image for group in groups for text in getattr(group, "control", ())]
    prompts = [parse_image_prompt(text) for group in groups for text in getattr(group, "image_prompt", ())]
    masks = (*(getattr(group, "mask", None) for group in groups), *(each.mask for each in prompts))
    reject_stdin(*image_paths, *masks, *controls, *(each.image for each in prompts))
    note_unused_preview(options.report, "several images run as a batch")
    # Imported here: a single image does not need these modules.
    from artgen.queue.batch_entries import batch_folder, batch_name, image_entries
    from artgen.spec.fields import non_default_settings

    values = {**non_default_settings(*groups, options.frames, series), "task": task}
    for name in ("prompt", "negative_prompt"):  # a typed empty prompt replaces the recorded prompt
        if is_typed(name):
            values.setdefault(name, "")
    values.pop("batch_size", None)
    values.pop("image", None)
    if sweep.sweep:
        _run_sweep(image_paths, values, series, sweep, options)
        return
    from artgen.cli.ledger_jobs import LedgerJobs
    from artgen.queue.entries import Entry, LineError

    folder, output_settings = batch_folder(
        options.output,
        batch_name(image_paths[0]) if image_paths else "combinations" if values.get("combinatorial") else "images",
    )
    on_note = discard_note if options.report.quiet else print_note
    values |= output_settings
    entries: list[Entry | LineError] = [Entry("prompt", 0, {})]
    if image_paths:
        entries = image_entries(image_paths, values, folder, on_note)
    jobs = LedgerJobs(entries, folder, values, sweep, batch_size=series.batch_size, remote=options.remote)
    run_requests(jobs, options.report)


def _run_sweep(
    image_paths: Sequence[Path],
    values: Mapping[str, Any],
    series: SeriesSettings,
    sweep: SweepSettings,
    options: OutputOptions,
) -> None:
    """Generate an image for every combination of the swept values, and write labeled contact sheets."""
    from artgen.api.sweep import plan_sweep, write_sheet_and_csv
    from artgen.cli.ledger_jobs import LedgerJobs

    on_written = partial(_print_page, report=options.report)
    if not options.report.quiet:
        _note_replaced_settings(sweep)
    plan = plan_sweep(image_paths, values, sweep.sweep, options.output)
    jobs = LedgerJobs(
        plan.entries, plan.folder, plan.defaults, sweep, batch_size=series.batch_size, remote=options.remote
    )
    run_requests(
        jobs,
        options.report,
        on_finished=lambda: write_sheet_and_csv(plan.axes, jobs.plan, jobs.ledger, on_written),
    )


def _note_replaced_settings(sweep: SweepSettings) -> None:
    """Print a note for each typed setting whose value a sweep replaces.

    Raises:
        UsageError: the sweep is invalid.
    """
    from artgen.queue.entries import LINE_SETTINGS
    from artgen.queue.sweeps import parse_axes
    from artgen.spec.settings import settings_of

    for axis in parse_axes(sweep.sweep):
        replaced = (axis.name, *settings_of(LINE_SETTINGS[axis.name])[axis.name].excludes)
        for name in filter(is_typed, replaced):
            print_note(f"--sweep {axis.name} replaces the value of --{name.replace('_', '-')}.")


def _print_page(path: Path, report: ReportSettings) -> None:
    """Print the path of a contact sheet: to stderr if stdout contains JSON."""
    if not report.json:
        print_saved_path(path)
    elif not report.quiet:
        print_note(str(path))
