"""Parse prompt files (`.txt`, `.jsonl`, `.csv`, `.yaml` and others) to entries and errors with line numbers."""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError
from artgen.images import IMAGE_SUFFIXES
from artgen.queue.entries import LINE_SETTINGS, MAX_JOBS, Entry, LineError
from artgen.queue.json_prompts import parse_json_file, parse_jsonl
from artgen.queue.keys import Keys
from artgen.queue.line_sources import read_content
from artgen.queue.table_prompts import parse_csv, parse_tsv
from artgen.queue.text_prompts import parse_text
from artgen.spec.control import parse_control
from artgen.spec.image_prompt import parse_image_prompt
from artgen.spec.lora import parse_lora
from artgen.spec.settings import path_settings
from artgen.system.input_files import PROMPT_FILE_SUFFIXES, STDIN, is_stdin

_PATH_SETTINGS = tuple(name for name, group in LINE_SETTINGS.items() if name in path_settings(group))


def read_prompt_file(path: Path, ignore_columns: str | None = None) -> Iterator[Entry | LineError]:
    """Yield the entries of a prompt file in order, and an error for each invalid line.

    Paths of images are relative to the prompt file. Paths of LoRAs and control nets are first tried relative to the
    prompt file.

    Args:
        path: the file; its suffix selects the format. `-` is stdin in the `.txt` format.
        ignore_columns: columns and keys to ignore; see `Keys.parse`.

    Raises:
        InputFileError: the file cannot be read, or its format is unknown.
        UsageError: `ignore_columns` is not a list.
    """
    source = "stdin" if is_stdin(path) else str(path)
    suffix = ".txt" if is_stdin(path) else path.suffix.lower()
    if suffix not in PROMPT_FILE_SUFFIXES:
        raise InputFileError(
            f"Cannot read '{path}' as a prompt file: its suffix is unknown.",
            f"Prompt files: {', '.join(PROMPT_FILE_SUFFIXES)}. Images: {', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    items: Iterator[Entry | LineError] = _PARSERS[suffix](source, read_content(path), Keys.parse(ignore_columns))
    items = itertools.islice(items, MAX_JOBS + 1)  # the planner reports the limit
    folder = Path() if str(path) == STDIN else path.parent
    for item in items:
        if isinstance(item, LineError):
            yield item
        else:
            values, defaults = item.setting_values, item.defaults
            yield replace(
                item, setting_values=_resolve_paths(folder, values), defaults=_resolve_paths(folder, defaults)
            )


def _resolve_paths(folder: Path, setting_values: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(name in setting_values for name in (*_PATH_SETTINGS, "control", "image_prompt", "lora", "reference")):
        return setting_values
    resolved: dict[str, Any] = {
        name: folder / setting_values[name] for name in _PATH_SETTINGS if isinstance(setting_values.get(name), Path)
    }
    if isinstance(setting_values.get("lora"), tuple):
        resolved["lora"] = tuple(_resolve_lora(folder, text) for text in setting_values["lora"])
    if isinstance(setting_values.get("control"), tuple):
        resolved["control"] = tuple(_resolve_control(folder, text) for text in setting_values["control"])
    if isinstance(setting_values.get("reference"), tuple):
        resolved["reference"] = tuple(str(folder / str(text)) for text in setting_values["reference"])
    if isinstance(setting_values.get("image_prompt"), tuple):
        texts = setting_values["image_prompt"]
        resolved["image_prompt"] = tuple(_resolve_image_prompt(folder, text) for text in texts)
    return {**setting_values, **resolved}


def _resolve_lora(folder: Path, lora_text: Any) -> Any:
    """Return the path of a LoRA relative to the prompt file. A name without a file there can be in the LoRA folder."""
    try:
        lora = parse_lora(lora_text)
    except (ArtgenError, AttributeError):
        return lora_text  # the validation of the request reports the error
    path = folder / lora.name
    is_name = Path(lora.name).name == lora.name
    exists = any(os.path.isfile(file) for file in (path, f"{path}.safetensors"))  # noqa: PTH113 - does not raise
    return lora_text if is_name and not exists else str(lora._replace(name=str(path)))


def _resolve_image_prompt(folder: Path, text: Any) -> Any:
    """Return an image prompt with its files relative to the prompt file, and so an adapter that exists there."""
    try:
        spec = parse_image_prompt(text)
    except (ArtgenError, AttributeError, TypeError):
        return text  # the validation of the request reports the error
    model = spec.model
    if model is not None and os.path.isfile(folder / model):  # noqa: PTH113 - does not raise
        model = str(folder / model)
    mask = folder / spec.mask if spec.mask is not None else None
    return str(spec._replace(image=folder / spec.image, mask=mask, model=model))


def _resolve_control(folder: Path, text: Any) -> Any:
    """Return a control image with its path relative to the prompt file, and so the path of a net that exists there."""
    try:
        control = parse_control(text)
    except (ArtgenError, AttributeError):
        return text  # the validation of the request reports the error
    net = control.model
    if net is not None and os.path.exists(folder / net):  # noqa: PTH110 - does not raise
        net = str(folder / net)
    return str(control._replace(image=folder / control.image, model=net))


def _parse_yaml(source: str, data: bytes, keys: Keys) -> Iterator[Entry | LineError]:
    from artgen.queue.yaml_jobs import parse_yaml  # PyYAML takes 0.02 s to import

    return parse_yaml(source, data, keys)


_PARSERS: dict[str, Callable[[str, bytes, Keys], Iterator[Entry | LineError]]] = {
    ".txt": parse_text,
    ".jsonl": parse_jsonl,
    ".json": parse_json_file,
    ".csv": parse_csv,
    ".tsv": parse_tsv,
    ".yaml": _parse_yaml,
    ".yml": _parse_yaml,
}
