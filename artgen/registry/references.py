"""What a user's word for a model means: an alias, a hub id, a folder or a file. Nothing is read but names."""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry.catalog import ModelInfo, builtin_models, known_models, model_info
from artgen.registry.hub import cache
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, reject_pickle

HUB_ID_PATTERN = re.compile(r"(?!.*(--|\.\.))[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9._-]{1,96}")
REVISION_PATTERN = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


@dataclass(frozen=True)
class ModelReference:
    """A model by name, not yet looked for.

    `name` is what gets recorded; `target` is a hub id for kind "hub" and a path for the others; `revision` is a
    branch, tag or commit of a hub model, None for its main branch; `info` is what is known of it, if anything.
    """

    kind: Literal["bundled", "hub", "folder", "file"]
    name: str
    target: str
    revision: str | None = None
    info: ModelInfo | None = None


def parse_reference(name: str) -> ModelReference:
    """Understand a model's name: alias, `owner/name[@revision]`, folder or `.safetensors` file.

    An alias wins over a folder of the same name (write `./NAME` for the folder). Pickled checkpoints are refused by
    their suffix, unread.

    Raises:
        UsageError: the name is not valid UTF-8, and no folder or file is called that.
        ModelUnavailableError: the name means nothing, or both a folder and a cached hub model.
        RefusedError: `.ckpt`, `.pt`, `.bin`, `.pth`.
        InputFileError: the user's alias file does not parse.
    """
    name = name.strip()
    if not name or "\0" in name or "\n" in name:
        raise ModelUnavailableError("The name of the model is empty or has line breaks.", _names_hint())
    cards = known_models()
    word, _, revision = name.partition("@")
    card = cards.get(name) or cards.get(word)
    if card:
        return _reference_from_info(card, revision or None)
    return _reference_from_text(name, None)


def _reference_from_info(info: ModelInfo, revision: str | None) -> ModelReference:
    if info.bundled_folder:
        return ModelReference("bundled", info.name, str(info.bundled_folder), None, info)
    if info.builtin:
        return ModelReference("hub", info.name, info.source, _validate_revision(revision or info.revision), info)
    source = info.source if not (revision or info.revision) else f"{info.source}@{revision or info.revision}"
    found = _reference_from_text(source, info)
    return ModelReference(found.kind, info.name, found.target, found.revision, found.info)


def _reference_from_text(text: str, info: ModelInfo | None) -> ModelReference:
    path = Path(os.path.expanduser(text))  # noqa: PTH111 - Path.expanduser raises for an unknown ~user
    is_folder, is_file = os.path.isdir(path), os.path.isfile(path)  # noqa: PTH112, PTH113 - Path's raise for long names
    if path.suffix.lower() in PICKLE_SUFFIXES and not is_folder:
        reject_pickle(path)
    source, _, revision = text.partition("@")
    on_hub = bool(HUB_ID_PATTERN.fullmatch(source))
    if is_folder and ((path / "model_index.json").is_file() or not on_hub):
        if on_hub and cache.snapshot_folder(source, revision or None):
            hint = f"Write ./{text} for the folder, or {source}@main for the hub's model."
            raise ModelUnavailableError(f"{text!r} is both a folder here and a downloaded model.", hint)
        return ModelReference("folder", text, str(path), None, info)
    if is_file:
        return ModelReference("file", text, str(path), None, info)
    _check_encoding(text)
    if _looks_like_path(text):
        raise ModelUnavailableError(f"There is no model at {text!r}.", similar_names_hint(text))
    if on_hub:
        known = info or model_info(source)
        return ModelReference(
            "hub", source, source, _validate_revision(revision or (known.revision if known else None)), known
        )
    raise ModelUnavailableError(f"No model is called {text!r}.", similar_names_hint(text))


def _check_encoding(text: str) -> None:
    """Names of files may hold bytes that are no text; a name that no file has is a slip of the terminal's."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"The model's name {text!r} is not valid UTF-8.", _names_hint()) from None


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or "\\" in text or text.endswith(("/", ".safetensors", ".gguf"))


def _validate_revision(revision: str | None) -> str | None:
    if revision is not None and not REVISION_PATTERN.fullmatch(revision):
        raise ModelUnavailableError(f"{revision!r} cannot be a revision.", "Give a branch, a tag or a commit hash.")
    return revision


def similar_names_hint(text: str) -> str:
    """A hint with the names that come close: aliases, hub ids of aliases and of models in the cache."""
    known = {name.lower(): name for name in known_models()}
    known |= {card.source.lower(): card.source for card in builtin_models().values() if not card.bundled_folder}
    known |= {repo.lower(): repo for repo in cache.cached_repositories()}
    tails = {full.rpartition("/")[2]: known[full] for full in known}
    close = difflib.get_close_matches(text.lower()[:200], [*known, *tails], n=4, cutoff=0.6)
    found = dict.fromkeys(known.get(word) or tails[word] for word in close)
    return f"Did you mean {' or '.join(found)}? {_names_hint()}" if found else _names_hint()


def _names_hint() -> str:
    return "`artgen models list` shows the names; OWNER/NAME takes a model from the hub, ./FOLDER one from the disk."
