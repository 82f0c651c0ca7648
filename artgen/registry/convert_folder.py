"""Convert the pickled weights of a model folder in diffusers' layout."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, UsageError
from artgen.registry.convert import convert_pickle, default_output
from artgen.system.external_data import parse_json, read_limited
from artgen.system.files import wrap_read_errors, write_atomically

WEIGHTS_PATTERN = re.compile(r"(?:diffusion_)?pytorch_model(?:\.fp16|\.bf16)?(?:-\d{5}-of-\d{5})?(?:\.fp16)?\.bin")
"""Names of the weights that diffusers and transformers load. Other pickles of a model folder are not weights, or are
weights of another variant, such as `non_ema`."""
INDEX_PATTERN = re.compile(r"((?:diffusion_)?pytorch_model)\.bin\.index((?:\.\w+)?\.json)")
MAX_INDEX_BYTES = 16 << 20


def convert_folder(folder: Path, *, overwrite: bool = False) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Convert the pickled weights of each component of a model folder. Safetensors files that exist are kept.

    Args:
        folder: model folder in diffusers' layout, or the folder of one component.
        overwrite: replace existing safetensors files.

    Yields:
        The path of each converted file, and notes for the user.

    Raises:
        UsageError: the folder contains no pickled weights.
        ArtgenError: a file cannot be converted; see `convert_pickle`.
    """
    with wrap_read_errors(folder):
        folders = [folder, *sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_dir())]
        files = [file for each in folders for file in sorted(each.iterdir())]
    weights = [file for file in files if WEIGHTS_PATTERN.fullmatch(file.name)]
    if not weights:
        raise UsageError(f"'{folder}' contains no pickled weights of a model.", "Name a file, or a model folder.")
    for file in weights:
        output = default_output(file)
        if os.path.lexists(output) and not overwrite:
            yield output, (f"'{output}' exists already. It is kept.",)
        else:
            conversion = convert_pickle(file, output, overwrite=overwrite)
            yield conversion.path, conversion.notes
    for file in files:
        if match := INDEX_PATTERN.fullmatch(file.name):
            stem = match[1].removeprefix("pytorch_")
            output = file.with_name(f"{stem}.safetensors.index{match[2]}")
            if overwrite or not os.path.lexists(output):
                write_atomically(output, json.dumps(_converted_index(file), indent=1))
                yield output, ()


def _converted_index(path: Path) -> dict[str, Any]:
    """Return an index of shards with the names of the converted files.

    Raises:
        InputFileError: the index is not valid.
    """
    try:
        index = parse_json(read_limited(path, MAX_INDEX_BYTES))
        names = {name: Path(str(file)) for name, file in index["weight_map"].items()}
        metadata = index.get("metadata") or {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputFileError(f"'{path}' is not an index of shards.", "Download the model again.") from None
    return {"metadata": metadata, "weight_map": {name: default_output(file).name for name, file in names.items()}}
