"""List and clear artgen's cache: data that artgen creates again when it needs them."""

import contextlib
import dataclasses
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from artgen.errors import UsageError
from artgen.registry import openvino_cache
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python
from artgen.system.cache_folders import remove_cache_folder
from artgen.system.files import wrap_write_errors
from artgen.system.paths import user_cache_folder
from artgen.system.temporary import clean_stale

CONVERTED_MODELS = "openvino"
INCOMPLETE = "incomplete"
SHOWN_KEY_DIGITS = 12

_FOLDERS = {
    "configs": "configurations of single-file models",
    "combined": "links to the parts of models that consist of two downloads",
    "headers": "headers of model files on the hub",
    "inductor": "code that torch.compile generated",
}
_FILES = {
    "hashes": (("hashes.json",), "SHA-256 of model files"),
    "times": (("load-times.json", "history.json"), "measured times and batch sizes"),
}


@dataclass(frozen=True)
class CacheEntry:
    """Describe an entry of the cache.

    Attributes:
        name: name for `clear_cache` and `artgen cache clear`.
        kind: `openvino` for a model that `--acceleration openvino` converted; else the name.
        contents: description.
        model: name of the converted model; null for other entries.
        size_bytes: size on the disk in bytes.
        last_used: date and time of the last use, or of the last change, in UTC and ISO format.
    """

    name: str
    kind: str
    contents: str
    model: str | None
    size_bytes: int
    last_used: str


@dataclass(frozen=True)
class ClearedCache:
    """Describe what was deleted.

    Attributes:
        cleared: names of the deleted entries.
        in_use: names of the entries that were kept, because a running process of artgen uses them.
        freed_bytes: size of the deleted entries in bytes.
    """

    cleared: tuple[str, ...]
    in_use: tuple[str, ...]
    freed_bytes: int


def list_cache() -> list[CacheEntry]:
    """Return the entries of artgen's cache: converted models first, the last used first.

    The cache does not contain downloaded models, which `list_models` lists.
    """
    entries = [
        CacheEntry(
            name=found.key[:SHOWN_KEY_DIGITS],
            kind=CONVERTED_MODELS,
            contents=f"{'compiled ' if found.outputs else ''}{found.denoiser} of '{found.model}' in "
            f"{found.precision}, for OpenVINO {found.openvino}",
            model=found.model,
            size_bytes=found.size_bytes,
            last_used=_time_text(found.last_used),
        )
        for found in openvino_cache.list_models()
    ]
    entries += (
        dataclasses.replace(entry, kind=CONVERTED_MODELS)
        for entry in _entry(INCOMPLETE, "unfinished and damaged converted models", openvino_cache.incomplete_files())
    )
    for name, contents in _FOLDERS.items():
        entries += _entry(name, contents, _files_in(user_cache_folder() / name))
    for name, (files, contents) in _FILES.items():
        entries += _entry(name, contents, (user_cache_folder() / file for file in files))
    return entries


@for_python()
def clear_cache(*names: str) -> ClearedCache:
    """Delete entries of artgen's cache, without confirmation. artgen creates them again when it needs them.

    The entries `configs`, `combined`, `headers` and `inductor` are kept while a process
    of artgen uses them.

    Args:
        names: names of entries, names of kinds, or names of models that were converted. Without names: all entries.

    Raises:
        UsageError: a name is not in the cache.
        OutputError: an entry cannot be deleted.
    """
    return clear_entries(select_entries(names))


def select_entries(names: Sequence[str]) -> list[CacheEntry]:
    """Return the entries with some names, in the order of `list_cache`; all entries without names.

    Args:
        names: names of entries, kinds or models.

    Raises:
        UsageError: a name is not in the cache.
    """
    entries = list_cache()
    known = [CONVERTED_MODELS, *_FOLDERS, *_FILES]
    known += [text for entry in entries for text in (entry.name, entry.model) if text is not None]
    for name in names:
        if not isinstance(name, str) or name not in known:
            from artgen.spec.synonyms import similar_names

            close = similar_names(name, known) if isinstance(name, str) else []
            hint = f"Did you mean '{close[0]}'?" if close else "`artgen cache list` shows the names."
            raise UsageError(f"The cache has no entry {describe_value(name)}.", hint)
    return [entry for entry in entries if not names or {entry.name, entry.kind, entry.model} & {*names}]


def clear_entries(entries: Sequence[CacheEntry]) -> ClearedCache:
    """Delete entries of `list_cache`. See `clear_cache`."""
    clean_stale(user_cache_folder())
    keys = {entry.name for entry in entries if entry.kind == CONVERTED_MODELS}
    removed = [found.key for found in openvino_cache.list_models() if found.key[:SHOWN_KEY_DIGITS] in keys]
    if INCOMPLETE in keys:
        removed += [path.stem for path in openvino_cache.incomplete_files()]
    openvino_cache.remove_models(removed)
    cleared = [entry for entry in entries if entry.name in keys or _remove(entry.name)]
    return ClearedCache(
        tuple(entry.name for entry in cleared),
        tuple(entry.name for entry in entries if entry not in cleared),
        sum(entry.size_bytes for entry in cleared),
    )


def _remove(name: str) -> bool:
    """Delete a folder or the files with a name. Return False if a process uses the folder."""
    if name in _FOLDERS:
        return remove_cache_folder(name)
    for file in _FILES[name][0]:
        path = user_cache_folder() / file
        with wrap_write_errors(path):
            path.unlink(missing_ok=True)
    return True


def _entry(name: str, contents: str, paths: Iterable[Path]) -> Iterator[CacheEntry]:
    """Yield the entry of some files; nothing if none of them exists."""
    sizes, times = 0, []
    for path in paths:
        with contextlib.suppress(OSError):
            status = path.lstat()
            # A header file has the size of the complete model and few blocks.
            sizes += getattr(status, "st_blocks", status.st_size // 512) * 512
            times.append(status.st_mtime)
    if times:
        yield CacheEntry(name, name, contents, None, sizes, _time_text(max(times)))


def _files_in(folder: Path) -> Iterator[Path]:
    """Yield the files and links in a folder and its subfolders. Links are not followed."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in files)
        yield from (path for name in folders if (path := Path(parent, name)).is_symlink())


def _time_text(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
