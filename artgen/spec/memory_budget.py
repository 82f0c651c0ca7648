"""Estimate the GPU memory of a job and choose the fastest offload mode that fits.

This module needs neither torch nor a GPU. Activation sizes were measured by running the UNet and the VAE on meta
tensors at full size. They grow linearly with the number of latents or pixels; the constants below are the factors.
`SAFETY_FACTOR` and `WORKSPACE_BYTES` cover kernel workspaces, fragmentation and other memory that was not measured.
"""

import re
from dataclasses import dataclass

from artgen.errors import UsageError
from artgen.spec.fields import describe_value

OFFLOAD_MODES = ("none", "text", "model", "group", "sequential")
"""Offload modes, fastest first. CPU memory contains: nothing; the text encoders; all components except the active one;
all layers except the active ones and the prefetched ones; all layers except the active one."""

UNET_ACTIVATION_FACTOR = 26
"""Live activation values per latent pixel and channel of a UNet's first level. Measured: 26.2 for Stable Diffusion 1.5
at 512 to 1024 pixels, 15.8 for SDXL."""

TRANSFORMER_ACTIVATION_FACTOR = 14
"""Live activation values per token and hidden channel of a transformer. Measured: 13.5 for Stable Diffusion 3.5."""

DECODER_ACTIVATION_FACTOR = 6.0
"""Live activation values per pixel and channel of a decoder's first level. Measured: 6.0 for Stable Diffusion."""

SAFETY_FACTOR = 1.25
"""Safety factor: measured peak / estimate (1.25 for oneDNN decoding)."""

WORKSPACE_BYTES = 256 << 20
"""Bytes for the workspaces of kernels and their libraries."""

RUNTIME_BYTES = 384 << 20
"""Bytes of CPU memory for Python, torch and the libraries."""

STREAMED_FRACTION = 0.1
"""Fraction of the largest component that is on the GPU when its layers are offloaded."""

MAX_BUDGET_BYTES = 1 << 50

BYTE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True)
class MemoryEstimate:
    """Store the estimated memory of a model and a batch.

    Attributes:
        text_encoder_bytes: weights of each text encoder.
        denoiser_bytes: weights of the denoiser.
        vae_bytes: weights of the VAE in the dtype in which it decodes.
        other_bytes: weights of all other components.
        denoise_activation_bytes: peak activations of the denoiser.
        decode_activation_bytes: peak activations of the decoder.
        tiled_decode_bytes: peak activations of the decoder with tiling.
    """

    text_encoder_bytes: tuple[int, ...]
    denoiser_bytes: int
    vae_bytes: int
    other_bytes: int
    denoise_activation_bytes: int
    decode_activation_bytes: int
    tiled_decode_bytes: int


@dataclass(frozen=True)
class OffloadPlan:
    """Store the offload mode for a memory budget.

    Attributes:
        offload: one of `OFFLOAD_MODES`.
        vae_tiling: whether the VAE decodes in tiles.
        required_bytes: estimated peak memory.
        budget_bytes: available memory.
    """

    offload: str
    vae_tiling: bool
    required_bytes: int
    budget_bytes: int

    @property
    def mode(self) -> tuple[str, bool]:
        """Return the offload mode and VAE tiling without the sizes."""
        return self.offload, self.vae_tiling

    def __str__(self) -> str:
        tiling = ", VAE tiling" if self.vae_tiling else ""
        required, available = format_gib(self.required_bytes), format_gib(self.budget_bytes)
        relation = "of" if self.required_bytes <= self.budget_bytes else "which is more than the"
        return f"offload {self.offload}{tiling}: about {required} {relation} {available} available"


def estimate_peak_bytes(estimate: MemoryEstimate, offload: str, vae_tiling: bool) -> int:
    """Return the estimated peak GPU memory in bytes.

    Args:
        estimate: estimate for the model and the batch.
        offload: one of `OFFLOAD_MODES`.
        vae_tiling: whether the VAE decodes in tiles.
    """
    denoising = SAFETY_FACTOR * estimate.denoise_activation_bytes
    decoding = SAFETY_FACTOR * (estimate.tiled_decode_bytes if vae_tiling else estimate.decode_activation_bytes)
    rest = estimate.denoiser_bytes + estimate.vae_bytes + estimate.other_bytes
    largest = max((*estimate.text_encoder_bytes, 0))
    peaks = {
        "none": sum(estimate.text_encoder_bytes) + rest + max(denoising, decoding),
        "text": rest + max(STREAMED_FRACTION * largest, denoising, decoding),
        "model": max(largest, estimate.denoiser_bytes + denoising, estimate.vae_bytes + decoding, estimate.other_bytes),
    }
    streamed = STREAMED_FRACTION * max(largest, estimate.denoiser_bytes) + estimate.vae_bytes + max(denoising, decoding)
    return round(peaks.get(offload, streamed)) + WORKSPACE_BYTES


