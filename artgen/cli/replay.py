"""Define the command `artgen replay`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from artgen.cli.console import print_note
from artgen.cli.help import reads_history
from artgen.cli.options import flatten_settings
from artgen.cli.record_output import image_output
from artgen.cli.run_requests import OutputOptions, run_requests
from artgen.cli.set_option import SetOption, parse_changes, unrecorded_settings
from artgen.spec.settings import (
    FilterSettings,
    FramesSettings,
    GenerationReportSettings,
    OutputSettings,
    RemoteSettings,
)

if TYPE_CHECKING:
    from artgen.engine.results import GeneratedImage
    from artgen.jobs.replay_comparison import Original


@image_output()
@flatten_settings
@reads_history
def replay(
    output: OutputSettings,
    frames: FramesSettings,
    filtering: FilterSettings,
    remote: RemoteSettings,
    report: GenerationReportSettings,
    file: Annotated[
        Path,
        typer.Argument(help="An image, its sidecar file, a file with A1111 text, or history:ID.", metavar="FILE"),
    ],
    set_: SetOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Never use the network.")] = False,
) -> None:
    """Generate an image again from its metadata.

    The pixels are identical unless a setting, the model or the hardware changes. The result is compared with the
    original image.

    artgen replay fox.png
    artgen replay fox.png --set steps=50 -o better.png
    """
    from artgen.api.history_access import replay_source
    from artgen.cli.morph import replay_morph
    from artgen.cli.remote_jobs import run_replays
    from artgen.cli.remote_server import find_server
    from artgen.cli.request_jobs import RequestJobs
    from artgen.jobs import replay as replay_jobs
    from artgen.jobs.batch_size import ExactBatchSize
    from artgen.jobs.image_variations.morph import recorded_morph

    changes = parse_changes(set_)
    file = replay_source(file)
    options = OutputOptions(output, frames, report, remote)
    is_remote = find_server(remote) is not None
    if (recorded := recorded_morph(file)) is not None:
        replay_morph(file, recorded, changes, options, unrecorded_settings(filtering, offline=offline))
        return
    spec = replay_jobs.read_replay_spec(file, changes, is_remote=is_remote)
    if not report.quiet:
        for text in spec.notes:
            print_note(text)
    request = spec.request.replace(**unrecorded_settings(filtering, offline=offline))
    on_saved = None if spec.original is None else partial(_compare, spec.original, output, report.quiet)
    if is_remote:
        run_replays(spec, [request], options, on_saved)
        return
    jobs = RequestJobs(
        [request],
        options,
        batch_size=ExactBatchSize(spec.batch_size),
        check_job=spec.check_job,
        prepare_request=spec.prepare,
        on_saved=on_saved,
    )
    run_requests(jobs, report)


def _compare(
    original: "Original", output: OutputSettings, quiet: bool, result: "GeneratedImage", path: Path
) -> dict[str, Any]:
    """Print whether the pixels equal the pixels of the original image, and return the fields of `--json`."""
    from artgen.jobs.replay_comparison import compare

    found = compare(original, result.image, result.low_bytes, result.record)
    suffix = path.suffix.lower()
    is_compressed = suffix in (".jpg", ".jpeg") or (suffix == ".webp" and output.quality != 100)
    if not quiet and found.same_pixels and is_compressed and original.format not in ("JPEG", "WEBP"):
        print_note(f"{found.text} The compression of '{path}' then changes them.")
    elif not quiet:
        print_note(found.text)
    return found.as_dict()
