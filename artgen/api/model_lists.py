"""Describe the models of the catalog and on this computer, and the machine that models must fit. No downloads."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from artgen import registry
from artgen.errors import ArtgenError, UsageError
from artgen.registry import model_folders, web
from artgen.registry.hub import cache
from artgen.registry.license_terms import license_terms
from artgen.registry.model_license import model_license
from artgen.registry.pipelines import pipeline_entries
from artgen.spec.memory_budget import parse_bytes
from artgen.spec.value_checks import check_choice

if TYPE_CHECKING:
    from artgen.jobs.recommend import Machine

TASKS = ("txt2img", "img2img", "inpaint", "outpaint", "edit", "sample")
"""Tasks by which models can be selected."""

DEVICES = ("auto", "cuda", "mps", "cpu")


@dataclass(frozen=True, kw_only=True)
class ModelDetails:
    """Describe a model of the catalog, a downloaded model, or a file in the model folders.

    Attributes:
        name: name for `model`.
        source: hub id, address or path.
        revision: commit of the downloaded files, or the revision of the catalog; None if unknown.
        architecture: group of families whose LoRAs fit; the kind of a file that is not a model, such as `lora`.
        width, height: size of the images in pixels that the model was trained on; None if unknown.
        license: license, or `unknown`.
        license_terms: what the license allows, in one line: commercial use, share-alike, gated.
        gated: whether the hub requires an account and the acceptance of the license.
        family: family of pipelines; None if unknown.
        aliases: other names of the model.
        year: year of publication; None if unknown.
        download_size: approximate number of bytes to download; None if unknown.
        gpu_memory: estimated GPU memory in bytes, without offloading; None if unknown.
        steps: default number of steps; None if unknown.
        guidance_scale: default guidance scale; None if unknown.
        inpainting: whether the model is an inpainting model.
        on_disk: bytes on this computer; 0 if the model is not downloaded.
        complete: whether all files are on this computer.
        builtin: whether the model is in the catalog of artgen.
        description: one line about the model.
    """

    name: str
    source: str
    revision: str | None
    architecture: str | None
    width: int | None
    height: int | None
    license: str
    license_terms: str
    gated: bool
    family: str | None
    aliases: tuple[str, ...]
    year: int | None
    download_size: int | None
    gpu_memory: int | None
    steps: int | None
    guidance_scale: float | None
    inpainting: bool
    on_disk: int
    complete: bool
    builtin: bool
    description: str


def select_models(*, family: str | None = None, task: str | None = None) -> list[ModelDetails]:
    """Return the models that have an alias, the downloaded models, and upscalers. See `artgen.list_models`."""
    from artgen.api.upscaler_models import FAMILY, iter_upscalers  # imports this module

    if task is not None:
        check_choice("task", task, TASKS)
    if family == FAMILY and task is None:
        return list(iter_upscalers())
    entries = _entries_of_family(family) if family else None
    found = [
        each for each in iter_models() if (entries is None or each.family in entries) and _supports_task(each, task)
    ]
    return found if family or task else [*found, *iter_upscalers()]


def _entries_of_family(family: str) -> set[str]:
    """Return the names of the entries of the table of pipelines that belong to a family: an entry or an architecture.

    Raises:
        UsageError: the family is unknown.
    """
    table = pipeline_entries()
    found = {name for name, entry in table.items() if family in (name, entry.architecture)}
    if not found:
        known = sorted({"upscaler", *(info.architecture or "" for info in registry.listed_models().values())} - {""})
        raise UsageError(f"Cannot find the family {family!r}.", f"The catalog has: {', '.join(known)}.")
    return found


def _supports_task(model: ModelDetails, task: str | None) -> bool:
    if task is None:
        return True
    entry = pipeline_entries().get(model.family or "")
    is_editor = task in ("inpaint", "outpaint")
    return entry is not None and task in entry.tasks and (is_editor or not model.inpainting)


def iter_models() -> Iterator[ModelDetails]:
    """Yield the details of every model with an alias, of cached models, and of the files in the model folders."""
    named: set[str] = set()
    for model_info in registry.listed_models().values():
        named.add(model_info.source)
        yield model_details(model_info.name, model_info)
    for repo in cache.cached_repositories():
        if repo not in named and cache.is_diffusers_model(repo):
            yield model_details(repo, registry.ModelInfo(name=repo, source=repo, builtin=False))
    for file in model_folders.iter_files("model"):
        if str(file.path) not in named and not file.is_pickle:
            info = registry.ModelInfo(name=file.stem, source=str(file.path), builtin=False)
            yield replace(model_details(str(file.path), info), name=file.stem)
    for stored in web.stored_files():
        if stored.kind != "model":
            yield stored_details(stored)


def stored_details(stored: web.StoredFile) -> ModelDetails:
    """Return the details of a downloaded LoRA, VAE, embedding or ControlNet."""
    info = registry.ModelInfo(
        name=stored.name,
        source=stored.source or str(stored.path),
        license=str(stored.details.get("license") or "unknown"),
        description=str(stored.details.get("description") or ""),
        builtin=False,
    )
    return replace(
        model_details(str(stored.path), info),
        name=stored.name,
        architecture=stored.kind,
        on_disk=stored.path.stat().st_size,
        complete=True,
    )


def model_details(name: str, model_info: registry.ModelInfo) -> ModelDetails:
    """Return the details of a model from the catalog, and from its files if they are available locally."""
    model: registry.ResolvedModel | None = None
    try:
        model = registry.find_local_model(name)
    except ArtgenError:
        model = None
    width, height = model.native_size if model else (model_info.width, model_info.height)
    license_name = (model_license(model) if model else "") or model_info.license
    return ModelDetails(
        name=name,
        source=model_info.source,
        revision=model.revision if model else model_info.revision,
        architecture=model.architecture if model else model_info.architecture,
        width=width,
        height=height,
        license=license_name,
        license_terms=license_terms(license_name).summary(gated=model_info.gated),
        gated=model_info.gated,
        family=model_info.family,
        aliases=tuple(model_info.aliases),
        year=model_info.year,
        download_size=model_info.download_size,
        gpu_memory=registry.catalog_peak_bytes(model_info),
        steps=model.steps if model else model_info.steps,
        guidance_scale=model.guidance_scale if model else model_info.guidance_scale,
        inpainting=model.is_inpainting if model else model_info.inpainting,
        on_disk=_size_on_disk(model_info, model),
        complete=model is not None,
        builtin=model_info.builtin,
        description=(model.description if model else "") or model_info.description,
    )


def _size_on_disk(model_info: registry.ModelInfo, model: registry.ResolvedModel | None) -> int:
    if model and not model.revision:
        files = [model.path] if model.is_file else [path for path in model.path.rglob("*") if path.is_file()]
        return sum(path.stat().st_size for path in files)
    return cache.size_on_disk(model_info.source) if "/" in model_info.source else 0


def find_machine(memory: str | int | None, device: str, option: str = "--memory") -> "Machine":
    """Return the machine for which models are recommended.

    Args:
        memory: memory of another machine, such as `24GiB`, or a number of bytes. None: this machine.
        device: auto, cuda, mps or cpu. With `memory`, auto is cuda.
        option: name of `memory` in messages.

    Raises:
        UsageError: a value is not valid, or the memory of this machine is unknown.
    """
    from artgen.jobs import recommend
    from artgen.jobs.time_estimate import num_cores

    check_choice("device", device, DEVICES)
    if memory is not None:
        num_bytes = parse_bytes(str(memory), option)
        kind = "cuda" if device == "auto" else device
        return recommend.Machine(kind, num_bytes, num_bytes if kind == "cpu" else None, None, num_cores())
    if found := recommend.this_machine(device):
        return found
    raise UsageError(f"Cannot determine the memory for the device '{device}'.", f"Give it with {option}, such as 8GiB.")
