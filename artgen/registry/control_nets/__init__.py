"""Find control nets (ControlNets and T2I-Adapters), read their configurations, and check that they fit. Torch-free.

`resolve_net` finds or downloads the net of a control image and compares it with the model. `check_kind` compares the
kinds of maps that the net reads with the kind of the control image.
"""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.registry.control_nets.control_net import ControlNet
    from artgen.registry.control_nets.find import NetSearch, resolve_net
    from artgen.registry.control_nets.fit import check_compatible
    from artgen.registry.control_nets.kinds import KINDS_KEY, check_kind
    from artgen.registry.control_nets.net_table import NetEntry, net_entries
    from artgen.registry.control_nets.recorded import find_recorded_net


__all__ = [
    "KINDS_KEY",
    "ControlNet",
    "NetEntry",
    "NetSearch",
    "check_compatible",
    "check_kind",
    "find_recorded_net",
    "net_entries",
    "resolve_net",
]

_MODULES = {
    "control_net": ("ControlNet",),
    "find": ("NetSearch", "resolve_net"),
    "fit": ("check_compatible",),
    "kinds": ("KINDS_KEY", "check_kind"),
    "net_table": ("NetEntry", "net_entries"),
    "recorded": ("find_recorded_net",),
}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
