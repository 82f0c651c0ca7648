"""Select where the jobs of a batch run: in this process, in worker processes, with Ray, or on a server."""

from pathlib import Path
from typing import TYPE_CHECKING

from artgen.queue.job_queue import Runner, in_process_runner
from artgen.spec.settings import RunSettings

if TYPE_CHECKING:
    from artgen.remote.connection import Server


def create_runner(
    folder: Path, run_settings: RunSettings, server: "Server | None", suffix: str, *, waits_for_saves: bool
) -> Runner:
    """Return the runner of a batch.

    Args:
        folder: receives the images.
        run_settings: worker processes or machines.
        server: server that generates the images; None: this machine, or the machines of `run_settings`.
        suffix: suffix of the ledger file.
        waits_for_saves: see `in_process_runner`.
    """
    if server is not None:
        from artgen.queue.remote_pool import remote_runner

        return remote_runner(folder, server, suffix)
    if run_settings.ray is not None:
        from artgen.queue.ray_pool import ray_runner

        return ray_runner(folder, run_settings.ray, suffix)
    if run_settings.workers > 1:
        from artgen.queue.process_pool import worker_pool_runner

        return worker_pool_runner(folder, run_settings.workers, suffix)
    return in_process_runner(folder, suffix, waits_for_saves=waits_for_saves)
