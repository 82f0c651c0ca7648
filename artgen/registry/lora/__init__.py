"""LoRAs: found by path or name, read from their headers, and held against the model, all without torch.

The story: `attachments` finds and reads what a request asks for, `check_name` and `check_fit` hold it to the model,
`recorded` looks for what a picture names.
"""

from artgen.registry.lora.compatibility import check_architecture, check_compatible
from artgen.registry.lora.find import find_lora, find_recorded
from artgen.registry.lora.lora_file import ARCHITECTURE_NAMES, LORA_COMPONENTS, LoraFile, describe_lora, read_lora
from artgen.registry.lora.requested import LoraRequest, lora_provenance, reject_duplicates, resolve_loras

__all__ = [
    "ARCHITECTURE_NAMES",
    "LORA_COMPONENTS",
    "LoraFile",
    "LoraRequest",
    "check_architecture",
    "check_compatible",
    "describe_lora",
    "find_lora",
    "find_recorded",
    "lora_provenance",
    "read_lora",
    "reject_duplicates",
    "resolve_loras",
]
