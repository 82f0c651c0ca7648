"""Read the ControlNets and IP-Adapters of A1111 text, which the extension sd-webui-controlnet writes.

Forms: `ControlNet 0: "Module: canny, Model: ..."` (since 1.1.4), `ControlNet 0: "preprocessor: canny, model: ...,
starting/ending: (0, 1)"` (1.1), and `ControlNet-0 Module: canny, ControlNet-0 Model: ...` (before).
"""

import re
from collections.abc import Iterator, Mapping

from artgen.metadata.a1111_text import parse_pairs
from artgen.metadata.external_record import RecordedNet, coerce

_NAME = re.compile(r"controlnet[ -]?([0-9]{0,2})(?:[ -]([a-z ]{1,40}))?", re.IGNORECASE)
_RANGE = re.compile(r"\(\s*([0-9.]{1,10})\s*,\s*([0-9.]{1,10})\s*\)")
_IP_ADAPTER = re.compile(r"ip.?adapter", re.IGNORECASE)
_OFF = ("none", "")
MAX_NETS = 20


def read_nets(pairs: Mapping[str, str]) -> tuple[RecordedNet, ...]:
    """Return the ControlNets and IP-Adapters in the parameters of A1111 text."""
    units: dict[str, dict[str, str]] = {}
    for name, value in pairs.items():
        match = _NAME.fullmatch(name.strip())
        if match is None or len(units) >= MAX_NETS:
            continue
        unit = units.setdefault(match[1] or "0", {})
        if match[2]:
            unit[match[2].strip().lower()] = value
        else:
            unit |= {key.lower(): text for key, text in parse_pairs(value)}
    return tuple(net for unit in units.values() for net in _read_unit(unit))


def _read_unit(unit: Mapping[str, str]) -> Iterator[RecordedNet]:
    module = (unit.get("module") or unit.get("preprocessor") or "").strip()
    name = unit.get("model", "").strip()
    if unit.get("enabled", "true").lower() == "false" or (name.lower() in _OFF and module.lower() in _OFF):
        return
    start, end = unit.get("guidance start"), unit.get("guidance end")
    if bounds := _RANGE.fullmatch(unit.get("starting/ending", "").strip()):
        start, end = bounds.groups()
    mode = unit.get("control mode", "balanced").strip()
    notes = [] if mode.lower() in ("balanced", "0") else [f"its control mode {mode[:40]!r} has no equivalent"]
    yield RecordedNet(
        "image_prompt" if _IP_ADAPTER.search(f"{module} {name}") else "control",
        "" if name.lower() in _OFF else name,
        module="" if module.lower() in _OFF else module,
        scale=_number(unit.get("weight"), 1.0, 10.0),
        start=_number(start, 0.0, 1.0),
        end=_number(end, 1.0, 1.0),
        notes=tuple(notes),
    )


def _number(text: str | None, default: float, maximum: float) -> float:
    value = coerce(text, float)
    return float(value) if isinstance(value, int | float) and 0 <= value <= maximum else default
