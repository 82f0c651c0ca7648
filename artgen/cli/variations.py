"""Define the command `artgen variations`."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.arguments import reject_nan
from artgen.cli.console import discard_note, print_note
from artgen.cli.options import flatten_settings
from artgen.cli.positionals import reject_stdin
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.cli.set_option import SetOption, parse_changes, unrecorded_settings
from artgen.errors import ArtgenError
from artgen.spec.settings import (
    FilterSettings,
    FramesSettings,
    GenerationReportSettings,
    OutputSettings,
    RemoteSettings,
    RunSettings,
    SeriesSettings,
)
from artgen.system.files import missing_file_error
from artgen.system.input_files import input_stem, is_stdin

if TYPE_CHECKING:
    from artgen.jobs.image_variations.plan import VariationPlan


@image_output("txt2img", "img2img", "inpaint", "outpaint")
@flatten_settings
def variations(
    run: RunSettings,
    output: OutputSettings,
    filtering: FilterSettings,
    remote: RemoteSettings,
    report: GenerationReportSettings,
    image: Annotated[Path, typer.Argument(help="Image of artgen, or any other image. - reads stdin.", metavar="IMAGE")],
    amount: Annotated[
        float,
        typer.Option(
            "--amount", min=0, max=1, callback=reject_nan, help="How different the images are. 0 is the image itself."
        ),
    ] = 0.2,
    count: Annotated[
        int | None, typer.Option("-c", "--count", min=1, max=100_000, help="Number of images.  [default: 4]")
    ] = None,
    seed: Annotated[
        str | None,
        typer.Option(
            "-s", "--seed", help="Seeds of the variations: `7`, a list `1,2,5-8`, or -1 for random seeds. [random]"
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="Another prompt.")] = None,
    set_: SetOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Generate images that are similar to an image.

    The noise of an image of artgen is mixed with other noise. If the noise is unknown, img2img generates the images.

    artgen variations fox.png
    artgen variations fox.png --count 6 --amount 0.2 -o foxes/
    artgen variations fox.png --amount 0.4 -p "a red fox at night"
    """
    from artgen.cli.remote_server import find_server
    from artgen.jobs.image_variations.plan import DEFAULT_COUNT, plan_variations
    from artgen.spec.seeds import expand_seeds, generate_seed, hash_seed

    if not is_stdin(image) and not os.path.lexists(image):
        raise missing_file_error(image)
    changes = parse_changes(set_) | ({} if prompt is None else {"prompt": prompt})
    has_ledger = run != RunSettings()
    if has_ledger:
        reject_stdin(image)
    random_seed: Callable[[], int] = (lambda: hash_seed(image.read_bytes())) if has_ledger else generate_seed
    is_list = seed is not None and not seed.strip().removeprefix("-").isdecimal()
    series = SeriesSettings(seed=seed, count=count or (1 if is_list else DEFAULT_COUNT))
    is_remote = find_server(remote) is not None
    plan = plan_variations(image, amount, expand_seeds(series, random_seed), changes, is_remote=is_remote)
    if settings := unrecorded_settings(filtering, offline=offline):
        plan = replace(plan, requests=[each.replace(**settings) for each in plan.requests])
    on_note = discard_note if report.quiet else print_note
    for text in plan.notes:
        on_note(text)
    options = OutputOptions(output, FramesSettings(), report, remote)
    if has_ledger:
        _run_batch(image, plan, run, options)
    else:
        _run_directly(image, plan, options)


def _run_directly(image: Path, plan: "VariationPlan", options: OutputOptions) -> None:
    """Generate the variations in this process or on a server, without a ledger."""
    from artgen.cli.remote_jobs import create_jobs, run_replays
    from artgen.cli.remote_server import find_server
    from artgen.cli.request_jobs import RequestJobs
    from artgen.events import note_listener
    from artgen.jobs.batch_size import ExactBatchSize, parse_batch_size
    from artgen.jobs.prompt_expansion import report_once
    from artgen.jobs.recorded_prompt import add_unsupported, with_recorded_prompts

    if options.output.output is None and len(plan.requests) > 1:
        stem = input_stem(image).replace("{", "{{").replace("}", "}}")
        options = replace(options, output=replace(options.output, output=f"outputs/{stem}-variation-{{index:05}}"))
    if plan.spec is not None and find_server(options.remote) is not None:
        return run_replays(plan.spec, plan.requests, options)
    if plan.spec is not None:
        is_same = not any(vars(each).get("variation_strength") for each in plan.requests)
        size = ExactBatchSize(plan.spec.batch_size) if is_same else parse_batch_size(None)
        jobs = RequestJobs(
            plan.requests, options, batch_size=size, check_job=plan.spec.check_job, prepare_request=plan.spec.prepare
        )
        return run_requests(jobs, options.report)
    given = set(plan.given) | (set() if plan.uses_recorded_prompt else {"prompt"})
    listener = report_once(note_listener(discard_note if options.report.quiet else print_note))
    while True:  # each repetition has one recorded setting less
        requests = with_recorded_prompts(plan.requests, given, listener)
        try:
            return run_requests(create_jobs(requests, options), options.report)
        except ArtgenError as error:
            add_unsupported(error, given, listener)


def _run_batch(image: Path, plan: "VariationPlan", run: RunSettings, options: OutputOptions) -> None:
    """Generate the variations as a batch with a ledger, in worker processes or on several machines."""
    from artgen.cli.ledger_jobs import LedgerJobs
    from artgen.cli.remote_server import find_server
    from artgen.events import note_listener
    from artgen.jobs.image_variations.plan import entry_values, supported_requests
    from artgen.queue.batch_entries import batch_folder
    from artgen.queue.entries import Entry

    listener = note_listener(discard_note if options.report.quiet else print_note)
    folder, output_settings = batch_folder(options.output, f"{input_stem(image)}-variations")
    is_remote = find_server(options.remote) is not None
    requests = plan.requests if is_remote else supported_requests(plan, listener)
    entries = [Entry(image.name, 0, entry_values(each)) for each in requests]
    run_requests(LedgerJobs(entries, folder, output_settings, run, remote=options.remote), options.report)
