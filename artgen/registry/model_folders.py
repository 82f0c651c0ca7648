"""Find files by name in the user's model folders: folders of artgen, of A1111 and of ComfyUI.

The setting `model_folders` lists the folders. A folder can be the program's folder, its `models` folder, one of the
subfolders of `FOLDER_NAMES`, or any other folder with model files. Files that artgen downloads outside the cache of
the hub are in `own_folder`, which has the same subfolders.
"""

import difflib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError
from artgen.registry import location_index
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle
from artgen.spec import config
from artgen.system.paths import user_data_folder

Kind = Literal["model", "lora", "vae", "embedding", "text_encoder", "controlnet", "upscaler", "image_prompt"]

FOLDER_NAMES: dict[Kind, tuple[str, ...]] = {
    "model": ("checkpoints", "stable-diffusion", "diffusion_models", "unet", "diffusers"),
    "lora": ("loras", "lora", "lycoris"),
    "vae": ("vae",),
    "embedding": ("embeddings",),
    "text_encoder": ("text_encoders", "clip"),
    "controlnet": ("controlnet",),
    "upscaler": ("upscale_models", "esrgan", "realesrgan"),
    "image_prompt": ("ipadapter",),
}
"""Names of the subfolders of each kind, without case. A1111 and ComfyUI use them; the first one is artgen's own."""
DESCRIPTIONS: dict[Kind, str] = {
    "model": "model",
    "lora": "LoRA",
    "vae": "VAE",
    "embedding": "embedding",
    "text_encoder": "text encoder",
    "controlnet": "ControlNet",
    "upscaler": "upscaler",
    "image_prompt": "image prompt adapter",
}
OPTIONS: dict[Kind, str] = {
    "model": "-m",
    "lora": "--lora",
    "vae": "--vae",
    "embedding": "--embedding",
    "upscaler": "--upscaler",
}
"""Option that takes the name of a file of each kind."""
WEIGHTS_SUFFIX = ".safetensors"
MODEL_SUFFIXES = frozenset({WEIGHTS_SUFFIX, ".sft", ".gguf", *PICKLE_SUFFIXES})
MAX_ENTRIES = 100_000
"""Largest number of files and folders of a model folder."""
MAX_LISTED = 10
_KINDS = {name: kind for kind, names in FOLDER_NAMES.items() for name in names}


@dataclass(frozen=True)
class FoundFile:
    """Represent a file, or a folder in diffusers' layout, in a model folder.

    Attributes:
        path: path of the file or folder.
        name: path relative to the folder of its kind, with `/`.
    """

    path: Path
    name: str

    @property
    def is_pickle(self) -> bool:
        """Return whether the suffix is that of a pickle."""
        return self.path.suffix.lower() in PICKLE_SUFFIXES

    @property
    def stem(self) -> str:
        """Return the name without the suffix of a model file."""
        suffix = PurePosixPath(self.name).suffix
        return self.name.removesuffix(suffix) if suffix.lower() in MODEL_SUFFIXES else self.name


def own_folder(kind: Kind) -> Path:
    """Return artgen's folder for downloaded files of a kind. It may not exist."""
    return user_data_folder() / "models" / FOLDER_NAMES[kind][0]


def find(kind: Kind, name: str) -> Path | None:
    """Return the path of the file with a name in the model folders; None if no file has the name.

    The name can include subfolders, and the suffix is optional. These matches have precedence, in this order: the
    complete relative path, the file name in any subfolder, then the same without case. The name never leaves the
    folders, because it is compared with the names of existing files. Links to other folders are followed.

    Raises:
        ModelUnavailableError: several models have the name.
        InputFileError: several files of another kind have the name, or a model folder is too large.
        RefusedError: only a pickle has the name.
    """
    wanted = name.replace("\\", "/")
    files = list(iter_files(kind))
    for candidates in ([file for file in files if not file.is_pickle], [file for file in files if file.is_pickle]):
        matches = _match(candidates, wanted)
        if len(matches) > 1:
            raise _ambiguous_error(kind, name, matches)
        if matches and matches[0].is_pickle:
            reject_pickle(matches[0].path)
        if matches:
            return matches[0].path
    return None


def iter_files(kind: Kind) -> Iterator[FoundFile]:
    """Yield the files of a kind in all model folders, each file once. Links to the same file count as one file.

    Raises:
        InputFileError: a model folder is too large, or the configuration is not valid.
    """
    seen: set[str] = set()
    for folder in _folders_of_kind(kind):
        for file in walk(folder):
            if (real_path := os.path.realpath(file.path)) not in seen:
                seen.add(real_path)
                yield file


def similar_names_hint(kind: Kind, name: str) -> str:
    """Return a hint with similar names of files of a kind, else as `other_kind_hint`; empty if there is none."""
    # In a dictionary, the last value of a key has precedence: the shortest path.
    files = sorted(iter_files(kind), key=lambda file: -file.name.count("/"))
    known = {PurePosixPath(file.stem).name.casefold(): file.stem for file in files}
    similar = difflib.get_close_matches(name.removesuffix(".safetensors").casefold(), known, n=3)
    if similar:
        return f"Did you mean {' or '.join(known[key] for key in similar)}?"
    return other_kind_hint(kind, name)


