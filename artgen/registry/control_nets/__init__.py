"""Find control nets (ControlNets and T2I-Adapters), read their configurations, and check that they fit. Torch-free."""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.registry.control_nets.control_net import ControlNet


__all__ = ["ControlNet"]

_MODULES = {"control_net": ("ControlNet",)}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
