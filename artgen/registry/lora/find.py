"""Find a LoRA file by path, or by name in the user's `lora_folder`."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from artgen.errors import ArtgenError, InputFileError
from artgen.registry import location_index
from artgen.registry.lora.lora_file import LoraFile, read_lora
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle
from artgen.spec import config

LORA_SUFFIX = ".safetensors"


def find_lora(name: str) -> Path:
    """Find the file for `--lora`: a path, or a name in the user's `lora_folder` and its subfolders.

    The suffix is optional.

    Raises:
        RefusedError: the suffix is that of a pickle.
        InputFileError: the file does not exist, it is a folder, or several files have the name.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    for file in (path, Path(f"{path}{LORA_SUFFIX}")):
        # `read_lora` refuses a pipe or a device. The methods of Path raise for long names.
        if os.path.exists(file) and not os.path.isdir(file):  # noqa: PTH110, PTH112
            return file
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
        files = sorted(file.name for file in path.iterdir() if file.suffix == LORA_SUFFIX and file.is_file())
        hint = f"--lora {path / files[0]}" if files else "Pass a .safetensors file."
        raise InputFileError(f"'{name}' is a folder, not a LoRA.", hint)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        reject_pickle(path)
    folder = config.lora_folder()
    is_bare_name = path.name == name
    index = _index_folder(folder) if is_bare_name and folder else {}
    matches = index.get(name.removesuffix(LORA_SUFFIX).casefold(), [])
    if len(matches) > 1:
        raise InputFileError(
            f"Several LoRAs in '{folder}' have the name {name!r}.", f"Give a path: --lora {matches[0]} or {matches[1]}"
        )
    if matches:
        return matches[0]
    raise InputFileError(f"Cannot find the LoRA {name!r}.", _similar_names_hint(name, index, folder, is_bare_name))


def _similar_names_hint(name: str, index: dict[str, list[Path]], folder: Path | None, is_bare_name: bool) -> str:
    similar = difflib.get_close_matches(name.removesuffix(LORA_SUFFIX).casefold(), index, n=3)
    if similar:
        return f"Did you mean {' or '.join(index[key][0].stem for key in similar)}?"
    if is_bare_name and folder is None:
        return "Give a path, or set the folder of your LoRAs: artgen config set lora_folder FOLDER"
    return f"Give a path, or copy the file to '{folder}'." if is_bare_name else "Check the path."


def _index_folder(folder: Path) -> dict[str, list[Path]]:
    """Return the LoRAs in a folder and its subfolders, by lower-case name without suffix.

    For files of the same name, return only those with the fewest parent folders.
    """
    found: dict[str, list[Path]] = {}
    for file in _iter_lora_files(folder):
        same = found.setdefault(file.stem.casefold(), [])
        if not same or len(same[0].parts) == len(file.parts):
            same.append(file)
    return found


def _iter_lora_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            if path.suffix == LORA_SUFFIX and os.path.isfile(path):  # noqa: PTH113 - skip pipes
                yield path


def find_recorded(name: str, digest: str, folders: Sequence[Path]) -> LoraFile | None:
    """Find the LoRA of an image record; return None unless a file has the recorded hash.

    Metadata is untrusted: only files with the last part of `name` are read, in `folders` and in the user's
    `lora_folder` with its subfolders, and then the files that had the hash when they were used on this machine.

    Args:
        name: recorded file name; the suffix is optional.
        digest: SHA-256 of the file (64 hexadecimal digits) or AutoV3 (12 digits).
        folders: additional folders.
    """
    stem = Path(name.replace("\\", "/")).name.removesuffix(LORA_SUFFIX)
    user_folder = config.lora_folder()
    candidates = [folder / f"{stem}{LORA_SUFFIX}" for folder in folders] if stem else []
    if user_folder is not None:
        candidates += [file for file in _iter_lora_files(user_folder) if file.stem.casefold() == stem.casefold()]
    for file in [*candidates, *location_index.locations(digest)]:
        if os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises for long names
            try:
                lora = read_lora(file)
            except ArtgenError:
                continue
            if digest and digest.lower() in (lora.sha256, lora.autov3):
                return lora
    return None