def existing_file(name: str) -> Path | None:
    """Return the file with a path, whose suffix `.safetensors` is optional; None if it does not exist."""
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    for file in (path, Path(f"{path}{WEIGHTS_SUFFIX}")):
        # The readers refuse a pipe or a device. The methods of Path raise for long names.
        if os.path.exists(file) and not os.path.isdir(file):  # noqa: PTH110, PTH112
            return file
    return None


def downloaded_file(name: str) -> Path | None:
    """Return the local file of an address such as `civitai:12`; None if the name is not an address.

    Raises:
        ModelUnavailableError: the file is not downloaded.
        RefusedError: the suffix is that of a pickle.
    """
    if ":" in name:
        from artgen.registry import web  # rarely necessary

        if local := web.local_path(name):
            return local
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    if path.suffix.lower() in PICKLE_SUFFIXES:
        reject_pickle(path)
    return None


def recorded_files(kind: Kind, name: str, digest: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield existing files that may be the file of an image record. The caller compares their hashes.

    Metadata is untrusted: these are files with the last part of `name`, in `folders` and in the user's folders, and
    then the files that had the hash when they were used on this machine.

    Args:
        kind: kind of the file.
        name: recorded file name; the suffix is optional.
        digest: recorded hash.
        folders: additional folders.
    """
    stem = Path(name.replace("\\", "/")).name.removesuffix(WEIGHTS_SUFFIX)
    candidates = [folder / f"{stem}{WEIGHTS_SUFFIX}" for folder in folders] if stem else []
    candidates += [
        file.path
        for file in iter_files(kind)
        if not file.is_pickle and Path(file.stem).name.casefold() == stem.casefold()
    ]
    for path in [*candidates, *location_index.locations(digest)]:
        if os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for long names
            yield path


def other_kind_hint(kind: Kind, name: str) -> str:
    """Return a sentence if a file of another kind has the name, else an empty text."""
    for other in FOLDER_NAMES:
        matches = _match(list(iter_files(other)), name.replace("\\", "/")) if other != kind else []
        if matches:
            use = f" Pass it with {OPTIONS[other]} {name}." if other in OPTIONS else " No option of artgen takes it."
            return f"'{matches[0].path}' is in a folder of files of the kind {DESCRIPTIONS[other]}.{use}"
    return ""


def _folders_of_kind(kind: Kind) -> list[Path]:
    """Return the folders that contain the files of a kind, in the order of precedence."""
    folders = [own_folder(kind)]
    own_setting = {"lora": config.lora_folder, "embedding": config.embedding_folder}.get(kind)
    if own_setting is not None and (folder_of_kind := own_setting()):
        folders.append(folder_of_kind)
    for folder in config.model_folders():
        subfolders = [path for parent in (folder, folder / "models") for path in _subfolders(parent)]
        of_kind = [path for path in subfolders if _KINDS.get(path.name.casefold()) == kind]
        is_plain = not any(path.name.casefold() in _KINDS for path in subfolders) or _is_diffusers_model(folder)
        if is_plain and _KINDS.get(folder.name.casefold(), kind) == kind:
            of_kind = [folder]
        folders += of_kind
    return folders


def _subfolders(folder: Path) -> list[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        return [Path(entry.path) for entry in entries if entry.is_dir()]
    except OSError:
        return []


def walk(root: Path) -> Iterator[FoundFile]:
    """Yield the model files and the diffusers folders in a folder; hidden folders are skipped."""
    if _is_diffusers_model(root):
        yield FoundFile(root, root.name)
        return
    visited, entries = {os.path.realpath(root)}, 0
    for parent, folders, files in os.walk(root, followlinks=True):
        entries += len(folders) + len(files)
        if entries > MAX_ENTRIES:
            raise InputFileError(
                f"Cannot search '{root}': it contains more than {MAX_ENTRIES:,} files and folders.",
                "Set model_folders to more specific folders.",
            )
        descend: list[str] = []
        for name in sorted(folders):
            path = Path(parent, name)
            if _is_diffusers_model(path):
                yield FoundFile(path, path.relative_to(root).as_posix())
            elif not name.startswith(".") and (real_path := os.path.realpath(path)) not in visited:
                visited.add(real_path)
                descend.append(name)
        folders[:] = descend
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix.lower() in MODEL_SUFFIXES and os.path.isfile(path):  # noqa: PTH113 - skips pipes
                yield FoundFile(path, path.relative_to(root).as_posix())


def _match(files: Sequence[FoundFile], wanted: str) -> list[FoundFile]:
    """Return the files with a name, of the most precise kind of match; see `find`."""
    for fold in (str, str.casefold):
        for select in (str, lambda path: PurePosixPath(path).name):
            target = fold(wanted)
            matches = [file for file in files if target in (fold(select(file.name)), fold(select(file.stem)))]
            if matches:
                return matches
    return []


def _ambiguous_error(kind: Kind, name: str, matches: Sequence[FoundFile]) -> ArtgenError:
    listed = ", ".join(f"'{file.path}'" for file in matches[:MAX_LISTED])
    more = f" and {len(matches) - MAX_LISTED} more" if len(matches) > MAX_LISTED else ""
    error = ModelUnavailableError if kind == "model" else InputFileError
    return error(
        f"Several files of the kind {DESCRIPTIONS[kind]} have the name {name!r}: {listed}{more}.",
        f"Give the path of one file, such as {matches[0].path}.",
    )


def _is_diffusers_model(folder: Path) -> bool:
    return os.path.isfile(folder / "model_index.json")  # noqa: PTH113 - Path.is_file raises without permission
