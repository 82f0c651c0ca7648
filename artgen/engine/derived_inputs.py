"""Compute the inputs of a job that need a model, before its pipeline runs: masks of texts."""

from artgen.engine.loading.device import DeviceConfig
from artgen.events import Listener, Notice
from artgen.jobs import text_masks
from artgen.jobs.job import GenerationJob
from artgen.spec.settings import MaskModelSettings


def complete_inputs(job: GenerationJob, device_config: DeviceConfig, listener: Listener) -> GenerationJob:
    """Return a job with all inputs that its pipeline needs.

    Args:
        job: job of `prepare_jobs`.
        device_config: device of the pipeline.
        listener: receives notes and the events of the loading.

    Raises:
        InputFileError: the text of a mask selects no pixel.
        ModelUnavailableError: a model cannot be loaded.
        OutputError: a mask cannot be saved.
    """
    return job if job.text_mask is None else _add_text_mask(job, device_config, listener)


def _add_text_mask(job: GenerationJob, device_config: DeviceConfig, listener: Listener) -> GenerationJob:
    from artgen.engine.text_masks.compute import compute_mask  # other jobs do not need transformers' vision models

    source = job.text_mask
    if source is None:
        return job
    found = compute_mask(source, device_config, listener)
    text, name = str(source.expression), job.request.input_paths["image"].name
    if found.mask.getbbox() is None:
        settings = MaskModelSettings(mask_threshold=found.threshold)
        raise text_masks.empty_mask_error(name, settings, text, found.highest)
    is_inverted = bool(getattr(job.request, "invert_mask", False))
    for note in text_masks.share_notes(text, name, found.mask, invert=is_inverted):
        listener(Notice(note))
    return text_masks.complete_job(job, found.mask, found.threshold)
