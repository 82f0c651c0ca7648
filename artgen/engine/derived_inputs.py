"""Compute the inputs of a job that need a model, before its pipeline runs: control maps and masks of texts."""

import hashlib
from collections import OrderedDict
from dataclasses import replace

from PIL import Image

from artgen.engine.loading.device import DeviceConfig
from artgen.events import Listener, Notice
from artgen.jobs import text_masks
from artgen.jobs.control import ControlInput
from artgen.jobs.job import GenerationJob
from artgen.spec.settings import MaskModelSettings
from artgen.system.command_state import register_reset

MAX_CACHED_MAPS = 16

_map_cache: OrderedDict[tuple[object, ...], Image.Image] = OrderedDict()


@register_reset
def _clear_map_cache() -> None:
    _map_cache.clear()


def complete_inputs(job: GenerationJob, device_config: DeviceConfig, listener: Listener) -> GenerationJob:
    """Return a job with all inputs that its pipeline needs. Equal inputs are computed once per command.

    Args:
        job: job of `prepare_jobs`.
        device_config: device of the pipeline.
        listener: receives notes and the events of the loading.

    Raises:
        InputFileError: the text of a mask selects no pixel.
        ModelUnavailableError: a model cannot be loaded.
        OutputError: a mask cannot be saved.
    """
    if job.text_mask is not None:
        job = _add_text_mask(job, device_config, listener)
    if not job.controls:
        return job
    return replace(job, controls=tuple(_add_maps(each, device_config, listener) for each in job.controls))


def _add_maps(control: ControlInput, device_config: DeviceConfig, listener: Listener) -> ControlInput:
    """Return a control image with its map, and with the map of the first pass of hires fix."""
    first = control.first_pass and _add_map(control.first_pass, device_config, listener)
    return replace(_add_map(control, device_config, listener), first_pass=first)


def _add_map(control: ControlInput, device_config: DeviceConfig, listener: Listener) -> ControlInput:
    """Return a control image with its map. A disabled net and an inpaint net do not read a map."""
    if control.map is not None or control.spec.scale == 0 or control.net.is_inpaint:
        return control
    # Other jobs do not need the preprocessors.
    from artgen.engine.control_maps.maps import MapModels, control_map

    kind, image = control.spec.kind, control.image
    digest = hashlib.sha256(image.tobytes()).digest()
    key = (kind, image.size, digest, device_config.device, tuple(each.files for each in control.preprocessors))
    if key not in _map_cache:
        models = MapModels(control.preprocessors, device_config.device)
        _map_cache[key] = control_map(kind, image, models, listener)
        while len(_map_cache) > MAX_CACHED_MAPS:
            _map_cache.popitem(last=False)
    _map_cache.move_to_end(key)
    return replace(control, map=_map_cache[key])


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
