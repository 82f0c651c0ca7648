"""Interpret the name of a model: an alias, a hub id, a folder or a file. No model file is opened."""

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry import model_folders
from artgen.registry.catalog import ModelInfo, builtin_models, known_models, model_info
from artgen.registry.hub import cache
from artgen.registry.hub.names import HUB_ID_PATTERN, REMOTE_FILE_PATTERN, check_revision
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle

SINGLE_FILE_SUFFIXES = (".safetensors", ".gguf")
"""Suffixes of the checkpoints that artgen downloads from a repository without diffusers' layout."""
MAX_SIMILAR_NAMES = 4

_NAMES_HINT = "`artgen models list` shows the names; OWNER/NAME is a model of the hub, ./FOLDER a model on the disk."


@dataclass(frozen=True)
class ModelReference:
    """Represent the interpreted name of a model.

    Attributes:
        kind: bundled with artgen, on the hub, or a folder or file on the disk.
        name: as recorded.
        target: hub id for kind "hub", else a path.
        revision: branch, tag or commit of a hub model; None is the main branch.
        info: known properties of the model; None if unknown.
    """

    kind: Literal["bundled", "hub", "folder", "file"]
    name: str
    target: str
    revision: str | None = None
    info: ModelInfo | None = None

    @property
    def file(self) -> str | None:
        """Return the name of the checkpoint in a hub repository without diffusers' layout."""
        return self.info.file if self.kind == "hub" and self.info else None


def parse_reference(name: str) -> ModelReference:
    """Interpret a model's name: alias, folder or file, name in the user's model folders, hub id or file on the hub.

    Names of the hub are `owner/name[@revision]` and `owner/name/file.safetensors[@revision]`.

    They have precedence in this order: an alias over a folder of the same name (`./NAME` is the folder), a path over a
    name in the model folders, and such a name over a hub id. Pickled checkpoints are rejected by
    their suffix.

    Raises:
        UsageError: the name is not valid UTF-8 and no folder or file has this name, or the revision is not valid.
        ModelUnavailableError: the name is unknown, or means both a folder and a cached hub model.
        RefusedError: the suffix is that of a pickle: `.ckpt`, `.pt`, `.bin` or `.pth`.
        InputFileError: the user's alias file is not valid.
    """
    name = name.strip()
    if not name or "\0" in name or "\n" in name:
        raise ModelUnavailableError("The name of the model is empty or contains line breaks.", _NAMES_HINT)
    models = known_models()
    alias, separator, revision = name.partition("@")
    info = models.get(name) or models.get(alias)
    if info:
        if separator:
            check_revision(revision)
        return _reference_from_info(info, revision or None)
    return _reference_from_text(name, None)


def _reference_from_info(info: ModelInfo, revision: str | None) -> ModelReference:
    if info.bundled_folder:
        return ModelReference("bundled", info.name, str(info.bundled_folder), None, info)
    revision = revision or info.revision
    if info.builtin or HUB_ID_PATTERN.fullmatch(info.source):
        return ModelReference("hub", info.name, info.source, check_revision(revision), info)
    if revision:
        raise UsageError(
            f"The alias {info.name!r} is a path, which has no revision {revision!r}.",
            f"Write {info.name}, or ./{info.name}@{revision} for a folder.",
        )
    found = _reference_from_text(info.source, info)
    return ModelReference(found.kind, info.name, found.target, found.revision, found.info)


def _reference_from_text(text: str, info: ModelInfo | None) -> ModelReference:
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    # pathlib's functions raise for long names.
    is_folder = os.path.isdir(path)  # noqa: PTH112
    is_file = os.path.exists(path) and not is_folder  # noqa: PTH110 - `read_header` refuses a pipe or a device
    if not is_file and not is_folder and (":" in text or "." in text.partition("/")[0]):
        from artgen.registry import web  # rarely necessary

        address = web.parse_source(text)
        if isinstance(address, web.HubSource) and address.file is None:
            name = f"{address.repo}@{address.revision}" if address.revision else address.repo
            return _reference_from_text(name, info)
        if local := web.local_path(text):
            return ModelReference("file", str(local), str(local), None, info)
    if path.suffix.lower() in PICKLE_SUFFIXES and not is_folder:
        reject_pickle(path)
    source, separator, revision = text.partition("@")
    is_hub_id = bool(HUB_ID_PATTERN.fullmatch(source))
    if is_folder and ((path / "model_index.json").is_file() or not is_hub_id):
        if is_hub_id and cache.snapshot_folder(source, revision or None):
            hint = f"Write ./{text} for the folder, or {source}@main for the hub's model."
            raise ModelUnavailableError(f"{text!r} is both a folder and a cached hub model.", hint)
        return ModelReference("folder", text, str(path), None, info)
    if is_file:
        return ModelReference("file", text, str(path), None, info)
    if found := model_folders.find("model", text):
        kind: Literal["folder", "file"] = "folder" if found.is_dir() else "file"
        return ModelReference(kind, str(found), str(found), None, info)
    _check_encoding(text)
    if separator and (is_hub_id or _hub_file(source)):
        check_revision(revision)
    if info is None and (hub_file := _hub_file(source)):
        repo, file = hub_file
        info = ModelInfo(name=source, source=repo, file=file, builtin=False)
        return ModelReference("hub", source, repo, check_revision(revision or None), info)
    if _looks_like_path(text):
        raise ModelUnavailableError(f"Cannot find a model at {text!r}.", similar_names_hint(text))
    if not is_hub_id:
        raise ModelUnavailableError(f"Cannot find the model {text!r}.", similar_names_hint(text))
    info = info or model_info(source)
    revision = revision or (info.revision if info else None) or ""
    return ModelReference("hub", source, source, check_revision(revision or None), info)


