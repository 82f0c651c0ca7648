"""Read the units of the extension sd-webui-controlnet in `alwayson_scripts`."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.metadata.external_record import RecordedNet
from artgen.registry import net_names
from artgen.registry.control_nets import net_entries
from artgen.server.a1111.errors import FieldError
from artgen.server.a1111.image_fields import decode_base64
from artgen.server.a1111.typed_fields import read_flag, read_number, read_object, read_text
from artgen.spec.control import CONTROL_KINDS, ControlSpec

MAX_UNITS = 8
_OFF = ("", "none")
_IP_ADAPTER = re.compile(r"ip.?adapter", re.IGNORECASE)


@dataclass
class ControlUnits:
    """Store the enabled units of a request.

    Attributes:
        texts: values of `control` of the units with the default net, or with a net by its name in artgen.
        nets: nets of the other units, in order.
        paths: `upload:NAME` of the image of each of these nets, by setting: `control` or `image_prompt`.
        uploads: images by the name of the upload.
    """

    texts: list[str] = field(default_factory=list)
    nets: list[RecordedNet] = field(default_factory=list)
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)


def read_units(body: Mapping[str, Any], *, has_init_image: bool) -> ControlUnits:
    """Return the enabled units.

    Args:
        body: fields of the request.
        has_init_image: the request has an input image, which units without an image of their own use.

    Raises:
        FieldError: a unit is not valid, or its image is missing.
    """
    units = ControlUnits()
    for unit in _enabled_units(body):
        image = unit.get("image") or unit.get("input_image")
        if isinstance(image, dict):
            image = image.get("image")
        name = "image" if not image and has_init_image else f"control{len(units.uploads)}"
        if name != "image":
            units.uploads[name] = decode_base64(image, "alwayson_scripts.controlnet.image")
        net = _read_net(unit)
        if text := _text_of_known_net(net, f"upload:{name}"):
            units.texts.append(text)
            continue
        units.nets.append(net)
        units.paths[net.setting] = (*units.paths.get(net.setting, ()), f"upload:{name}")
    return units


def _read_net(unit: Mapping[str, Any]) -> RecordedNet:
    module, model = (read_text(unit, key).strip() for key in ("module", "model"))
    return RecordedNet(
        "image_prompt" if _IP_ADAPTER.search(f"{module} {model}") else "control",
        "" if model.lower() in _OFF else model,
        module="" if module.lower() in _OFF else module,
        scale=read_number(unit, "weight", 1.0, 0.0, 10.0),
        start=read_number(unit, "guidance_start", 0.0, 0.0, 1.0),
        end=read_number(unit, "guidance_end", 1.0, 0.0, 1.0),
    )


def _text_of_known_net(net: RecordedNet, image: str) -> str:
    """Return the value of `control` for the default net, or for a net by its name in artgen; empty for other nets."""
    name, kind = net_names.split_hash(net.name)[0], net_names.module_kind(net.module)
    entry = net_entries().get(name)
    if net.setting != "control" or (name and entry is None) or (net.module and kind not in CONTROL_KINDS):
        return ""
    if not net.module:
        if entry is None or len(entry.kinds) != 1:  # the kind of the map is unknown
            return ""
        kind = "raw"
    return str(ControlSpec(kind, Path(image), scale=net.scale, start=net.start, end=net.end, model=name or None))


def _enabled_units(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    scripts = read_object(body, "alwayson_scripts")
    for name, script in scripts.items():
        if str(name).lower() != "controlnet":
            continue
        units = script.get("args") or [] if isinstance(script, dict) else script
        if not isinstance(units, list) or not all(isinstance(unit, dict) for unit in units):
            raise FieldError("alwayson_scripts.controlnet.args must be a list of objects.", "alwayson_scripts")
        if len(units) > MAX_UNITS:
            raise FieldError(f"ControlNet takes at most {MAX_UNITS} units, not {len(units)}.", "alwayson_scripts")
        for unit in units:
            if read_flag(unit, "enabled", default=True):
                yield unit
