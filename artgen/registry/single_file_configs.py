"""Create configuration folders for single checkpoints, which contain only weights.

`assets/configs/FAMILY.json` contains the configurations of a family (one object, file name -> contents), and
`assets/configs/clip-merges.txt.gz` the CLIP vocabulary of all; `assets/configs/PROVENANCE.json` lists the sources.
Other families take the configurations of a model folder. `build_config_folder` writes them, with the values that a file
requires, as the folder that diffusers' `from_single_file(..., config=folder)` expects.
"""

import atexit
import functools
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen.errors import OutputError
from artgen.registry import diffusers_folder
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.model_configs import MAX_VOCABULARY_BYTES, read_config
from artgen.registry.resolved import ResolvedModel
from artgen.system.cache_folders import use_cache_folder
from artgen.system.command_state import register_reset
from artgen.system.external_data import read_limited
from artgen.system.files import atomic_folder, wrap_write_errors

CONFIGS_FOLDER = ASSETS_FOLDER / "configs"
SHIPPED_FAMILIES = ("sd1", "sd2", "sdxl", "sdxl-refiner")
"""Families of the table of pipelines whose configurations are in `CONFIGS_FOLDER` under their own name."""
CLIP_TOKENIZER_CONFIG = "tokenizer_config.json"

ConfigFiles = dict[str, Any]
"""Name of a file, relative to the model folder -> JSON object, or the bytes of a file that is not changed."""


def single_file_config(model: ResolvedModel) -> Path:
    """Return the folder with the configurations and tokenizers of a single checkpoint. It has no weights."""
    if model.single_file is None:
        raise TypeError(f"{model.name} is not a single checkpoint")
    return model.single_file.config


def shipped_config(name: str) -> ConfigFiles:
    """Return the configurations of a family in `assets/configs`, with the vocabulary of CLIP."""
    files: ConfigFiles = json.loads((CONFIGS_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    merges, vocabulary = _clip_files()
    for path in [path for path in files if path.endswith(f"/{CLIP_TOKENIZER_CONFIG}")]:
        folder = path.removesuffix(CLIP_TOKENIZER_CONFIG)
        files |= {f"{folder}merges.txt": merges, f"{folder}vocab.json": vocabulary}
    return files


@functools.cache
def _clip_files() -> tuple[bytes, bytes]:
    merges = gzip.decompress((CONFIGS_FOLDER / "clip-merges.txt.gz").read_bytes())
    return merges, json.dumps(clip_vocabulary(merges.decode("utf-8")), ensure_ascii=False).encode("utf-8")


def folder_config(folder: Path) -> ConfigFiles:
    """Return the configurations and tokenizers of a model folder, without weights and their indices.

    Raises:
        ModelUnavailableError, InputFileError, RefusedError: see `diffusers_folder.model_files`.
    """
    files: ConfigFiles = {"model_index.json": diffusers_folder.read_model_index(folder)}
    for path in diffusers_folder.model_files(folder):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors" or ".safetensors.index" in name or "/" not in name:
            continue
        is_config = path.name in ("config.json", "scheduler_config.json")
        files[name] = read_config(path) if is_config else read_limited(path, MAX_VOCABULARY_BYTES)
    return files


def patched(files: ConfigFiles, changes: Mapping[str, Mapping[str, Any]]) -> ConfigFiles:
    """Return configurations with other values: name of a file -> values of its keys."""
    return files | {name: files.get(name, {}) | dict(values) for name, values in changes.items()}


def build_config_folder(name: str, files: ConfigFiles) -> Path:
    """Return the folder of a configuration; create it if it does not exist. Several processes may create it at once.

    Without a writable cache folder, the configuration is in a temporary folder of this process.

    Raises:
        OutputError: neither folder can be written.
    """
    contents = {
        path: value if isinstance(value, bytes) else (json.dumps(value, indent=2) + "\n").encode()
        for path, value in files.items()
    }
    digest = hashlib.sha256()
    for path, content in sorted(contents.items()):
        digest.update(f"{path}\0{len(content)}\0".encode() + content)
    folder_name = f"{name}-{digest.hexdigest()[:12]}"
    try:
        return _create_config_folder(use_cache_folder("configs") / folder_name, contents)
    except OutputError:
        return _create_config_folder(Path(_temporary_folder().name, folder_name), contents)


@functools.cache
def _temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is deleted when the process, or a command of the worker, ends."""
    with wrap_write_errors(Path("TMPDIR")):
        folder = tempfile.TemporaryDirectory(prefix="artgen-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return folder


@register_reset
def _delete_temporary_folder() -> None:
    if _temporary_folder.cache_info().currsize:
        _temporary_folder().cleanup()
        _temporary_folder.cache_clear()


def _create_config_folder(folder: Path, contents: Mapping[str, bytes]) -> Path:
    if os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises without permission
        return folder
    with wrap_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            with atomic_folder(folder, overwrite=False) as temporary:
                for name, content in contents.items():
                    path = temporary / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(content)
        except FileExistsError:
            if not folder.is_dir():  # otherwise another process created the folder
                raise
    return folder


def clip_vocabulary(merges: str) -> dict[str, int]:
    """Build CLIP's vocabulary from its merges, as `openai/CLIP/clip/simple_tokenizer.py` (MIT) does.

    It has 49,408 entries: 256 byte symbols, the same symbols at the end of a word, one entry per merge, and the start
    and end tokens.
    """
    symbols = list(_byte_symbols())
    pairs = [line.split() for line in merges.splitlines() if line and not line.startswith("#version")]
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in pairs]
    return {token: index for index, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}


def _byte_symbols() -> list[str]:
    """Return a printable character for each byte, in CLIP's order (`bytes_to_unicode` of GPT-2 and CLIP)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    num_others = 256 - len(printable)
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(num_others)]
