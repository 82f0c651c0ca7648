"""Convert the parameters text of AUTOMATIC1111 in prompt files and in the captions of images to settings."""

import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import ArtgenError
from artgen.jobs import replay_files, replay_other_tools
from artgen.metadata import ExternalRecord
from artgen.metadata.a1111_lines import has_parameters
from artgen.queue.entries import LINE_SETTINGS
from artgen.spec.fields import describe_value

MAX_LISTED_LORAS = 8

_SET_OPTION = re.compile(r"--set (\w+)=")
"""Option of `replay` in a note, which is `--NAME` in a line of a prompt file."""


def parse_parameters(text: str, source: str, on_note: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of a parameters text as settings of a line; see `external_settings`."""
    return external_settings(metadata.parse_a1111(text), source, on_note)


def external_settings(external: ExternalRecord, source: str, on_note: Callable[[str], None]) -> dict[str, Any]:
    """Return the settings of a record of another tool as settings of a line.

    Args:
        external: the record.
        source: prompt file. LoRAs with a recorded hash are searched next to it.
        on_note: receives what is ignored or converted.
    """
    # The note about the model has another hint; the prompt finds its embeddings by name.
    changes = {"model": "", "embedding": ""}
    record, notes = replay_other_tools.to_record(Path(source), replace(external, loras=()), changes)
    on_note(f"The parameters text of {external.tool_name} is one job with its settings.")
    for note in notes:
        on_note(_SET_OPTION.sub(lambda match: f"--{match[1].replace('_', '-')} ", note))
    if model := external.fields.get("model"):
        on_note(f"The model {describe_value(model)} of {external.tool_name} is not used. Set the model with --model.")
    task = record.pop("task", "txt2img")
    if task != "txt2img":
        on_note(f"The text is of an image of the task {task}, without the input image. It is used for txt2img.")
        record.pop("strength", None)
    values = {name: value for name, value in record.items() if name in LINE_SETTINGS}
    if "seed" in values:
        values["seed"] = str(values["seed"])
    if external.loras:
        values["lora"] = tuple(_find_lora(Path(source), str(lora), lora.digest) for lora in external.loras)
    return values


def _find_lora(path: Path, lora: str, digest: str) -> str:
    """Return the LoRA that has the recorded hash; without such a file, the LoRA with its name."""
    if digest:
        with contextlib.suppress(ArtgenError):
            return replay_files.find_lora(path, lora, digest)
    return lora


def caption_prompts(text: str, on_note: Callable[[str], None]) -> dict[str, Any]:
    """Return the prompts of a text beside an image: of a parameters text its prompt and negative prompt.

    The other parameters describe the generation of the image and are ignored with a note.
    """
    if not has_parameters(text):
        return {"prompt": text}
    external = metadata.parse_a1111(text)
    names = ("prompt", "negative_prompt")
    prompts = {name: external.fields[name] for name in names if external.fields.get(name)}
    on_note(
        "The caption is a parameters text of AUTOMATIC1111: its prompt and negative prompt are used, and its other "
        "parameters are ignored."
    )
    if external.loras:
        listed = ", ".join(describe_value(lora.name) for lora in external.loras[:MAX_LISTED_LORAS])
        on_note(f"The LoRA tags of the caption are not used: {listed}. Add --lora.")
    return prompts
