"""Describe a recommended model: for the output of `models recommend`, and for Python callers."""

from dataclasses import dataclass

from artgen.jobs.recommend import Machine, Recommendation
from artgen.spec import memory_budget
from artgen.system.counts import counted, format_duration


def reason(recommendation: Recommendation, machine: Machine) -> str:
    """Return why a model fits a machine, as a sentence or two."""
    info, plan = recommendation.info, recommendation.plan
    place = "main memory" if machine.device == "cpu" else "GPU memory"
    required = memory_budget.format_gib(plan.required_bytes)
    available = memory_budget.format_gib(machine.memory_bytes)
    dtype = "16 bits" if recommendation.dtype == "auto" else recommendation.dtype
    parts = [f"Needs about {required} of {available} {place} in {dtype}"]
    if plan.offload != "none":
        parts.append(f"with --offload {plan.offload}" if machine.device != "cpu" else "with the text encoders freed")
    text = f"{' '.join(parts)}; {counted(info.steps or 0, 'step')} at {info.width}x{info.height}"
    if recommendation.seconds is not None:
        text += f", about {format_duration(recommendation.seconds)} per image"
    download_bytes = recommendation.download_bytes
    text += f". Download: about {download_bytes / 1e9:.1f} GB" if download_bytes else ". On the disk"
    return f"{text}. License: {info.license}{', gated' if info.gated else ''}."


@dataclass(frozen=True, kw_only=True)
class ModelRecommendation:
    """Describe a recommended model.

    Attributes:
        name: name for `model`.
        source: hub id.
        family: family of pipelines.
        device: device of the machine: cuda, mps or cpu.
        dtype: precision: fp32 or bf16 on the CPU; auto on a GPU, which selects 16 bits.
        offload: CPU offloading that the model needs: none, text, model, group or sequential.
        vae_tiling: whether the model needs tiled VAE decoding.
        required_bytes: estimated memory.
        available_bytes: memory of the machine.
        download_bytes: bytes to download; 0 if the model is on the disk.
        seconds: estimated seconds of an image on the CPU; None on a GPU.
        width, height: size of the images in pixels that the model was trained on.
        steps: default number of steps.
        license: license.
        gated: whether the hub requires an account and the acceptance of the license.
        description: one line about the model.
        reason: why the model fits the machine.
        command: command that generates an image.
    """

    name: str
    source: str
    family: str | None
    device: str
    dtype: str
    offload: str
    vae_tiling: bool
    required_bytes: int
    available_bytes: int
    download_bytes: int
    seconds: int | None
    width: int | None
    height: int | None
    steps: int | None
    license: str
    gated: bool
    description: str
    reason: str
    command: str


def describe(recommendation: Recommendation, machine: Machine) -> ModelRecommendation:
    """Return the description of a recommendation, for Python callers and as the fields of a JSON object."""
    info, plan = recommendation.info, recommendation.plan
    return ModelRecommendation(
        name=info.name,
        source=info.source,
        family=info.family,
        device=machine.device,
        dtype=recommendation.dtype,
        offload=plan.offload,
        vae_tiling=plan.vae_tiling,
        required_bytes=plan.required_bytes,
        available_bytes=machine.memory_bytes,
        download_bytes=recommendation.download_bytes,
        seconds=None if recommendation.seconds is None else round(recommendation.seconds),
        width=info.width,
        height=info.height,
        steps=info.steps,
        license=info.license,
        gated=info.gated,
        description=info.description,
        reason=reason(recommendation, machine),
        command=recommendation.command,
    )
