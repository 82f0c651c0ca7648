"""What `--fast` may do: approximations, by name. Each makes a picture sooner, and another one than the exact one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from artgen.errors import UsageError

CACHE_INTERVAL_STEPS = 3
"""Of so many steps, one computes the deep features and the others take them from it."""
GUIDANCE_INTERVAL = 3
"""After the first steps, one of so many computes how far the prompt guides, and the others take that from it."""
GUIDANCE_EXACT = 0.2
"""The share of the steps, the first ones, that guide exactly: they lay the picture out."""
NO_APPROXIMATIONS = "none"
"""What asks for the exact picture where a configuration file asks for another."""
TINY_DECODER_REPOS = {
    "sd1": "madebyollin/taesd",
    "sd2": "madebyollin/taesd",
    "sdxl": "madebyollin/taesdxl",
    "sd3": "madebyollin/taesd3",
}
"""TAESD, tiny autoencoders distilled from those of Stable Diffusion (https://github.com/madebyollin/taesd, MIT)."""
LCM_LORA_REPOS = {
    "sd1": "latent-consistency/lcm-lora-sdv1-5",
    "sdxl": "latent-consistency/lcm-lora-sdxl",
}
"""LoRAs that make latent consistency models of others (Luo et al. 2023, arXiv 2311.05556)."""
LCM_LORA_FILENAME = "pytorch_lora_weights.safetensors"
MIN_STEPS = 6
"""Below this, one step differs too much from the next for anything to be taken over."""


@dataclass(frozen=True)
class Approximation:
    """One preset of `--fast`.

    Attributes:
        name: as typed and recorded.
        summary: what it does, for `--help`, without a full stop.
        architectures: those it works with.
        min_steps: how many steps it needs to run.
        filenames: what it needs of the hub.
        repositories: where that is, by architecture.
        default_settings: what it draws with unless told otherwise.
    """

    name: str
    summary: str
    architectures: tuple[str, ...]
    min_steps: int = 1
    filenames: tuple[str, ...] = ()
    repositories: Mapping[str, str] = field(default_factory=dict)
    default_settings: Mapping[str, Any] = field(default_factory=dict)


APPROXIMATIONS: Mapping[str, Approximation] = {
    entry.name: entry
    for entry in (
        Approximation("cache", "reuses deep features", ("sd1", "sd2", "sdxl"), MIN_STEPS),
        Approximation("guidance", "reuses what guidance adds", ("sd1", "sd2", "sdxl", "sd3"), MIN_STEPS),
        Approximation(
            "tiny-decoder",
            "a small decoder, downloaded",
            tuple(TINY_DECODER_REPOS),
            filenames=("config.json", "diffusion_pytorch_model.safetensors"),
            repositories=TINY_DECODER_REPOS,
        ),
        Approximation(
            "lcm",
            "4 steps by a LoRA, downloaded",
            tuple(LCM_LORA_REPOS),
            filenames=(LCM_LORA_FILENAME,),
            repositories=LCM_LORA_REPOS,
            default_settings={"steps": 4, "guidance_scale": 1.0, "scheduler": "lcm"},
        ),
    )
}
"""All presets, in the order in which they are recorded.

Tuples of architectures are those whose denoiser has the parts: `cache` needs the down and up path of a UNet.
"""


def normalize(text: str) -> str | None:
    """`guidance, Cache` or `guidance+cache` in the one form that is recorded: `cache,guidance`; None for `none`.

    Raises:
        UsageError: a name that is no preset's, or none at all.
    """
    words = {word.strip().casefold() for word in text.replace("+", ",").split(",")}
    if words == {NO_APPROXIMATIONS}:
        return None
    for word in sorted(words - APPROXIMATIONS.keys()):
        import difflib

        close = difflib.get_close_matches(word, APPROXIMATIONS, n=1)
        raise UsageError(
            f"fast must name some of {', '.join(APPROXIMATIONS)}, not {word!r}.",
            f"Did you mean {close[0]}?" if close else "Several go with commas: --fast cache,guidance.",
        )
    return ",".join(name for name in APPROXIMATIONS if name in words)


def parse_presets(fast: str | None) -> tuple[Approximation, ...]:
    """The presets of a request's `fast`, in its canonical form; none for None."""
    return tuple(APPROXIMATIONS[name] for name in fast.split(",")) if fast else ()
