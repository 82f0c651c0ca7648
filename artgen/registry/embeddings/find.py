"""Find the file of an embedding by path, by name in the user's folders, or by its recorded hash."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from artgen.errors import ArtgenError, InputFileError
from artgen.registry import model_folders
from artgen.registry.embeddings.embedding_file import EmbeddingFile, read_embedding
from artgen.spec import config


def find_embedding(name: str) -> Path:
    """Find the file for `--embedding` or `embedding:NAME`: a path, or a name in the user's folders.

    Raises:
        RefusedError: the file is a pickle.
        ModelUnavailableError: the name is the address of a file that is not downloaded.
        InputFileError: the file does not exist, it is a folder, or several files have the name.
    """
    if file := model_folders.existing_file(name):
        return file
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
        raise InputFileError(f"'{name}' is a folder, not an embedding.", "Pass a .safetensors file.")
    if file := model_folders.downloaded_file(name):
        return file
    return find_named(name)


def find_named(name: str) -> Path:
    """Find an embedding by its name in embedding_folder and model_folders only.

    Raises:
        RefusedError: only a pickle has the name.
        InputFileError: no file, or several files, have the name.
    """
    if found := model_folders.find("embedding", name):
        return found
    raise InputFileError(f"Cannot find the embedding {name!r}.", _unknown_name_hint(name))


def _unknown_name_hint(name: str) -> str:
    if hint := model_folders.similar_names_hint("embedding", name):
        return hint
    if Path(name).name != name:
        return "Give the path of a file outside your folders with --embedding PATH:TOKEN."
    if config.embedding_folder() is None and not config.model_folders():
        return "Give a path, or set the folder of your embeddings: artgen config set embedding_folder FOLDER"
    return "Give a path, or copy the file to a folder of embedding_folder or model_folders."


def find_recorded(name: str, digest: str, folders: Sequence[Path]) -> EmbeddingFile | None:
    """Find the embedding of an image record; return None unless a file has the recorded hash.

    See `model_folders.recorded_files`, which yields the files that are read.

    Args:
        name: recorded file name; the suffix is optional.
        digest: SHA-256 of the file, at least 10 hexadecimal digits.
        folders: additional folders.
    """
    if not re.fullmatch(r"[0-9a-f]{10,64}", digest.lower()):
        return None
    for path in model_folders.recorded_files("embedding", name, digest, folders):
        try:
            file = read_embedding(path)
        except ArtgenError:
            continue
        if file.sha256.startswith(digest.lower()):
            return file
    return None
