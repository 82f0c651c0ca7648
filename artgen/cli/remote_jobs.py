"""Run requests on a server of artgen, without a ledger."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.cli.console import print_note
from artgen.cli.remote_server import find_server, reject_local_options
from artgen.cli.reporter import Reporter
from artgen.cli.request_jobs import OnSaved, RequestJobs, job_label
from artgen.cli.run_requests import JobOutcome, JobSource, OnOutcome, OutputOptions, PendingJob, RunPlan, run_requests
from artgen.cli.stdout_image import check_stdout_image
from artgen.cli.user_defaults import is_typed
from artgen.errors import ArtgenError
from artgen.events import Listener, Notice, WaitingForServer
from artgen.spec.settings import ReportSettings, options_of
from artgen.system import process

if TYPE_CHECKING:
    from artgen.jobs.batch_size import BatchSizePolicy
    from artgen.jobs.job import Job
    from artgen.jobs.prepare import PrepareJobs
    from artgen.jobs.replay import ReplaySpec
    from artgen.outputs import Destination
    from artgen.remote.connection import Connection, Server
    from artgen.spec.base_requests import Request


def create_jobs(
    requests: "Sequence[Request]",
    options: OutputOptions,
    *,
    batch_size: "int | BatchSizePolicy" = 1,
    check_job: "Callable[[Job], None] | None" = None,
    prepare_request: "Callable[[Request, PrepareJobs, Listener], Job] | None" = None,
    on_saved: OnSaved | None = None,
    recorded: Mapping[str, Any] | None = None,
    check_record: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> JobSource:
    """Return the jobs of requests: on the server that the options select, or in this process.

    Args:
        recorded: record of the image that a server generates again; None for other images.
        check_record: raises an ArtgenError if the result of a server with this record must not be saved.

    See `RequestJobs` for the other arguments. A server uses only `on_saved` of them.
    """
    server = find_server(options.remote)
    if server is None:
        return RequestJobs(
            requests,
            options,
            batch_size=batch_size,
            check_job=check_job,
            prepare_request=prepare_request,
            on_saved=on_saved,
        )
    return RemoteJobs(requests, options, server, on_saved=on_saved, recorded=recorded, check_record=check_record)


@dataclass(frozen=True)
class RemoteJobs:
    """Represent jobs that a server runs. See `create_jobs` for the attributes."""

    requests: "Sequence[Request]"
    options: OutputOptions
    server: "Server"
    on_saved: OnSaved | None = None
    recorded: Mapping[str, Any] | None = None
    check_record: Callable[[Mapping[str, Any]], None] = lambda _: None

    def create_reporter(self, report: ReportSettings) -> Reporter:
        return Reporter(report.quiet, report.verbose)

    def prepare(self, reporter: Reporter) -> RunPlan:
        """Run the checks that need no model, and connect to the server.

        Raises:
            ArtgenError: a request or a destination is invalid, or the server cannot be used.
        """
        from artgen import outputs
        from artgen.remote.connection import Connection
        from artgen.remote.upload import check_remote

        report, output = self.options.report, self.options.output
        reject_local_options(self.options.frames)
        if getattr(report, "preview", False) and not report.quiet and is_typed("preview"):
            print_note("--preview has no effect with --server.")
        requests = self.requests if self.recorded is not None else _expand(self.requests, reporter)
        for request in requests:
            check_remote(request)
        destination = outputs.destination_for_requests(requests, output)
        check_stdout_image(destination.is_stdout, json=report.json, dry_run=report.dry_run)
        records = [_preview_record(request) for request in requests]
        for request, record in zip(requests, records, strict=True):
            width, height = (getattr(request, name, None) or 0 for name in ("width", "height"))
            destination.check(width, height, record, has_alpha=_has_transparency(request))
        notes = [] if report.quiet or destination.is_stdout else [
            text for text in (outputs.file_name_note(output.output, destination.suffix),) if text
        ]  # fmt: skip
        connection = Connection(self.server, lambda: reporter(WaitingForServer(0)))
        num_devices = 1 if report.dry_run else connection.check()
        return RunPlan(
            [self._pending_job(*each, destination) for each in zip(requests, records, strict=True)],
            partial(self._generate, requests, destination, connection, num_devices),
            lambda _: self._check(connection),
            len(requests),
            has_ledger=False,
            notes=notes,
        )

    def _check(self, connection: "Connection") -> None:
        """Check that the server can be used, for a dry run."""
        connection.check()

    def _pending_job(self, request: "Request", record: dict[str, Any], destination: "Destination") -> PendingJob:
        from artgen.spec.fields import non_default_settings

        settings = {
            "task": request.task,
            **non_default_settings(request),
            **non_default_settings(self.options.output, self.options.remote),
        }
        return PendingJob("", record, settings, partial(destination.preview, record))

    def _generate(
        self,
        requests: "Sequence[Request]",
        destination: "Destination",
        connection: "Connection",
        num_devices: int,
        reporter: Reporter,
        on_outcome: OnOutcome,
    ) -> None:
        from artgen.outputs.save_result import history_notes, result_notes
        from artgen.remote.errors import ServerError
        from artgen.remote.job import Numbering
        from artgen.remote.submission import run_in_order, submit_or_refuse

        start_time = time.monotonic()
        if process.owns_process() and len(requests) == 1:
            start_time -= process.elapsed_seconds()  # a single image: the time that the user waited
        is_first, reported = True, set[str]()

        def listen(event: Any) -> None:
            if isinstance(event, Notice):
                if event.text in reported:
                    return
                reported.add(event.text)
            reporter(event)

        jobs = run_in_order(requests, partial(submit_or_refuse, connection, recorded=self.recorded), num_devices + 1)
        for number, (request, job) in enumerate(jobs):
            try:
                result = job.wait(listen, Numbering(number + 1, len(requests)))
                self.check_record(result.record)
            except ArtgenError as error:
                if is_first or isinstance(error, ServerError):
                    raise
                on_outcome(JobOutcome(job_label(request, {}), error=error, number=number))
                continue
            is_first = False
            for text in result_notes(result.image, result.low_bytes, result.record, request, destination.encoding):
                listen(Notice(text))
            reporter.show_saving()
            path = destination.save(
                result.image,
                result.record,
                low_bytes=result.low_bytes,
                seconds=result.seconds,
                request=result.request,
            )
            reporter.close()
            for text in history_notes():
                listen(Notice(text))
            measure = partial(self.on_saved, result, path) if self.on_saved is not None else dict
            seconds = time.monotonic() - start_time
            label = job_label(result.request, result.record)
            on_outcome(JobOutcome(label, path, None, result.record, seconds, None, measure, number))
            start_time = time.monotonic()


def _expand(requests: "Sequence[Request]", listener: Listener) -> "list[Request]":
    """Return the requests with final wildcards and styles. Validate the input images.

    Raises:
        ArtgenError: a request is invalid, or an input file cannot be used.
    """
    from artgen.jobs.inputs import input_key, load_inputs
    from artgen.jobs.prompt_expansion import PromptSources, expand_prompts, report_once

    report, sources = report_once(listener), PromptSources(finds_files=False)
    expanded = []
    checked = set[Any]()
    for request in requests:
        expanded.append(expand_prompts(request, report, sources))
        if (key := input_key(request)) not in checked:
            checked.add(key)
            load_inputs(request)
    return expanded


def _preview_record(request: "Request") -> dict[str, Any]:
    """Return the record of a job as far as it is known on this machine."""
    from artgen.spec.records import to_record

    return to_record(request)


def _has_transparency(request: "Request") -> bool:
    """Return whether the result keeps transparent pixels of the input image."""
    from artgen import images

    path: Path | None = request.input_paths.get("image")
    return path is not None and request.task != "edit" and images.has_transparency(images.load_lossless(path).image)


def run_replays(
    spec: "ReplaySpec", requests: "Sequence[Request]", options: OutputOptions, on_saved: OnSaved | None = None
) -> None:
    """Generate images from the record of an image on a server.

    Args:
        spec: replay of the image.
        requests: requests of the images.
        options: settings that apply to the results.
        on_saved: see `RequestJobs`.

    Raises:
        ArtgenError: see `run_requests`; or the server has other weights than the image.
    """
    from artgen.jobs.replay_remote import check_hashes

    while True:  # each repetition has one recorded setting less
        check = partial(check_hashes, expected=spec.expected_hashes)
        try:
            jobs = create_jobs(requests, options, on_saved=on_saved, recorded=spec.recorded, check_record=check)
            return run_requests(jobs, options.report)
        except ArtgenError as error:
            name = next((each for each in error.settings if each in spec.optional_settings), "")
            if name not in spec.recorded or getattr(requests[0], name, None) in (None, "", ()):
                raise
            print_note(f"The recorded {name} is ignored: {error.message}")
            default = options_of(type(requests[0]))[name].default
            requests = [request.replace(**{name: default}) for request in requests]
