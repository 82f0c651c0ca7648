"""LoRAs: found by path or name, read from their headers, and held against the model, all without torch.

The story: `attachments` finds and reads what a request asks for, `check_name` and `check_fit` hold it to the model,
`recorded` looks for what a picture names.
"""

from artgen.adapters.attaching import Attachment, attachments, facts, once
from artgen.adapters.finding import find, recorded
from artgen.adapters.fitting import check_fit, check_name
from artgen.adapters.reading import ARCHITECTURES, PARTS, Adapter, describe, read

__all__ = [
    "ARCHITECTURES",
    "PARTS",
    "Adapter",
    "Attachment",
    "attachments",
    "check_fit",
    "check_name",
    "describe",
    "facts",
    "find",
    "once",
    "read",
    "recorded",
]
