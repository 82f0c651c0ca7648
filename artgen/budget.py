"""How much GPU memory a picture needs, and the cheapest way of keeping parts of the model elsewhere that fits.

Only arithmetic: neither torch nor a GPU is needed to choose. What is alive at once while a denoiser or a decoder works
was counted by running both at their real sizes on tensors without contents; the counts grow with the number of
latents or pixels and stand in the constants below. Workspaces of kernels, fragments and what a count cannot see are in
`ALLOWANCE`.
"""

import re
from dataclasses import dataclass

from artgen.errors import UsageError

MODES = ("none", "text", "model", "group", "sequential")
"""What may lie in main memory, cheapest first: nothing; the text encoders, once they have read the prompt; all parts
but the one at work; all but the layers at work and those that come next; all but the layer at work."""

LIVE_UNET = 26
"""Live values for each latent of a UNet, for each of its first level's channels: 26.2 in Stable Diffusion 1.5 at 512
to 1024 pixels, 15.8 in SDXL."""

LIVE_TRANSFORMER = 14
"""Live values for each token of a transformer, for each of its hidden ones: 13.5 in Stable Diffusion 3.5."""

LIVE_DECODER = 6.0
"""Live values for each pixel of a decoder, for each of its first level's channels: 6.0 in Stable Diffusion's."""

ALLOWANCE = 1.25
"""What is really taken over what is counted: oneDNN takes 1.25 times it to decode."""

WORKSPACE = 256 << 20
"""Bytes that kernels and their libraries take in any case."""

RUNTIME = 384 << 20
"""Bytes of main memory that Python, torch and the libraries take."""

STREAMED = 0.1
"""The part of the largest component that lies on the GPU when its layers come and go."""

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


@dataclass(frozen=True)
class Demand:
    """What a model and a picture take, in bytes.

    Attributes:
        text: the weights of each text encoder.
        denoiser: the weights of the denoiser.
        vae: the weights of the autoencoder, at the precision in which it decodes.
        others: the weights of everything else.
        drawing: what the denoiser computes with at once.
        decoding: what the decoder computes with at once.
        tile: the same in tiles.
    """

    text: tuple[int, ...]
    denoiser: int
    vae: int
    others: int
    drawing: int
    decoding: int
    tile: int


@dataclass(frozen=True)
class Choice:
    """How a picture is drawn within a budget.

    Attributes:
        offload: one of `MODES`.
        vae_tiling: whether the decoder works in tiles.
        needed: bytes of memory, estimated.
        budget: bytes there are.
    """

    offload: str
    vae_tiling: bool
    needed: int
    budget: int

    @property
    def how(self) -> tuple[str, bool]:
        """Where the model lies, and whether tiles are decoded, without the bytes."""
        return self.offload, self.vae_tiling

    def __str__(self) -> str:
        tiles = ", decoding in tiles" if self.vae_tiling else ""
        verdict = "of" if self.needed <= self.budget else "which is more than the"
        return f"offload {self.offload}{tiles}: about {gib(self.needed)} {verdict} {gib(self.budget)} there are"


def needed(demand: Demand, offload: str, tiling: bool) -> int:
    """Bytes of GPU memory at the worst moment, estimated.

    Args:
        demand: of the model and the picture.
        offload: one of `MODES`.
        tiling: whether the decoder works in tiles.
    """
    drawing = ALLOWANCE * demand.drawing
    decoding = ALLOWANCE * (demand.tile if tiling else demand.decoding)
    rest = demand.denoiser + demand.vae + demand.others
    largest = max((*demand.text, 0))
    worst = {
        "none": sum(demand.text) + rest + max(drawing, decoding),
        "text": rest + max(STREAMED * largest, drawing, decoding),
        "model": max(largest, demand.denoiser + drawing, demand.vae + decoding, demand.others),
    }
    streamed = STREAMED * max(largest, demand.denoiser) + demand.vae + max(drawing, decoding)
    return round(worst.get(offload, streamed)) + WORKSPACE


def choose(demand: Demand, budget: int, *, tiling: bool = False, without: str | None = None) -> Choice:
    """The cheapest way that fits the budget; decoding in tiles, which changes pixels, comes after all that do not.

    Where nothing fits: what takes the least.

    Args:
        demand: of the model and the picture.
        budget: bytes of GPU memory.
        tiling: whether the decoder works in tiles in any case.
        without: a mode that is not to be had.
    """
    modes = [mode for mode in MODES if mode != without]
    ways = [Choice(mode, tiles, needed(demand, mode, tiles), budget) for tiles in (tiling, True) for mode in modes]
    return next((way for way in ways if way.needed <= budget), ways[-1])


def choose_on_cpu(demand: Demand, budget: int, *, tiling: bool, apart: bool) -> Choice:
    """`none`, or where main memory does not hold all of a model `text`: its text encoders first, then the rest.

    Args:
        demand: of the model and the picture.
        budget: bytes of main memory.
        tiling: whether the decoder works in tiles.
        apart: whether the model's text encoders can be had by themselves.
    """
    working = round(ALLOWANCE * max(demand.drawing, demand.tile if tiling else demand.decoding))
    drawing = demand.denoiser + demand.vae + demand.others + working
    more = WORKSPACE + RUNTIME
    whole = Choice("none", tiling, sum(demand.text) + drawing + more, budget)
    parted = Choice("text", tiling, max(sum(demand.text), drawing) + more, budget)
    return parted if apart and whole.needed > budget else whole


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
    amount = round(float(number) * UNITS[unit])
    if amount < WORKSPACE:
        raise UsageError(f"memory_budget must be at least {WORKSPACE >> 20} MiB, not {text!r}.", "Say 8GiB.")
    return amount


def gib(amount: int) -> str:
    """`6.5 GiB`."""
    return f"{amount / 2**30:.1f} GiB"
