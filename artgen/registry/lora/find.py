"""From a LoRA's name to its file: a path as typed, or a name in the folder where the user keeps LoRAs."""

import difflib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from artgen.errors import ArtgenError, InputFileError
from artgen.registry.lora.lora_file import LoraFile, read_lora
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle
from artgen.spec import config

LORA_SUFFIX = ".safetensors"


def find_lora(name: str) -> Path:
    """The file that `--lora` means: a path, or a name, with or without its suffix, in the user's `lora_folder`.

    Sub-folders of that folder are searched too.

    Raises:
        RefusedError: a pickle, by its name.
        InputFileError: there is none, a folder is meant, or several have that name.
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    for file in (path, Path(f"{path}{LORA_SUFFIX}")):
        if os.path.isfile(file):  # noqa: PTH113 - Path's raises for long names
            return file
    if os.path.isdir(path):  # noqa: PTH112 - as above
        inside = sorted(file.name for file in path.iterdir() if file.suffix == LORA_SUFFIX)
        hint = f"--lora {path / inside[0]}" if inside else "Pass a .safetensors file."
        raise InputFileError(f"{name} is a folder, not a LoRA.", hint)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        reject_pickle(path)
    folder = config.lora_folder()
    bare = path.name == name
    shelf = _index_folder(folder) if bare and folder else {}
    matches = shelf.get(name.removesuffix(LORA_SUFFIX).casefold(), [])
    if len(matches) > 1:
        raise InputFileError(
            f"Several LoRAs in {folder} are called {name!r}.", f"Say which: --lora {matches[0]} or {matches[1]}"
        )
    if matches:
        return matches[0]
    raise InputFileError(f"There is no LoRA {name!r}.", _similar_names_hint(name, shelf, folder, bare))


def _similar_names_hint(name: str, index: dict[str, list[Path]], folder: Path | None, is_bare_name: bool) -> str:
    close = difflib.get_close_matches(name.removesuffix(LORA_SUFFIX).casefold(), index, n=3)
    if close:
        return f"Did you mean {' or '.join(index[word][0].stem for word in close)}?"
    if is_bare_name and folder is None:
        return "Give a path, or say once where your LoRAs are: artgen config set lora_folder FOLDER"
    return f"It is not in {folder} either." if is_bare_name else "Check the path."


def _index_folder(folder: Path) -> dict[str, list[Path]]:
    """The LoRAs in a folder and its sub-folders, by name without suffix and case; those nearest to the top alone."""
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
            if file.endswith(LORA_SUFFIX):
                yield Path(parent, file)


def find_recorded(name: str, digest: str, folders: Sequence[Path]) -> LoraFile | None:
    """The LoRA that a picture names, taken only where its hash is the recorded one; None where there is none.

    What a picture says is data: only files called like the last part of `name` are looked at, in `folders` and in the
    user's `lora_folder` with its sub-folders.

    Args:
        name: of the file, with or without its suffix.
        digest: SHA-256 of the file (64 hexadecimal digits) or AutoV3 (12 digits).
        folders: to look in besides.
    """
    stem = Path(name.replace("\\", "/")).name.removesuffix(LORA_SUFFIX)
    own = config.lora_folder()
    candidates = [folder / f"{stem}{LORA_SUFFIX}" for folder in folders] if stem else []
    if own is not None:
        candidates += [file for file in _iter_lora_files(own) if file.stem.casefold() == stem.casefold()]
    for file in candidates:
        if os.path.isfile(file):  # noqa: PTH113 - as above
            try:
                adapter = read_lora(file)
            except ArtgenError:
                continue
            if digest and digest.lower() in (adapter.sha256, adapter.autov3):
                return adapter
    return None
