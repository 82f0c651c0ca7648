"""Find LoRAs by path or name, read their headers, and check that a model supports them. Torch-free.

`resolve_loras` finds and reads the LoRAs of a request. `check_architecture`, `check_named_model` and `check_compatible`
compare them with the model. `find_recorded` finds the LoRA of an image record by its hash.
"""

from typing import TYPE_CHECKING

from artgen.lazy_imports import lazy_names

if TYPE_CHECKING:
    from artgen.registry.lora.compatibility import (
        check_architecture,
        check_compatible,
        check_named_model,
        layer_targets,
        mismatch_reason,
    )
    from artgen.registry.lora.find import find_lora, find_recorded
    from artgen.registry.lora.lora_file import LORA_COMPONENTS, LoraFile, describe_lora, read_lora
    from artgen.registry.lora.requested import LoraRequest, lora_provenance, reject_duplicates, resolve_loras


__all__ = [
    "LORA_COMPONENTS",
    "LoraFile",
    "LoraRequest",
    "check_architecture",
    "check_compatible",
    "check_named_model",
    "describe_lora",
    "find_lora",
    "find_recorded",
    "layer_targets",
    "lora_provenance",
    "mismatch_reason",
    "read_lora",
    "reject_duplicates",
    "resolve_loras",
]

_MODULES = {
    "compatibility": (
        "check_architecture",
        "check_compatible",
        "check_named_model",
        "layer_targets",
        "mismatch_reason",
    ),
    "find": ("find_lora", "find_recorded"),
    "lora_file": ("LORA_COMPONENTS", "LoraFile", "describe_lora", "read_lora"),
    "requested": ("LoraRequest", "lora_provenance", "reject_duplicates", "resolve_loras"),
}
"""Names of each module, which is imported when the first of the names is used."""

__getattr__ = lazy_names(__name__, _MODULES)
