"""Check that the text encoders of a model have the widths of an embedding."""

from collections.abc import Mapping
from typing import Any

from artgen.errors import ModelUnavailableError
from artgen.registry import diffusers_folder
from artgen.registry.embeddings.embedding_file import EmbeddingFile
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.registry.resolved import ResolvedModel


def supports_embeddings(entry: PipelineEntry) -> bool:
    """Return whether artgen supports embeddings with a pipeline: all its text encoders are CLIP."""
    return entry.supports("prompt-embeddings") and all(encoder.kind == "clip" for encoder in entry.encoders)


def check_compatible(file: EmbeddingFile, model: ResolvedModel) -> None:
    """Check that the text encoders of a model have the widths of an embedding.

    Raises:
        ModelUnavailableError: artgen does not support embeddings with the model, or the embedding is for another one.
    """
    if reason := mismatch_reason(file, model):
        raise ModelUnavailableError(
            f"Cannot use '{file.path.name}' with '{model.short_name}': {reason}.",
            "Choose an embedding and a --model of the same family.",
            settings=("embedding",),
        )


def mismatch_reason(file: EmbeddingFile, model: ResolvedModel) -> str:
    """Return why a model cannot use an embedding; empty if it can."""
    entry = model.pipeline_entry
    if not supports_embeddings(entry):
        return f"artgen supports embeddings with Stable Diffusion 1, 2 and XL, and the model is {entry.title}"
    widths = {}
    for encoder in entry.encoders:
        text_config = diffusers_folder.read_optional_config(model.config_folder / encoder.component / "config.json")
        widths[encoder.component] = text_config.get("hidden_size")
    found = dict(zip(file.tensors, file.widths, strict=True))
    if "text_encoder" not in widths:  # the refiner of SDXL has only the second text encoder
        found = {name: width for name, width in found.items() if name in widths} or found
    if found == widths:
        return mismatch_reason(file, model.refiner) if model.refiner is not None else ""
    family = f", as in {file.family}" if file.family else ""
    return (
        f"its vectors have the width {_format_widths(found)}{family}, and the text encoders of the model have "
        f"{_format_widths(widths)}"
    )


def _format_widths(widths: Mapping[str, Any]) -> str:
    return " + ".join(map(str, widths.values()))
