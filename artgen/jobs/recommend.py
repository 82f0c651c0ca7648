"""Recommend models of the catalog that fit a machine, best first. Torch-free; no network."""

import importlib.util
import math
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import ArtgenError
from artgen.jobs.time_estimate import cpu_seconds, num_cores
from artgen.registry.catalog import ModelInfo, builtin_models
from artgen.registry.default_selection import is_downloaded
from artgen.registry.hub import cache
from artgen.registry.memory import DTYPE_BYTES, estimate_catalog_memory
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.pipelines import pipeline_entries
from artgen.registry.references import ModelReference
from artgen.spec import memory_budget
from artgen.system import hardware
from artgen.system.files import nearest_existing

CUDA_RESERVED_FRACTION = 0.05
"""Fraction of the memory of a GPU that the driver and other programs use."""

YEAR_WEIGHT = 0.75
"""Increase of the rank per year: three years are equal to 2.25 doublings of the parameters."""
OFFLOAD_PENALTIES = {"none": 0.0, "text": 0.25, "model": 0.5, "group": 6.0, "sequential": 8.0}
"""Cost of offloading, in doublings of the parameters."""
QUICK_SECONDS = 120.0
"""Computation time of an image on the CPU above which the rank is lower; each doubling costs 1."""
TILING_PENALTY = 0.25
"""Cost of tiled VAE decoding, which changes colors slightly."""
CALLS_PENALTY = 0.02
"""Cost of a doubling of the denoiser calls: of two equal models, the distilled one comes first."""


@dataclass(frozen=True)
class Machine:
    """Describe the device and the memory for which models are recommended.

    Attributes:
        device: cuda, mps or cpu.
        memory_bytes: memory of the GPU, or main memory on the CPU.
        ram_bytes: main memory, which holds offloaded components; None if unknown.
        disk_bytes: free bytes on the disk of the model cache; None if unknown.
        cores: number of CPU cores.
    """

    device: str
    memory_bytes: int
    ram_bytes: int | None
    disk_bytes: int | None
    cores: int


@dataclass(frozen=True)
class Recommendation:
    """Describe how a model fits a machine.

    Attributes:
        info: the model.
        dtype: precision: fp32 or bf16 on the CPU; auto on a GPU, which selects 16 bits.
        plan: offload mode, VAE tiling, and the estimated memory.
        seconds: estimated seconds of an image on the CPU; None on a GPU.
        download_bytes: bytes to download; 0 if the model is on the disk.
        command: command that generates an image.
        rank: models with a higher rank come first.
    """

    info: ModelInfo
    dtype: str
    plan: memory_budget.OffloadPlan
    seconds: float | None
    download_bytes: int
    command: str
    rank: float


def this_machine(device: str = "auto") -> Machine | None:
    """Describe this machine; None if its memory cannot be determined.

    Args:
        device: `auto`, `cuda`, `mps` or `cpu`; `auto` selects as the other commands do.
    """
    cuda = hardware.cuda_memory_bytes() if device in ("auto", "cuda") else None
    ram = hardware.available_ram() or hardware.total_ram()
    if device == "auto":
        device = "cuda" if cuda else "mps" if hardware.has_mps() else "cpu"
    memory = round(cuda * (1 - CUDA_RESERVED_FRACTION)) if cuda else ram
    if memory is None or (device == "cuda" and cuda is None):
        return None
    try:
        disk = shutil.disk_usage(nearest_existing(Path(cache.cache_folder()))).free
    except (ArtgenError, OSError):
        disk = None
    return Machine(device, memory, ram, disk, num_cores())


def recommend(machine: Machine, task: str = "txt2img") -> list[Recommendation]:
    """Return the models of the catalog that support a task and fit a machine, best first.

    Newer and larger models come first. Offloading, or a long computation on the CPU, lowers the rank.
    """
    found = [each for info in _candidates(task) if (each := _fit(info, machine, task)) is not None]
    return sorted(found, key=lambda each: (-each.rank, each.info.name))


def unusable_models(task: str = "txt2img") -> list[ModelInfo]:
    """Return the models of the catalog that support a task and need a package that is not installed."""
    models = builtin_models().values()
    return [info for info in models if supports_task(info, task) and missing_packages(info)]


def missing_packages(info: ModelInfo) -> list[str]:
    """Return the packages that a model needs and that are not installed."""
    entry = entry_of(info)
    return [name for name in entry.packages if importlib.util.find_spec(name) is None] if entry else []


