"""Define the presets of `--fast`: approximations that are faster and change the image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from artgen.errors import UsageError

CACHE_INTERVAL_STEPS = 3
"""Steps from one computation of the deep features to the next; the steps between reuse them."""
CACHE_MIN_STEPS = 6
"""Fewest steps for `cache`. With fewer steps, consecutive steps differ too much to reuse features."""
NO_APPROXIMATIONS = "none"
"""Value that disables a preset from a configuration file."""
TINY_DECODER_REPOS = {
    "sd1": "madebyollin/taesd",
    "sd2": "madebyollin/taesd",
    "sdxl": "madebyollin/taesdxl",
    "sd3": "madebyollin/taesd3",
}
"""TAESD: tiny autoencoders distilled from Stable Diffusion's VAEs (https://github.com/madebyollin/taesd, MIT)."""
LCM_LORA_REPOS = {
    "sd1": "latent-consistency/lcm-lora-sdv1-5",
    "sdxl": "latent-consistency/lcm-lora-sdxl",
}
"""LCM-LoRAs: LoRAs that turn a model into a latent consistency model (Luo et al. 2023, arXiv 2311.05556)."""
LCM_LORA_FILENAME = "pytorch_lora_weights.safetensors"
REMOVED_PRESETS = {"guidance": "0.1.0"}
"""Presets of earlier versions, with the last version that supports each."""


@dataclass(frozen=True)
class Approximation:
    """Represent one preset of `--fast`.

    Attributes:
        name: name on the command line and in the record.
        summary: effect of the preset, for `--help`, without a full stop.
        min_steps: fewest denoising steps that the preset supports.
        filenames: files that the preset needs from the hub.
        repositories: repository of these files for each architecture.
        default_settings: settings that the preset changes if they are unset.
    """

    name: str
    summary: str
    min_steps: int = 1
    filenames: tuple[str, ...] = ()
    repositories: Mapping[str, str] = field(default_factory=dict)
    default_settings: Mapping[str, Any] = field(default_factory=dict)


APPROXIMATIONS: Mapping[str, Approximation] = {
    entry.name: entry
    for entry in (
        # `cache` needs the down and up blocks of a UNet.
        Approximation("cache", "reuses deep features", CACHE_MIN_STEPS),
        Approximation(
            "tiny-decoder",
            "a small decoder, downloaded",
            filenames=("config.json", "diffusion_pytorch_model.safetensors"),
            repositories=TINY_DECODER_REPOS,
        ),
        Approximation(
            "lcm",
            "4 steps with a LoRA, downloaded",
            filenames=(LCM_LORA_FILENAME,),
            repositories=LCM_LORA_REPOS,
            default_settings={"steps": 4, "guidance_scale": 1.0, "scheduler": "lcm"},
        ),
    )
}
"""All presets by name, in the order of a record."""


def normalize(text: str) -> str | None:
    """Return the canonical form of a list of presets; None for `none`.

    `tiny-decoder, Cache` and `tiny-decoder+cache` become `cache,tiny-decoder`.

    Raises:
        UsageError: a name is not a preset, or the list is empty.
    """
    names = {name.strip().casefold() for name in text.replace("+", ",").split(",")}
    if names == {NO_APPROXIMATIONS}:
        return None
    for name in sorted(names - APPROXIMATIONS.keys()):
        import difflib

        close = difflib.get_close_matches(name, APPROXIMATIONS, n=1)
        raise UsageError(
            f"fast must name some of {', '.join(APPROXIMATIONS)}, not {name!r}.",
            f"Did you mean {close[0]}?" if close else "Separate several with commas: --fast cache,tiny-decoder.",
        )
    return ",".join(name for name in APPROXIMATIONS if name in names)


def parse_presets(fast: str | None) -> tuple[Approximation, ...]:
    """Return the presets in the canonical form of `fast`; an empty tuple for None."""
    return tuple(APPROXIMATIONS[name] for name in fast.split(",")) if fast else ()


def removed_presets(fast: str) -> dict[str, str]:
    """Return the removed presets in a recorded `fast`, each with the last version that supports the preset."""
    names = {name.strip() for name in fast.split(",")}
    return {name: version for name, version in REMOVED_PRESETS.items() if name in names}
