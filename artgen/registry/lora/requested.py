"""Resolve the LoRAs of a request to files and scales, and return their record entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from artgen.errors import UsageError
from artgen.registry.lora.find import find_lora
from artgen.registry.lora.lora_file import LoraFile, read_lora
from artgen.spec.lora import LoraSpec


@dataclass(frozen=True)
class LoraRequest:
    """Store a LoRA and its scales.

    Attributes:
        file: the LoRA.
        scale: scale in the denoiser.
        text_scale: scale in the text encoders; None is `scale`.
    """

    file: LoraFile
    scale: float
    text_scale: float | None = None

    def __str__(self) -> str:
        """Return the value for `--lora`."""
        return str(LoraSpec(str(self.file.path), self.scale, self.text_scale))


def resolve_loras(specs: Sequence[LoraSpec]) -> tuple[LoraRequest, ...]:
    """Find and read the LoRAs of a request.

    Raises:
        UsageError: a LoRA is given twice, or has a scale for text encoders that it does not change.
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file does not exist, or is not a supported LoRA.
    """
    return reject_duplicates(tuple(map(_resolve, specs)))


def _resolve(spec: LoraSpec) -> LoraRequest:
    file = read_lora(find_lora(spec.name))
    if spec.text_scale is not None and not file.changes_text_encoders:
        raise UsageError(
            f"The LoRA '{file.name}' does not change text encoders, and its scale for them is {spec.text_scale:g}.",
            f"Use one scale: --lora {spec._replace(text_scale=None)}",
            settings=("lora",),
        )
    return LoraRequest(file, spec.scale, spec.text_scale)


def reject_duplicates(loras: tuple[LoraRequest, ...]) -> tuple[LoraRequest, ...]:
    """Return the LoRAs unchanged; reject equal files.

    Raises:
        UsageError: two files have the same hash.
    """
    seen: set[str] = set()
    for lora in loras:
        if lora.file.sha256 in seen:
            raise UsageError(f"The LoRA '{lora.file.name}' is given twice.", "Give it once, with one scale.")
        seen.add(lora.file.sha256)
    return loras


def lora_provenance(loras: Sequence[LoraRequest]) -> dict[str, Any]:
    """Return the record's entries about LoRAs, without names and scales."""
    return {
        "lora_sha256": [lora.file.sha256 for lora in loras],
        "lora_autov3": [lora.file.autov3 for lora in loras],
    }
