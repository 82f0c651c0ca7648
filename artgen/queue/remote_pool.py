"""Run a queue on a server of artgen. The images are saved, and the ledger is written, on this machine."""

import time
from collections.abc import Iterator
from pathlib import Path

from artgen.errors import ArtgenError
from artgen.events import Listener, WaitingForServer
from artgen.jobs.prompt_expansion import report_once
from artgen.queue.job_queue import JobQueue, OnResult, PausableRun, Runner, handle_result
from artgen.queue.job_recorder import JobRecorder
from artgen.queue.ledger import JobResult, Ledger
from artgen.queue.locks import JobLocks
from artgen.queue.plan import PlannedJob
from artgen.remote.connection import Connection, Server
from artgen.remote.errors import ServerError
from artgen.remote.job import Numbering
from artgen.remote.submission import AnyJob, run_in_order, submit_or_refuse


def remote_runner(folder: Path, server: Server, suffix: str = "") -> Runner:
    """Return a runner that sends the jobs to a server, one more than the server has devices.

    Args:
        folder: folder of the images.
        server: the server.
        suffix: suffix of the ledger file.
    """

    def run(queue: JobQueue, on_result: OnResult, listener: Listener) -> PausableRun:
        ledger, locks = Ledger(folder, suffix), JobLocks(folder)
        try:
            connection = Connection(server, lambda: listener(WaitingForServer(0)))
            return (yield from _RemoteRun(connection, ledger, locks, report_once(listener)).run(queue, on_result))
        finally:
            ledger.close()
            locks.close()

    return run


class _RemoteRun:
    def __init__(self, connection: Connection, ledger: Ledger, locks: JobLocks, listener: Listener) -> None:
        self._connection = connection
        self._listener = listener
        self._results: list[JobResult] = []
        self._recorder = JobRecorder(ledger, locks, self._results.append)
        self._claimed_elsewhere: list[PlannedJob] = []
        self._assigned: dict[str, PlannedJob] = {}

    def run(self, queue: JobQueue, on_result: OnResult) -> PausableRun:
        """Run all jobs of a queue. Return the jobs that other processes had locked.

        Raises:
            ServerError: the server cannot be used, or ended. Unfinished jobs are not recorded.
        """
        num_devices, total = self._connection.check(), len(queue)
        jobs = run_in_order(self._acquired(queue), self._submit, num_devices + 1)
        for number, (job, remote) in enumerate(jobs, 1):
            start_time = time.monotonic()
            try:
                generated = remote.wait(self._listener, Numbering(number, total))
            except ServerError:
                raise
            except ArtgenError as error:
                self._recorder.record_failure(job, error)
            else:
                self._recorder.save(job, generated, time.monotonic() - start_time)
            self._deliver(on_result)
            yield
        self._deliver(on_result)
        return self._claimed_elsewhere

    def _acquired(self, queue: JobQueue) -> Iterator[PlannedJob]:
        """Yield the jobs of a queue that no other process runs or has finished."""
        while (batch := queue.next_batch()).jobs:
            self._assigned |= {job.fingerprint: job for job in batch.jobs}
            yield from self._recorder.acquire_pending(batch.jobs)

    def _submit(self, job: PlannedJob) -> AnyJob:
        return submit_or_refuse(self._connection, job.request)

    def _deliver(self, on_result: OnResult) -> None:
        while self._results:
            result = self._results.pop(0)
            handle_result(self._assigned.pop(result.fingerprint), result, on_result, self._claimed_elsewhere)
