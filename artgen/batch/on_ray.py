"""A Ray cluster: one actor to a GPU, or to a CPU core where there is none; each pulls work when it is free.

Ray Core, not Ray Data: one bad item must not fail the job, and what is finished must not run again. The folder of the
pictures must be one that all machines see.
"""

import os
import re
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.batch.casualties import Casualties
from artgen.batch.claims import Claims
from artgen.batch.drawing import Drawer
from artgen.batch.ledger import Ledger
from artgen.batch.plan import Job
from artgen.batch.results import Result
from artgen.batch.running import PATIENCE, Handful, OnResult, Queue, Runner, settle
from artgen.errors import ArtgenError, DeviceLostError, OutputError, UsageError
from artgen.events import Listener, Note, Waiting, ignore

if TYPE_CHECKING:
    from artgen.engine.thrift import Learned

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, for the time of the batch."""


def run_on_ray(folder: Path, address: str, suffix: str = "") -> Runner:
    """A runner on a Ray cluster.

    Args:
        folder: of the pictures, seen by all machines under the same path.
        address: the cluster's, `auto` for the one at hand, `local` to start one here.
        suffix: of the ledger.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
    """
    ray = _connected(address)

    def run(queue: Queue, on_result: OnResult, listener: Listener) -> list[Job]:
        return _Cluster(ray, folder, suffix, listener).run(queue, on_result)

    return run


class Actor:
    """What runs on a machine of the cluster."""

    def __init__(self, start: str, folder: Path, suffix: str) -> None:
        os.chdir(start)  # paths in jobs are told from there
        self._folder = folder
        self._suffix = suffix
        self._claims = Claims(folder)
        self._learned: Learned = {}

    def draw(self, taken: Handful) -> tuple[list[Result], float | None]:
        """Draws jobs; their ends, and the seconds a picture."""
        results: list[Result] = []
        ledger = Ledger(self._folder, self._suffix)
        try:
            with Drawer(ledger, self._claims, results.append, ignore, self._learned) as drawer:
                seconds = drawer.draw(taken.jobs, taken.rows)
        except DeviceLostError as error:
            print(error.message, file=sys.stderr, flush=True)
            os._exit(error.exit_code)  # another actor takes this one's place
        finally:
            ledger.close()
        return results, seconds


class _Cluster:
    def __init__(self, ray: Any, folder: Path, suffix: str, listener: Listener) -> None:
        self._ray = ray
        self._folder = folder
        self._suffix = suffix
        self._listener = listener
        self._casualties = Casualties(folder, suffix)
        self._work: dict[Any, tuple[Any, list[Job]]] = {}
        self._elsewhere: list[Job] = []

    def run(self, queue: Queue, on_result: OnResult) -> list[Job]:
        """Draws all of a queue; returns what other processes had."""
        resources = self._ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        count = min(gpus or int(resources.get("CPU", 1)), len(queue))
        share = {"num_gpus": 1} if gpus else {"num_cpus": 1}
        make = self._ray.remote(Actor).options(**share)
        try:
            for _ in range(count):
                self._feed(self._start(make), queue)
            while self._work:
                finished, _ = self._ray.wait(list(self._work), num_returns=1, timeout=PATIENCE)
                for reference in finished:
                    self._settle(reference, make, queue, on_result)
                self._listener(Waiting(sum(len(jobs) for _, jobs in self._work.values())))
        finally:
            for actor, _ in self._work.values():
                self._ray.kill(actor)
        return self._elsewhere

    def _start(self, make: Any) -> Any:
        return make.remote(str(Path.cwd()), self._folder, self._suffix)

    def _feed(self, actor: Any, queue: Queue) -> None:
        if (taken := queue.take()).jobs:
            self._work[actor.draw.remote(taken)] = (actor, taken.jobs)

    def _settle(self, reference: Any, make: Any, queue: Queue, on_result: OnResult) -> None:
        actor, jobs = self._work.pop(reference)
        try:
            results, seconds = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise _own(error) from error
        except self._ray.exceptions.RayActorError as error:
            cause = str(error).splitlines()[0]
            self._listener(Note("an actor died; what it had is tried again"))
            self._casualties.lost(jobs, cause, queue, on_result)
            actor = self._start(make)
        else:
            open_ = {job.key: job for job in jobs}
            for result in results:
                settle(open_[result.key], result, on_result, self._elsewhere)
            queue.learn(jobs, seconds)
        self._feed(actor, queue)


def _own(error: Any) -> Exception:
    """The error that an actor raised."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, ArtgenError) else OutputError(f"A machine of the cluster failed: {error}")


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError as error:
        raise UsageError("Ray is not installed.", "pip install 'artgen[ray]'") from error
    if not ray.is_initialized():
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == LOCAL:
            options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        else:
            _look_for(address)
            options["address"] = address
        try:
            ray.init(**options)
        except Exception as error:  # Ray says by a bare Exception that a node took too long to start
            if address == LOCAL:
                raise UsageError(f"Ray could not start here: {error}", "Try again, or use --workers.") from error
            raise UsageError(f"No Ray cluster answers at {address!r}: {error}", _START) from error
    return ray


_START = "Start one with `ray start --head`, or use --ray local."


def _look_for(address: str) -> None:
    """Refuses an address where nobody listens; Ray itself would go on trying for ten minutes."""
    found = re.fullmatch(r"(?:ray://)?\[?([^\]/]+?)\]?:([0-9]{1,5})", address)
    if address == "auto":
        return
    if found is None:
        raise UsageError(f"--ray takes host:port, auto or local, not {address!r}.", _START)
    try:
        socket.create_connection((found[1], int(found[2])), timeout=5).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"No Ray cluster answers at {address!r}: {error}.", _START) from error
