"""How much GPU memory a picture needs, and the cheapest way of keeping parts of the model elsewhere that fits.

Only arithmetic: neither torch nor a GPU is needed to choose. What is alive at once while a denoiser or a decoder works
was counted by running both at their real sizes on tensors without contents; the counts grow with the number of
latents or pixels and stand in the constants below. Workspaces of kernels, fragments and what a count cannot see are in
`ALLOWANCE`.
"""

import re
from dataclasses import dataclass

from artgen.errors import UsageError

OFFLOAD_MODES = ("none", "text", "model", "group", "sequential")
"""What may lie in main memory, cheapest first: nothing; the text encoders, once they have read the prompt; all parts
but the one at work; all but the layers at work and those that come next; all but the layer at work."""

UNET_ACTIVATION_FACTOR = 26
"""Live values for each latent of a UNet, for each of its first level's channels: 26.2 in Stable Diffusion 1.5 at 512
to 1024 pixels, 15.8 in SDXL."""

TRANSFORMER_ACTIVATION_FACTOR = 14
"""Live values for each token of a transformer, for each of its hidden ones: 13.5 in Stable Diffusion 3.5."""

DECODER_ACTIVATION_FACTOR = 6.0
"""Live values for each pixel of a decoder, for each of its first level's channels: 6.0 in Stable Diffusion's."""

SAFETY_FACTOR = 1.25
"""What is really taken over what is counted: oneDNN takes 1.25 times it to decode."""

WORKSPACE_BYTES = 256 << 20
"""Bytes that kernels and their libraries take in any case."""

RUNTIME_BYTES = 384 << 20
"""Bytes of main memory that Python, torch and the libraries take."""

STREAMED_FRACTION = 0.1
"""The part of the largest component that lies on the GPU when its layers come and go."""

BYTE_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True)
class MemoryEstimate:
    """What a model and a picture take, in bytes.

    Attributes:
        text_encoder_bytes: the weights of each text encoder.
        denoiser_bytes: the weights of the denoiser.
        vae_bytes: the weights of the autoencoder, at the precision in which it decodes.
        other_bytes: the weights of everything else.
        denoise_activation_bytes: what the denoiser computes with at once.
        decode_activation_bytes: what the decoder computes with at once.
        tiled_decode_bytes: the same in tiles.
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
    """How a picture is drawn within a budget.

    Attributes:
        offload: one of `MODES`.
        vae_tiling: whether the decoder works in tiles.
        required_bytes: bytes of memory, estimated.
        budget_bytes: bytes there are.
    """

    offload: str
    vae_tiling: bool
    required_bytes: int
    budget_bytes: int

    @property
    def mode(self) -> tuple[str, bool]:
        """Where the model lies, and whether tiles are decoded, without the bytes."""
        return self.offload, self.vae_tiling

    def __str__(self) -> str:
        tiles = ", decoding in tiles" if self.vae_tiling else ""
        verdict = "of" if self.required_bytes <= self.budget_bytes else "which is more than the"
        return f"offload {self.offload}{tiles}: about {format_gib(self.required_bytes)} {verdict} {format_gib(self.budget_bytes)} there are"


def estimate_peak_bytes(estimate: MemoryEstimate, offload: str, vae_tiling: bool) -> int:
    """Bytes of GPU memory at the worst moment, estimated.

    Args:
        estimate: of the model and the picture.
        offload: one of `MODES`.
        vae_tiling: whether the decoder works in tiles.
    """
    drawing = SAFETY_FACTOR * estimate.denoise_activation_bytes
    decoding = SAFETY_FACTOR * (estimate.tiled_decode_bytes if vae_tiling else estimate.decode_activation_bytes)
    rest = estimate.denoiser_bytes + estimate.vae_bytes + estimate.other_bytes
    largest = max((*estimate.text_encoder_bytes, 0))
    worst = {
        "none": sum(estimate.text_encoder_bytes) + rest + max(drawing, decoding),
        "text": rest + max(STREAMED_FRACTION * largest, drawing, decoding),
        "model": max(largest, estimate.denoiser_bytes + drawing, estimate.vae_bytes + decoding, estimate.other_bytes),
    }
    streamed = STREAMED_FRACTION * max(largest, estimate.denoiser_bytes) + estimate.vae_bytes + max(drawing, decoding)
    return round(worst.get(offload, streamed)) + WORKSPACE_BYTES


def choose_offload(
    estimate: MemoryEstimate, budget_bytes: int, *, vae_tiling: bool = False, excluded_mode: str | None = None
) -> OffloadPlan:
    """The cheapest way that fits the budget; decoding in tiles, which changes pixels, comes after all that do not.

    Where nothing fits: what takes the least.

    Args:
        estimate: of the model and the picture.
        budget_bytes: bytes of GPU memory.
        vae_tiling: whether the decoder works in tiles in any case.
        excluded_mode: a mode that is not to be had.
    """
    modes = [mode for mode in OFFLOAD_MODES if mode != excluded_mode]
    ways = [
        OffloadPlan(mode, tiles, estimate_peak_bytes(estimate, mode, tiles), budget_bytes)
        for tiles in (vae_tiling, True)
        for mode in modes
    ]
    return next((way for way in ways if way.required_bytes <= budget_bytes), ways[-1])


def choose_offload_on_cpu(
    estimate: MemoryEstimate, budget_bytes: int, *, vae_tiling: bool, separable_text_encoders: bool
) -> OffloadPlan:
    """`none`, or where main memory does not hold all of a model `text`: its text encoders first, then the rest.

    Args:
        estimate: of the model and the picture.
        budget_bytes: bytes of main memory.
        vae_tiling: whether the decoder works in tiles.
        separable_text_encoders: whether the model's text encoders can be had by themselves.
    """
    working = round(
        SAFETY_FACTOR
        * max(
            estimate.denoise_activation_bytes,
            estimate.tiled_decode_bytes if vae_tiling else estimate.decode_activation_bytes,
        )
    )
    drawing = estimate.denoiser_bytes + estimate.vae_bytes + estimate.other_bytes + working
    more = WORKSPACE_BYTES + RUNTIME_BYTES
    whole = OffloadPlan("none", vae_tiling, sum(estimate.text_encoder_bytes) + drawing + more, budget_bytes)
    parted = OffloadPlan("text", vae_tiling, max(sum(estimate.text_encoder_bytes), drawing) + more, budget_bytes)
    return parted if separable_text_encoders and whole.required_bytes > budget_bytes else whole


def parse_bytes(text: str) -> int:
    """Bytes from `8GiB`, `8GB`, `6.5 GiB` or `8000MiB`; `8G` is 8 GiB.

    Raises:
        UsageError: no such amount, or less than 256 MiB.
    """
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)\s*([kmg]i?)?(b?)", text.strip().lower())
    if found is None:
        raise UsageError(f"memory_budget must be an amount like 8GiB or 6500MB, not {text!r}.")
    number, unit, letter = found.groups(default="")
    unit = f"{unit}i" if unit and not letter and not unit.endswith("i") else unit
    amount = round(float(number) * BYTE_UNITS[unit])
    if amount < WORKSPACE_BYTES:
        raise UsageError(f"memory_budget must be at least {WORKSPACE_BYTES >> 20} MiB, not {text!r}.", "Say 8GiB.")
    return amount


def format_gib(num_bytes: int) -> str:
    """`6.5 GiB`."""
    return f"{num_bytes / 2**30:.1f} GiB"