def _candidates(task: str) -> Iterator[ModelInfo]:
    """Yield the models of the catalog that support a task; the bundled denoiser has no default steps and size."""
    for info in builtin_models().values():
        if info.parameters and info.steps and supports_task(info, task) and not missing_packages(info):
            yield info


def entry_of(info: ModelInfo) -> PipelineEntry | None:
    """Return the entry of a model's family in the table of pipelines; None if the family is unknown."""
    return pipeline_entries().get(info.family or "")


def supports_task(info: ModelInfo, task: str) -> bool:
    """Return whether a model supports a task; an inpainting model supports only inpaint and outpaint."""
    entry = entry_of(info)
    if entry is None or task not in entry.tasks:
        return False
    return task in ("inpaint", "outpaint") or not info.inpainting


def _fit(info: ModelInfo, machine: Machine, task: str) -> Recommendation | None:
    """Return how a model fits a machine; None if the memory or the disk is too small."""
    entry = entry_of(info)
    if entry is None:
        return None
    download = 0 if _is_on_disk(info) else info.download_size or 0
    if machine.disk_bytes is not None and download > machine.disk_bytes:
        return None
    for dtype in ("fp32", "bf16") if machine.device == "cpu" else ("auto",):
        estimate = estimate_catalog_memory(info, "fp16" if dtype == "auto" else dtype)
        if machine.device == "cpu":
            separable = entry.supports("text-offload")
            plan = memory_budget.choose_offload_on_cpu(
                estimate, machine.memory_bytes, vae_tiling=False, separable_text_encoders=separable
            )
        else:
            plan = memory_budget.choose_offload(estimate, machine.memory_bytes)
            weights = sum(info.parameters.values()) * DTYPE_BYTES["fp16"]
            if plan.offload != "none" and machine.ram_bytes is not None and weights > machine.ram_bytes:
                continue
        if plan.required_bytes <= machine.memory_bytes:
            return _recommendation(info, entry, machine, task, (dtype, plan, download))
    return None


def _is_on_disk(info: ModelInfo) -> bool:
    if info.bundled_folder is not None:
        return True
    return is_downloaded(ModelReference("hub", info.name, info.source, info.revision, info))


def _recommendation(
    info: ModelInfo,
    entry: PipelineEntry,
    machine: Machine,
    task: str,
    fit: tuple[str, memory_budget.OffloadPlan, int],
) -> Recommendation:
    dtype, plan, download = fit
    denoiser = max(info.parameters.get("unet", 0), info.parameters.get("transformer", 0), 1)
    seconds = None
    rank = math.log2(denoiser / 1e9) + YEAR_WEIGHT * ((info.year or 2022) - 2022)
    rank -= OFFLOAD_PENALTIES[plan.offload] + (TILING_PENALTY if plan.vae_tiling else 0)
    guided = entry.guidance in ("classifier-free", "true-cfg") and (info.guidance_scale or 0) > entry.guidance_off
    calls = (info.steps or entry.steps) * ((3 if entry.image_guidance_scale else 2) if guided else 1)
    rank -= CALLS_PENALTY * math.log2(calls)
    if machine.device == "cpu":
        kind, size = "pixel" if entry.pixel_space else "denoiser", (info.width or 512, info.height or 512)
        seconds = cpu_seconds(kind, denoiser, info.parameters.get("vae", 0), calls, size) / machine.cores
        rank -= max(0.0, math.log2(seconds / QUICK_SECONDS))
    return Recommendation(info, dtype, plan, seconds, download, _command(info, machine, task, dtype, plan), rank)


TASK_ARGUMENTS = {
    "txt2img": 'txt2img "a red fox"',
    "img2img": 'img2img photo.png "a blue fox"',
    "inpaint": 'inpaint photo.png --mask mask.png "a snowman"',
    "outpaint": "outpaint photo.png --expand 64",
    "edit": 'edit photo.png "make it winter"',
    "sample": "sample",
}
"""Example of the arguments of each task."""


def _command(info: ModelInfo, machine: Machine, task: str, dtype: str, plan: memory_budget.OffloadPlan) -> str:
    parts = [f"artgen {TASK_ARGUMENTS[task]} -m {info.name}"]
    if info.classes:
        parts.append("--class 1")
    if machine.device == "cpu" and dtype == "bf16":
        parts.append("--dtype bf16")
    if machine.device != "cpu" and plan.offload != "none":
        parts.append(f"--offload {plan.offload}")
    if plan.vae_tiling:
        parts.append("--vae-tiling")
    return " ".join(parts)
