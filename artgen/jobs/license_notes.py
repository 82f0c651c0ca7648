"""Create the note about the models of jobs whose licenses do not allow commercial use."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from artgen.jobs.job import Job, UpscaleJob
from artgen.registry import ResolvedModel
from artgen.registry.license_terms import forbids_commercial_use
from artgen.registry.lora import LoraRequest
from artgen.registry.model_license import license_of_card, license_of_file, model_license

MAX_LICENSE_CHARS = 100

_METADATA_KEYS = ("modelspec.license", "license")
"""Keys of the metadata of a safetensors file with the license of a LoRA."""

Part = tuple[str, str, str]
"""Kind of a model, its name, and its license."""


def license_notes(jobs: Iterable[Job]) -> list[str]:
    """Return one note about all models, LoRAs, VAEs and nets of jobs that are not for commercial use, or no note.

    Models whose license is unknown are not in the note.
    """
    found = dict.fromkeys(part for job in jobs for part in _parts(job) if forbids_commercial_use(part[2]))
    if not found:
        return []
    names = ", ".join(f"{kind} '{name}' ({text[:MAX_LICENSE_CHARS]})" for kind, name, text in found)
    return [f"The license does not allow commercial use: {names}."]


def _parts(job: Job) -> Iterator[Part]:
    if isinstance(job, UpscaleJob) and job.tile is not None:
        yield from _parts(job.tile)
    model = getattr(job, "model", None)
    if isinstance(model, ResolvedModel):
        yield "model", model.name, model_license(model)
        if model.refiner is not None:
            yield "refiner", model.refiner.name, model_license(model.refiner)
        if model.vae is not None:
            yield "VAE", model.vae.name, _license_of_path(model.vae.path)
    for lora in job.loras:
        yield "LoRA", lora.file.name, _lora_license(lora)
    for control in getattr(job, "controls", ()):
        if control.net is not None:
            yield "control net", control.net.name, control.net.license
    for prompt in getattr(job, "image_prompts", ()):
        yield "image prompt adapter", prompt.adapter.name, prompt.adapter.license
    if (upscaler := getattr(job, "upscaler", None)) is not None:
        yield "upscaling network", upscaler.name, upscaler.license


def _lora_license(lora: LoraRequest) -> str:
    stated = (lora.file.metadata.get(key, "") for key in _METADATA_KEYS)
    return next(filter(None, stated), "") or license_of_file(lora.file.path)


def _license_of_path(path: Path) -> str:
    return license_of_card(path) or license_of_card(path.parent) if path.is_dir() else license_of_file(path)
