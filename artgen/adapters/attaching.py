"""LoRAs as a request asks for them: which files, how strongly, and what a record says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from artgen.adapters.finding import find
from artgen.adapters.reading import Adapter, read
from artgen.errors import UsageError
from artgen.loras import Lora


@dataclass(frozen=True)
class Attachment:
    """A LoRA and how strongly it acts."""

    adapter: Adapter
    scale: float

    def __str__(self) -> str:
        """As `--lora` takes it."""
        return str(Lora(str(self.adapter.path), self.scale))


def attachments(asked: Sequence[Lora]) -> tuple[Attachment, ...]:
    """Finds and reads what is asked for.

    Raises:
        UsageError: one is given twice.
        RefusedError: a pickle, by its name.
        InputFileError: there is no such file, or it is no LoRA that can be used.
    """
    return once(tuple(Attachment(read(find(lora.name)), lora.scale) for lora in asked))


def once(loras: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
    """LoRAs of which none is there twice.

    Raises:
        UsageError: one is.
    """
    seen: set[str] = set()
    for each in loras:
        if each.adapter.sha256 in seen:
            raise UsageError(f"The LoRA {each.adapter.name} is given twice.", "Give it once, with one scale.")
        seen.add(each.adapter.sha256)
    return loras


def facts(loras: Sequence[Attachment]) -> dict[str, Any]:
    """What a record says of LoRAs beside their names and scales."""
    return {
        "lora_sha256": [each.adapter.sha256 for each in loras],
        "lora_autov3": [each.adapter.autov3 for each in loras],
    }
