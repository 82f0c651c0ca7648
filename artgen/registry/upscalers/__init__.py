"""Find upscaling networks and read their configurations. Torch-free."""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.registry.upscalers.find import resolve_upscaler
    from artgen.registry.upscalers.recorded import find_recorded_upscaler
    from artgen.registry.upscalers.upscaler import (
        DEFAULT_UPSCALER,
        HUB_FILE,
        Upscaler,
        UpscalerEntry,
        input_sizes,
        size_notes,
        upscaler_entries,
    )

__all__ = [
    "DEFAULT_UPSCALER",
    "HUB_FILE",
    "Upscaler",
    "UpscalerEntry",
    "find_recorded_upscaler",
    "input_sizes",
    "resolve_upscaler",
    "size_notes",
    "upscaler_entries",
]

_MODULES = {
    "find": ("resolve_upscaler",),
    "recorded": ("find_recorded_upscaler",),
    "upscaler": (
        "DEFAULT_UPSCALER",
        "HUB_FILE",
        "Upscaler",
        "UpscalerEntry",
        "input_sizes",
        "size_notes",
        "upscaler_entries",
    ),
}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
