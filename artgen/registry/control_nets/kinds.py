"""Return the kinds of control maps that a net reads, and check the kind of a control image."""

from collections.abc import Mapping
from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry.control_nets.control_net import ControlNet
from artgen.spec.control import CONTROL_KINDS, ControlSpec, map_kind

KINDS_KEY = "control_kinds"
"""Key of a net's config.json with the kinds of maps that the net reads. artgen's own training writes it."""

_UNION_MODES = {"pose": 0, "depth": 1, "scribble": 2, "canny": 3, "lineart": 3, "seg": 5, "tile": 6}
"""Control types of xinsir's union nets for SDXL. Nets with 6 types lack `tile`."""
_FLUX_MODES = {"canny": 0, "tile": 1, "depth": 2, "pose": 4, "gray": 5}
"""Control modes of the union nets of InstantX and Shakker Labs for Flux."""


def union_modes(class_name: str, config: Mapping[str, Any]) -> dict[str, int]:
    """Return the index of the control type that a union net has for each kind; empty for other nets."""
    if class_name == "ControlNetUnionModel":
        count = config.get("num_control_type")
        return {kind: mode for kind, mode in _UNION_MODES.items() if not isinstance(count, int) or mode < count}
    if class_name == "FluxControlNetModel" and config.get("num_mode"):
        return dict(_FLUX_MODES)
    return {}


def net_kinds(config: Mapping[str, Any], modes: Mapping[str, int]) -> tuple[str, ...]:
    """Return the kinds that a configuration lists; empty if it lists none."""
    listed = config.get(KINDS_KEY)
    if isinstance(listed, list):
        return tuple(kind for kind in CONTROL_KINDS if kind in listed)
    return tuple(modes)


def check_kind(net: ControlNet, spec: ControlSpec) -> None:
    """Check that a net reads maps of the kind of a control image. The kinds of many nets are unknown.

    Raises:
        UsageError: the catalog or the configuration lists the net for other kinds.
        ModelUnavailableError: a union net needs a kind, and the kind of the map is unknown.
    """
    kind = map_kind(spec)
    if net.kinds and kind not in (*net.kinds, "raw"):
        others = f"{', '.join(net.kinds)} maps" if len(net.kinds) < len(CONTROL_KINDS) else "other maps"
        raise UsageError(
            f"The control net '{net.name}' reads {others}, not {kind} maps.",
            f"--control {spec._replace(kind=net.kinds[0])}"
            if spec.model
            else "Omit model= to use the default net of the kind.",
            settings=("control",),
        )
    if net.is_union and kind not in net.modes:
        raise ModelUnavailableError(
            f"The union net '{net.name}' must receive the kind of its control map, and the kind of '{spec.image.name}' "
            "is unknown.",
            f"For a finished map, use the default net of its kind: --control raw={spec.image},model={net.kinds[0]}",
        )
