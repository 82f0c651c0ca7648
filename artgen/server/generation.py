"""Generate the images of a job with the engine, in the thread of the queue."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from artgen.api import engine_checks
from artgen.errors import ArtgenError
from artgen.events import Listener, no_op
from artgen.jobs import checks
from artgen.jobs.job import Job, PipelineJob
from artgen.jobs.prepare import prepare_jobs
from artgen.outputs.encoding import EncodingOptions, encode_image
from artgen.outputs.save_result import save_image
from artgen.outputs.signatures import Signing, configured_signing
from artgen.server.job_queue import JobImage, ServerJob
from artgen.server.log import log
from artgen.server.parse_job import STATE_LOCK, ParsedJob
from artgen.server.settings import ServerSettings
from artgen.spec.settings import FramesSettings, OutputSettings
from artgen.system.command_state import reset_command_state


def create_runner(settings: ServerSettings) -> Callable[[ServerJob, Listener], None]:
    """Return a function that generates the images of a job. Loaded models are kept for later jobs."""
    from artgen.engine import fast_import
    from artgen.engine.loading import loaded_models

    signing = configured_signing(None, "full")
    fast_import.import_engine()
    loaded_models.keep_loaded(settings.max_loaded)

    def run(job: ServerJob, listener: Listener) -> None:
        try:
            parsed = job.parsed
            if parsed is not None:
                with parsed.files.named_in_errors():
                    _run(job, parsed, settings, signing, listener)
        finally:
            from artgen.engine.lock import ENGINE_LOCK

            with STATE_LOCK, ENGINE_LOCK:
                reset_command_state()

    return run


def _run(
    job: ServerJob, parsed: ParsedJob, settings: ServerSettings, signing: Signing | None, listener: Listener
) -> None:
    """Generate all images. Raise the first error after the other images of the job are finished."""
    from artgen.engine.lock import ENGINE_LOCK
    from artgen.engine.select_engine import import_engine_for

    check_previews = partial(engine_checks.check_jobs, listener=no_op)
    with STATE_LOCK, ENGINE_LOCK:
        jobs = prepare_jobs(parsed.requests, listener, check_previews=check_previews)
        engine = import_engine_for(jobs)
    context = engine.GenerationContext(previews=all(map(_has_previews, jobs)))
    errors: list[ArtgenError] = []
    for outcome in engine.generate_jobs(jobs, context=context, listener=listener):
        if isinstance(outcome, engine.FailedImage):
            errors.append(outcome.error)
            continue
        used = None if signing is None else signing._replace(level=parsed.metadata)
        encoding = EncodingOptions("png", metadata=parsed.metadata, signing=used)
        record = parsed.files.with_names_in(outcome.record)
        png, _ = encode_image(outcome.image, record, encoding, outcome.low_bytes, outcome.request)
        if settings.output is not None:
            _save(settings.output, job, parsed, outcome, record)
        job.add_image(JobImage(png, record, used))
    if errors:
        raise errors[0]


def _save(output: str, job: ServerJob, parsed: ParsedJob, outcome: Any, record: Mapping[str, Any]) -> None:
    """Save an image in the folder of the server. The client gets its image also if this fails."""
    try:
        settings = OutputSettings(output=output, metadata=parsed.metadata)
        saved = save_image(outcome.image, record, outcome.request, settings, outcome.low_bytes, outcome.seconds)
        for note in saved.notes:
            job.add_note(parsed.files.with_names(note))
    except ArtgenError as error:
        log(f"Cannot save an image: {error.message}")
        job.add_note("The image was not saved on the server.")


def _has_previews(job: Job) -> bool:
    """Return whether intermediate latents of a job can be decoded. Some models pack or compress them."""
    try:
        checks.check_frames(FramesSettings(), job)
    except ArtgenError:
        return False
    return isinstance(job, PipelineJob) and getattr(job.request, "strength", None) != 0
