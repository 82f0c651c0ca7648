"""Find a LoRA file by path, or by name in the user's `lora_folder` and `model_folders`."""

import os
from collections.abc import Sequence
from pathlib import Path

from artgen.errors import ArtgenError, InputFileError
from artgen.registry import model_folders
from artgen.registry.lora.lora_file import LoraFile, read_lora
from artgen.spec import config

LORA_SUFFIX = ".safetensors"
MIN_DIGEST_CHARS = 10
"""Number of digits of the SHA-256 that other tools record."""


def find_lora(name: str) -> Path:
    """Find the file for `--lora`: a path, or a name in the user's folders; see `model_folders.find`.

    The suffix is optional.

    Raises:
        RefusedError: the suffix is that of a pickle.
        ModelUnavailableError: the name is the address of a file that is not downloaded.
        InputFileError: the file does not exist, it is a folder, or several files have the name.
    """
    if file := model_folders.existing_file(name):
        return file
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
        files = sorted(file.name for file in path.iterdir() if file.suffix == LORA_SUFFIX and file.is_file())
        hint = f"--lora {path / files[0]}" if files else "Pass a .safetensors file."
        raise InputFileError(f"'{name}' is a folder, not a LoRA.", hint)
    if file := model_folders.downloaded_file(name):
        return file
    if found := model_folders.find("lora", name):
        return found
    raise InputFileError(f"Cannot find the LoRA {name!r}.", _unknown_name_hint(name))


def _unknown_name_hint(name: str) -> str:
    if len(names := [each.strip() for each in name.split(",") if each.strip()]) > 1:
        return f"Repeat the option for several LoRAs: {' '.join(f'--lora {each}' for each in names)}"
    if hint := model_folders.similar_names_hint("lora", name):
        return hint
    if Path(name).name != name:
        return "Check the path."
    if config.lora_folder() is None and not config.model_folders():
        return "Give a path, or set the folder of your LoRAs: artgen config set lora_folder FOLDER"
    return "Give a path, or copy the file to a folder of lora_folder or model_folders."


def find_recorded(name: str, digest: str, folders: Sequence[Path]) -> LoraFile | None:
    """Find the LoRA of an image record; return None unless a file has the recorded hash.

    See `model_folders.recorded_files`, which yields the files that are read.

    Args:
        name: recorded file name; the suffix is optional.
        digest: SHA-256 of the file (64 hexadecimal digits, or its first 10 or more) or AutoV3 (12 digits).
        folders: additional folders.
    """
    for path in model_folders.recorded_files("lora", name, digest, folders):
        try:
            lora = read_lora(path)
        except ArtgenError:
            continue
        if len(digest) >= MIN_DIGEST_CHARS and any(
            value.startswith(digest.lower()) for value in (lora.sha256, lora.autov3)
        ):
            return lora
    return None
