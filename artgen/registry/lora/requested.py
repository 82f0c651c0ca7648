"""LoRAs as a request asks for them: which files, how strongly, and what a record says of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from artgen.errors import UsageError
from artgen.registry.lora.find import find_lora
from artgen.registry.lora.lora_file import LoraFile, read_lora
from artgen.spec.lora import LoraSpec


@dataclass(frozen=True)
class LoraRequest:
    """A LoRA and how strongly it acts."""

    file: LoraFile
    scale: float

    def __str__(self) -> str:
        """As `--lora` takes it."""
        return str(LoraSpec(str(self.file.path), self.scale))


def resolve_loras(specs: Sequence[LoraSpec]) -> tuple[LoraRequest, ...]:
    """Finds and reads what is asked for.

    Raises:
        UsageError: one is given twice.
        RefusedError: a pickle, by its name.
        InputFileError: there is no such file, or it is no LoRA that can be used.
    """
    return reject_duplicates(tuple(LoraRequest(read_lora(find_lora(lora.name)), lora.scale) for lora in specs))


def reject_duplicates(loras: tuple[LoraRequest, ...]) -> tuple[LoraRequest, ...]:
    """LoRAs of which none is there twice.

    Raises:
        UsageError: one is.
    """
    seen: set[str] = set()
    for each in loras:
        if each.file.sha256 in seen:
            raise UsageError(f"The LoRA {each.file.name} is given twice.", "Give it once, with one scale.")
        seen.add(each.file.sha256)
    return loras


def lora_provenance(loras: Sequence[LoraRequest]) -> dict[str, Any]:
    """What a record says of LoRAs beside their names and scales."""
    return {
        "lora_sha256": [each.file.sha256 for each in loras],
        "lora_autov3": [each.file.autov3 for each in loras],
    }
