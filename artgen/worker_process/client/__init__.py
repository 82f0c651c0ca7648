"""Send a command to the worker.

`artgen.__main__` imports this package before the command line, so it imports neither typer, rich nor torch. A command
that does not use the worker imports no other module of this package, except `socket_file`.
"""

from collections.abc import Sequence

from artgen.worker_process.client import settings


def run_in_worker(arguments: Sequence[str]) -> int | None:
    """Run a command in the worker. Return its exit code; None if it must run in this process.

    Args:
        arguments: arguments of the command line, without the name of the program.
    """
    if not settings.can_use_worker(arguments) or (setting := settings.worker_setting()) is False:
        return None
    from artgen.worker_process.client import socket_file

    if setting is None and not socket_file.exists():
        return None
    from artgen.worker_process.client.command import run

    return run(arguments, starts_worker=setting is True)
