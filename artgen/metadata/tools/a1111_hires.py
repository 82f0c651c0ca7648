"""Read the fields of hires fix in A1111 text.

A1111 runs the number of hires steps (`modules/sd_samplers_common.py`, `setup_img2img_steps`), and artgen the fraction
of its steps that the strength selects, as in img2img.
"""

import math
import re
from collections.abc import Mapping

from artgen.metadata.external_record import MAX_VALUE_CHARS, Feature, coerce
from artgen.metadata.features import make_feature

DEFAULT_STRENGTH = 0.7
"""Denoising strength of A1111's hires fix."""

MAX_STEPS = 1000
_USED_FIELDS = ("hires upscale", "hires resize", "hires steps", "hires upscaler")
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})")


def read_hires(values: dict[str, object], lowered: Mapping[str, str]) -> tuple[Feature, ...] | None:
    """Set the settings of hires fix. Return the features without an equivalent; None if the scale is unknown.

    Args:
        values: values of the record; the strength is moved to `hires`.
        lowered: fields of the text, with names in lower case.
    """
    scale = _scale(values, lowered)
    if scale is None or scale <= 1:
        return None
    strength = coerce(values.pop("strength", None), float)
    amount = DEFAULT_STRENGTH if strength is None else float(strength)
    values["hires"] = f"{scale:g}:{amount:g}"
    steps = coerce(lowered.get("hires steps"), int) or coerce(values.get("steps"), int)
    if steps and 0 < amount <= 1:
        values["hires_steps"] = min(MAX_STEPS, math.ceil(int(steps) / amount - 1e-9))
    others = [f"{name}: {text}" for name, text in lowered.items() if _is_unused(name)]
    features = [make_feature("hires options", ", ".join(others))] if others else []
    upscaler = lowered.get("hires upscaler", "Latent")
    values["hires_in"] = "latent" if upscaler.lower().startswith("latent") else "pixel"
    if upscaler.lower() not in ("latent", "lanczos"):
        name = "hires interpolation" if values["hires_in"] == "latent" else "hires upscaler"
        features.append(make_feature(name, upscaler[:MAX_VALUE_CHARS]))
    return tuple(features)


def _is_unused(name: str) -> bool:
    return name.startswith("hires ") and not name.startswith(_USED_FIELDS)


def _scale(values: Mapping[str, object], lowered: Mapping[str, str]) -> float | None:
    """Return the factor of both sides; None if it is missing, or if the sides have different factors."""
    if "hires resize" not in lowered:
        scale = coerce(lowered.get("hires upscale"), float)
        return None if scale is None else float(scale)
    match = _SIZE.fullmatch(lowered["hires resize"].strip())
    sides = [coerce(values.get(name), int) for name in ("width", "height")]
    if match is None or not all(sides):
        return None
    scales = [int(large) / int(small or 1) for large, small in zip(match.groups(), sides, strict=True) if int(large)]
    return scales[0] if scales and max(scales) - min(scales) < 0.02 else None
