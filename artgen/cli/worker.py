"""Define the command `artgen worker`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from artgen.cli.console import print_note, print_result
from artgen.cli.help import App
from artgen.cli.json_output import JsonOutput
from artgen.system.counts import counted, format_bytes, format_duration

if TYPE_CHECKING:
    from artgen.api.worker_functions import WorkerStatus

app = App(
    """Control the worker: a process that keeps models loaded.

    artgen worker start
    artgen worker status
    artgen worker stop

    Commands that load models run in the worker while it runs. Their files, output and exit codes are the same as in an
    ordinary process, but the start takes less time. ARTGEN_WORKER=on, or `artgen config set worker on`, starts the
    worker at the first command. With ARTGEN_WORKER=off, commands do not use it. `--verbose` prints why a command does
    not use the worker.
    """
)


def _declare_json() -> type:
    from artgen.api.worker_functions import WorkerStatus

    return WorkerStatus


STATUS_OUTPUT = JsonOutput(_declare_json, is_list=False)


@app.command()
def start(
    max_loaded: Annotated[
        int | None,
        typer.Option(help="Maximum number of loaded models. The least recently used one is unloaded first. [2]"),
    ] = None,
    keep_alive: Annotated[
        str | None, typer.Option(help="Exit after this idle time: 90s, 10m, 1.5h, 1d. [10m]", metavar="TIME")
    ] = None,
) -> None:
    """Start the worker in the background, and wait until it accepts commands.

    The exit code is 0 if a worker runs already. The worker is not supported on Windows.

    artgen worker start
    artgen worker start --max-loaded 3 --keep-alive 1h
    """
    from artgen.api.worker_functions import start_worker, worker_status
    from artgen.spec.worker_limits import worker_limits

    limits = worker_limits(max_loaded, keep_alive)
    before = worker_status()
    status = before if before.running else start_worker(max_loaded=max_loaded, keep_alive=keep_alive)
    print_result(f"The worker runs{' already' if before.running else ''}: process {status.pid}.")
    if status.difference:
        print_note(f"Your commands cannot use it: {status.difference}. To end it: artgen worker stop")
    if (max_loaded, keep_alive) != (None, None) and (status.max_loaded, status.keep_alive_seconds) != (
        limits.max_loaded,
        limits.keep_alive_seconds,
    ):
        print_note("The options have no effect on a worker that runs. To end it: artgen worker stop")


@app.command()
def stop() -> None:
    """End the worker at once, and wait for its end.

    Commands that run or wait continue in their own processes. The exit code is 0 if no worker runs.

    artgen worker stop
    """
    from artgen.api.worker_functions import stop_worker

    print_result("The worker has ended." if stop_worker() else "No worker runs.")


@app.command()
@STATUS_OUTPUT
def status(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the worker: its process, its commands and its loaded models.

    The exit code is 0 also if no worker runs. The field running of --json is false then.

    artgen worker status
    artgen worker status --json
    """
    from artgen.api.worker_functions import worker_status

    found = worker_status()
    if as_json:
        STATUS_OUTPUT.print(found)
    elif not found.running:
        print_result("No worker runs.")
    else:
        for name, value in _lines(found):
            print_result(f"{name:<11} {value}", hanging_indent=12)


def _lines(status: "WorkerStatus") -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each line."""
    yield "process", f"{status.pid}"
    yield "version", f"{status.version}"
    yield "since", f"{status.since}"
    yield "command", status.command or f"none for {format_duration(status.idle_seconds or 0)}"
    yield "waiting", counted(status.waiting, "command")
    yield "finished", counted(status.num_commands, "command")
    for model in status.models:
        yield "model", f"{model.name}, {format_bytes(model.nbytes)}, {model.dtype} on {model.device}"
    yield "max_loaded", counted(status.max_loaded or 0, "model")
    yield "keep_alive", format_duration(status.keep_alive_seconds or 0)
    yield "memory", "unknown" if status.memory_bytes is None else format_bytes(status.memory_bytes)
    if status.difference:
        yield "not used", f"{status.difference}"
