"""Define the features of other tools that are not fields of a record, and what `replay` does about them."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from artgen.metadata.external_record import Feature, describe

_SUPPORTED: Mapping[str, str] = MappingProxyType(
    {
        "ControlNet": "To use it, add --set control=KIND=PATH.",
        "IP-Adapter": "To use it, add --set image_prompt=PATH:SCALE.",
        "ControlNet stack": "To use it, add --set control=KIND=PATH.",
        "style model": "To use it, add --set image_prompt=PATH:SCALE.",
        "VAE": "To use another VAE, add --set vae=PATH.",
        "refiner": "To use a refiner, add --set refiner=MODEL.",
        "hires fix": "To use it, add --set hires=SCALE:STRENGTH.",
        "hires upscaler": "Lanczos is used. To use a network, add --set hires_model=PATH.",
        "seamless tiling": "To use it, add --set seamless=both.",
        "input image": "To use the input image, add --set image=PATH.",
        "perturbed-attention guidance": "To use it, add --set pag_scale=SCALE.",
        "adaptive projected guidance": "To use it, add --set guide=apg.",
        "CFG-Zero*": "To use it, add --set guide=zero-star.",
        "mask": "To repaint a masked area, add --set image=PATH --set mask=PATH.",
    }
)
"""Features with an equivalent in artgen, and how it is used."""

_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "noise source": "artgen generates the noise on the CPU, so the image will differ.",
        "variation seed": "The tool mixes noise in another way than artgen, so the image will differ.",
        "seed resize": "artgen does not generate the noise at another size, so the image will differ.",
        "sampler options": "artgen uses the default options of the scheduler, so the image will differ.",
        "hires interpolation": "artgen interpolates the latents bilinearly, so the image will differ.",
        "hires options": "The second pass has the settings of the first pass.",
        "hypernetwork": "Hypernetworks are not supported.",
        "several passes": "The settings of the first pass are used.",
        "denoise below 1": "artgen removes all noise of empty latents.",
        "text of another encoder": "artgen uses one prompt for all text encoders.",
        "other generator": "A node without a sampler, such as a node of a service, generated the image.",
        "other nodes": "artgen does not know these nodes of the graph.",
        "LoRA without a tag": "Its scale is unknown. To use it, add --set lora=PATH:SCALE.",
        "embedding that no prompt names": "It has no effect.",
        "LoRA tag": "Its scale is not a number from -10 to 10.",
        "unCLIP image": "artgen has no unCLIP. With Stable Diffusion 1, XL or Flux, add --set image_prompt=PATH:SCALE.",
        "LoRA options": "The LoRA is used with its scales only.",
        "emphasis": "artgen uses the normalization of --prompt-weights.",
    }
)
"""Reasons for features without an equivalent, if they are not obvious."""

_OFF = (None, "", False, 0, "0", "false", "none", "off", "disable", "disabled", "[]", "{}")


def make_feature(name: str, value: object = "") -> Feature:
    """Return a feature with the reason for the note of `replay`.

    Args:
        name: name for users, such as "ControlNet".
        value: value or details.
    """
    return Feature(name, describe(value), name in _SUPPORTED, _SUPPORTED.get(name) or _REASONS.get(name, ""))


def is_enabled(value: object) -> bool:
    """Return whether a value enables a feature: it is not empty, zero, false or "none"."""
    if isinstance(value, str):
        text = value.strip().lower()
        return text not in _OFF and not text.startswith(("default", "automatic"))
    return bool(value)


def find_features(values: Mapping[str, object], prefixes: Mapping[str, str]) -> tuple[tuple[Feature, ...], set[str]]:
    """Find features by the names of values.

    Args:
        values: metadata.
        prefixes: beginning of a name, in lower case -> name of the feature. The longest beginning is used.

    Returns:
        One feature for each name of a feature with an enabled value, with all of its values, and the names of all
        values that belong to a feature.
    """
    ordered = sorted(prefixes, key=len, reverse=True)
    details: dict[str, list[str]] = {}
    found = set()
    for name, value in values.items():
        prefix = next((prefix for prefix in ordered if name.lower().startswith(prefix)), None)
        if prefix is None:
            continue
        found.add(name)
        if is_enabled(value):
            details.setdefault(prefixes[prefix], []).append(f"{name}: {describe(value)}")
    return tuple(make_feature(name, ", ".join(texts)) for name, texts in details.items()), found


def merge_features(features: Iterable[Feature]) -> tuple[Feature, ...]:
    """Return the features without duplicates of a name; the first one is kept."""
    merged: dict[str, Feature] = {}
    for feature in features:
        merged.setdefault(feature.name, feature)
    return tuple(merged.values())