def recorded_model_name(name: str, source: str | None, revision: str | None) -> str | None:
    """Return the name that `parse_reference` interprets as the model of an image record, without opening a path.

    Records are untrusted: a recorded name is an alias or a hub id, never a path. An alias of the user that means
    another model than the recorded hub id is not used.

    Args:
        name: recorded name.
        source: recorded origin; a hub id, `bundled:NAME`, another text, or None.
        revision: recorded revision of a hub model.

    Returns:
        The name with its revision; None if no alias and no hub id is recorded, or if the name with its revision is
        also a path.

    Raises:
        ArtgenError: see `parse_reference`.
    """
    base, _, typed_revision = name.strip().partition("@")
    info = known_models().get(base)
    if hub_file := _hub_file(base):
        full_name = f"{base}@{typed_revision or revision}" if typed_revision or revision else base
        return full_name if hub_file[0] == source and parse_reference(full_name).kind == "hub" else None
    if source is not None and HUB_ID_PATTERN.fullmatch(source) and (info is None or info.source != source):
        base, info = source, None
    if info is None and not HUB_ID_PATTERN.fullmatch(base):
        return None
    revision = typed_revision or revision
    is_on_hub = info is None or (info.bundled_folder is None and bool(HUB_ID_PATTERN.fullmatch(info.source)))
    full_name = f"{base}@{revision}" if revision and is_on_hub else base
    reference = parse_reference(full_name)
    # Aliases of paths are absolute, unless the user edited the file.
    is_used = reference.kind == "hub" if is_on_hub else Path(reference.target).is_absolute()
    return full_name if is_used else None


def _hub_file(text: str) -> tuple[str, str] | None:
    """Return the hub id and the file of a name such as `owner/name/file.safetensors`; None for other names."""
    parts = text.split("/", 2)
    repo = "/".join(parts[:2])
    is_file = len(parts) == 3 and parts[2].endswith(SINGLE_FILE_SUFFIXES) and REMOTE_FILE_PATTERN.fullmatch(parts[2])
    return (repo, parts[2]) if is_file and HUB_ID_PATTERN.fullmatch(repo) else None


def _check_encoding(text: str) -> None:
    """Reject a name that is not valid UTF-8. Names of existing files may contain other bytes and are not checked."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"The model's name {text!r} is not valid UTF-8.", _NAMES_HINT) from None


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or "\\" in text or text.endswith(("/", ".safetensors", ".gguf"))


def similar_names_hint(text: str) -> str:
    """Return a hint with similar names: aliases, hub ids of aliases, and cached hub models."""
    known = {name.lower(): name for name in known_models()}
    known |= {info.source.lower(): info.source for info in builtin_models().values() if not info.bundled_folder}
    known |= {repo.lower(): repo for repo in cache.cached_repositories()}
    known |= {file.stem.lower(): file.stem for file in model_folders.iter_files("model")}
    short_names = {name.rpartition("/")[2]: known[name] for name in known}
    matches = difflib.get_close_matches(text.lower()[:200], [*known, *short_names], n=4, cutoff=0.6)
    if len(text) > 2:  # `flux`: flux-dev and flux-schnell
        matches = [*matches, *(name for name in known if name.startswith(text.lower()))][:MAX_SIMILAR_NAMES]
    if (short_name := text.lower().rpartition("/")[2]) in short_names:  # the same name of another owner
        matches = [short_name]
    similar = dict.fromkeys(known.get(match) or short_names[match] for match in matches)
    similar.pop(text, None)
    if hint := model_folders.other_kind_hint("model", text):
        return hint
    return f"Did you mean {' or '.join(similar)}? {_NAMES_HINT}" if similar else _NAMES_HINT
