"""Convert ControlNets and IP-Adapters in the metadata of other tools to values of `control` and `image_prompt`.

The metadata of other tools contains no hash of the image, and A1111 does not record its name. The image is therefore
not opened: the note of `replay` contains the value for `--set`.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.metadata import Feature
from artgen.spec.control import format_number

FEATURES: Mapping[str, str] = {"ControlNet": "control", "IP-Adapter": "image_prompt", "T2I-Adapter": "control"}
"""Setting of each feature."""

_KEYS = re.compile(
    r"(?:^|, |: )(?:controlnet[ -]?\d* )?(module|preprocessor|model|weight|guidance start|guidance end): ([^,;]*)",
    re.IGNORECASE,
)
_COMFY_NUMBERS = re.compile(r"\b(strength|weight|start_percent|end_percent) ([0-9.]+)")
_UNIT = re.compile(r"controlnet[ -]?(\d+)", re.IGNORECASE)
_KINDS = (
    ("canny", "canny"), ("depth", "depth"), ("openpose", "pose"), ("pose", "pose"), ("lineart", "lineart"),
    ("scribble", "scribble"), ("seg", "seg"), ("tile", "tile"), ("brightness", "gray"),
)  # fmt: skip
_IP_ADAPTER = re.compile(r"ip.?adapter", re.IGNORECASE)


class Unit(NamedTuple):
    """Represent a ControlNet or an IP-Adapter of another tool.

    Attributes:
        setting: control or image_prompt.
        kind: kind of the control image; empty if artgen has none.
        name: name of the net in the other tool.
        scale, start, end: as in `ControlSpec`.
        image: file name of the image; empty if it is not recorded.
        is_map: whether the image is already a control map.
    """

    setting: str
    kind: str
    name: str
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    image: str = ""
    is_map: bool = False

    def set_text(self, image: str) -> str:
        """Return the argument of `--set`."""
        scale = format_number(self.scale)
        if self.setting == "image_prompt":
            return f"image_prompt={image}:{scale}"
        numbers = (("scale", self.scale, 1.0), ("from", self.start, 0.0), ("until", self.end, 1.0))
        keys = [f"{key}={format_number(value)}" for key, value, default in numbers if value != default]
        if self.kind and not self.is_map:
            return ",".join([f"control={self.kind}={image}", *keys])
        return ",".join([f"control=raw={image}", *keys, f"model={self.kind or 'NET'}"])


def read_units(feature: Feature) -> list[Unit]:
    """Return the ControlNets and IP-Adapters in the value of a feature."""
    setting, value = FEATURES[feature.name], feature.value
    if not _KEYS.search(value):
        return [_comfy_unit(setting, text) for text in value.split("; ")]
    numbers = list(dict.fromkeys(match[1] for match in _UNIT.finditer(value)))
    starts = [value.index(match[0]) for match in (_first(value, number) for number in numbers) if match]
    parts = [value[i:j] for i, j in zip(starts, [*starts[1:], len(value)], strict=False)] or [value]
    return [_a1111_unit(setting, part) for part in parts]


def _first(value: str, number: str) -> re.Match[str] | None:
    return re.search(rf"controlnet[ -]?{number}\b", value, re.IGNORECASE)


def _a1111_unit(setting: str, text: str) -> Unit:
    values = {match[1].lower(): match[2].strip() for match in _KEYS.finditer(text)}
    module = values.get("module") or values.get("preprocessor") or ""
    model = values.get("model", "")
    if _IP_ADAPTER.search(f"{module} {model}"):
        setting = "image_prompt"
    kind, is_map = _kind(model) or _kind(module), module.lower() == "none"
    start, end = _number(values.get("guidance start"), 0.0), _number(values.get("guidance end"), 1.0)
    return Unit(setting, kind, model or module, _number(values.get("weight"), 1.0), start, end, is_map=is_map)


def _comfy_unit(setting: str, text: str) -> Unit:
    numbers = {match[1]: float(match[2]) for match in _COMFY_NUMBERS.finditer(text) if match[2].count(".") < 2}
    image = re.search(r"(?:^|, )image ([^;]*)$", text)
    name = text.split(", ")[0] if not _COMFY_NUMBERS.match(text) and not text.startswith("image ") else ""
    scale = numbers.get("strength", numbers.get("weight", 1.0))
    start, end = numbers.get("start_percent", 0.0), numbers.get("end_percent", 1.0)
    file = PureWindowsPath(image[1].strip()).name if image else ""
    is_map = bool(file) and "preprocessor " not in text
    return Unit(setting, _kind(name), name, scale, start, end, file, is_map)


def _kind(name: str) -> str:
    lowered = name.lower()
    return next((kind for text, kind in _KINDS if text in lowered), "")


def _number(text: str | None, default: float) -> float:
    try:
        value = float(text or "")
    except ValueError:
        return default
    return value if 0 <= value <= 10 else default


def unit_notes(path: Path, feature: Feature, changes: Mapping[str, object]) -> list[str]:
    """Return a note for each ControlNet and IP-Adapter that `changes` does not replace.

    Args:
        path: image; its folder and the current folder are searched for the image that the metadata names.
        feature: feature of the other tool.
        changes: settings that `--set` replaces.
    """
    notes = []
    for unit in read_units(feature):
        if unit.setting in changes:
            continue
        title = "IP-Adapter" if unit.setting == "image_prompt" else "ControlNet"
        files = [folder / unit.image for folder in (path.parent, Path()) if unit.image]
        found = next((str(file) for file in files if os.path.isfile(file)), "")  # noqa: PTH113 - does not raise
        reason = "the metadata does not contain its image" + (f" {unit.image[:80]!r}" if unit.image else "")
        unknown = "" if unit.kind or unit.setting == "image_prompt" else " NET is a net that reads this kind of map."
        name = f" ({unit.name[:80]})" if unit.name else ""
        notes.append(
            f"Not used: {title}{name}: {reason}. To use it, add --set {unit.set_text(found or 'PATH')!r}.{unknown}"
        )
    return notes