def choose_offload(
    estimate: MemoryEstimate, budget_bytes: int, *, vae_tiling: bool = False, excluded_mode: str | None = None
) -> OffloadPlan:
    """Return the fastest offload mode that fits the budget, or the one with the least memory if none fits.

    VAE tiling changes the image. Modes with tiling are therefore considered after all modes without tiling.

    Args:
        estimate: estimate for the model and the batch.
        budget_bytes: GPU memory in bytes.
        vae_tiling: whether to use VAE tiling in any case.
        excluded_mode: a mode that must not be chosen.
    """
    modes = [mode for mode in OFFLOAD_MODES if mode != excluded_mode]
    plans = [
        OffloadPlan(mode, tiling, estimate_peak_bytes(estimate, mode, tiling), budget_bytes)
        for tiling in (vae_tiling, True)
        for mode in modes
    ]
    return next((plan for plan in plans if plan.required_bytes <= budget_bytes), plans[-1])


def choose_offload_on_cpu(
    estimate: MemoryEstimate, budget_bytes: int, *, vae_tiling: bool, separable_text_encoders: bool
) -> OffloadPlan:
    """Return mode `none`, or mode `text` if CPU memory is too small for the complete model.

    Mode `text` loads the text encoders first, frees them, and then loads the other components.

    Args:
        estimate: estimate for the model and the batch.
        budget_bytes: CPU memory in bytes.
        vae_tiling: whether the VAE decodes in tiles.
        separable_text_encoders: whether the model's text encoders can be loaded without the other components.
    """
    none = OffloadPlan("none", vae_tiling, peak_bytes_on_cpu(estimate, "none", vae_tiling), budget_bytes)
    text = OffloadPlan("text", vae_tiling, peak_bytes_on_cpu(estimate, "text", vae_tiling), budget_bytes)
    return text if separable_text_encoders and none.required_bytes > budget_bytes else none


def peak_bytes_on_cpu(estimate: MemoryEstimate, offload: str, vae_tiling: bool) -> int:
    """Return the estimated peak of the CPU memory of this process in bytes.

    Args:
        estimate: estimate for the model and the batch.
        offload: `none` or `text`.
        vae_tiling: whether the VAE decodes in tiles.
    """
    decoding = estimate.tiled_decode_bytes if vae_tiling else estimate.decode_activation_bytes
    activations = round(SAFETY_FACTOR * max(estimate.denoise_activation_bytes, decoding))
    text_encoders = sum(estimate.text_encoder_bytes)
    others = estimate.denoiser_bytes + estimate.vae_bytes + estimate.other_bytes + activations
    peak = max(text_encoders, others) if offload == "text" else text_encoders + others
    return peak + WORKSPACE_BYTES + RUNTIME_BYTES


def parse_bytes(text: str, name: str = "memory_budget") -> int:
    """Return the number of bytes of a size such as `8GiB`, `8GB`, `6.5 GiB` or `8000MiB`; `8G` is 8 GiB.

    Raises:
        UsageError: the text is not a size, or the size is below 256 MiB or above 1 PiB.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmg]i?)?(b?)", text.strip().lower())
    if match is None:
        raise UsageError(f"{name} must be a size such as 8GiB or 6500MB, not {describe_value(text)}.")
    number, unit, letter = match.groups(default="")
    unit = f"{unit}i" if unit and not letter and not unit.endswith("i") else unit
    num_bytes = float(number) * BYTE_UNITS[unit]
    if not WORKSPACE_BYTES <= num_bytes <= MAX_BUDGET_BYTES:
        raise UsageError(
            f"{name} must be {WORKSPACE_BYTES >> 20} MiB to {format_gib(MAX_BUDGET_BYTES)}, not "
            f"{describe_value(text)}.",
            "Use a size such as 8GiB.",
        )
    return round(num_bytes)


def format_gib(num_bytes: int) -> str:
    """Return a size in GiB as text, such as `6.5 GiB`."""
    return f"{num_bytes / 2**30:.1f} GiB"
