"""Read and write the folder of a gallery: its state, its fixed files and its data."""

import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import artgen
from artgen.errors import OutputError
from artgen.system.external_data import parse_json, read_optional
from artgen.system.files import wrap_write_errors, write_atomically

ASSETS_FOLDER = Path(artgen.__file__).parent / "assets" / "gallery"
PAGE = "index.html"
DATA_FOLDER = "gallery"
"""Folder beside the page that contains everything else that artgen writes."""

STATE_FILE = f"{DATA_FOLDER}/state.json"
THUMBNAIL_FOLDER = f"{DATA_FOLDER}/thumbnails"
MASK_FOLDER = f"{DATA_FOLDER}/masks"
ORIGINAL_FOLDER = "images"
"""Folder of the copies of the images with `--copy`."""

STATE_VERSION = 1
SUMMARIES_PER_FILE = 2000
DETAILS_PER_FILE = 100

OWN_NAMES = re.compile(r"(entries|details)-\d+\.js|config\.js|[0-9a-f]{16}(\.webp)?")
"""Names of the files and folders that an update may remove. Other files in a gallery are not changed."""

_MAX_STATE_BYTES = 1 << 30


def check_gallery_folder(folder: Path) -> None:
    """Check that a folder is a gallery, is empty, or does not exist.

    Raises:
        OutputError: the folder contains other files, is a file, or cannot be read.
    """
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise OutputError(f"Cannot write the gallery to '{folder}': it is not a folder.", "Use a folder: -o gallery/")
    with wrap_write_errors(folder):
        is_empty = next(folder.iterdir(), None) is None
    if not is_empty and not (folder / STATE_FILE).is_file():
        raise OutputError(
            f"Cannot write the gallery to '{folder}': the folder contains files that are not of a gallery.",
            "Use a new folder: -o gallery/",
        )


def read_state(folder: Path) -> Mapping[str, Any]:
    """Return the images of the last run by key; empty for a new or damaged gallery."""
    data = read_optional(folder / STATE_FILE, _MAX_STATE_BYTES)
    try:
        state = parse_json(data.decode()) if data else None
    except ValueError:
        return {}
    is_known = isinstance(state, dict) and state.get("version") == STATE_VERSION
    files = state.get("files") if is_known and isinstance(state, dict) else None
    return files if isinstance(files, dict) else {}


def write_state(folder: Path, files: Mapping[str, Any]) -> None:
    """Write the images of this run. The file also marks the folder as a gallery."""
    _write_json(folder / STATE_FILE, {"version": STATE_VERSION, "files": files})


def write_assets(folder: Path) -> None:
    """Write the page, the style sheet and the scripts, if they differ."""
    for name, data in asset_files().items():
        _write_if_changed(folder / (PAGE if name == PAGE else f"{DATA_FOLDER}/{name}"), data)


@cache
def asset_files() -> Mapping[str, bytes]:
    """Return the fixed files of the page by name."""
    return {path.name: path.read_bytes() for path in sorted(ASSETS_FOLDER.iterdir()) if path.is_file()}


def write_data(
    folder: Path, title: str, summaries: Sequence[Mapping[str, Any]], details: Sequence[Mapping[str, Any]]
) -> None:
    """Write the data as scripts, which also load from a file system, and remove the files of a larger gallery.

    Args:
        folder: folder of the gallery.
        title: title of the page.
        summaries: results of `summarize`, in the order of the page.
        details: results of `describe`, in the same order.
    """
    written = {"config.js"}
    for kind, items, size in (("entries", summaries, SUMMARIES_PER_FILE), ("details", details, DETAILS_PER_FILE)):
        for number, chunk in enumerate(_chunks(items, size)):
            written.add(f"{kind}-{number}.js")
            text = f"gallery.receive({json.dumps(kind)}, {number}, {_json(chunk)});\n"
            _write_if_changed(folder / DATA_FOLDER / "data" / f"{kind}-{number}.js", text.encode())
    config = {"title": title, "count": len(summaries), "perPage": SUMMARIES_PER_FILE, "perDetails": DETAILS_PER_FILE}
    _write_if_changed(folder / DATA_FOLDER / "data" / "config.js", f"gallery.start({_json(config)});\n".encode())
    remove_others(folder / DATA_FOLDER / "data", written)


def remove_others(folder: Path, names: Iterable[str]) -> None:
    """Remove the files and folders with a name of `OWN_NAMES` that are not in `names`. A linked folder is not entered.

    Raises:
        OutputError: a file cannot be removed.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    kept = set(names)
    with wrap_write_errors(folder):
        for path in list(folder.iterdir()):
            if path.name in kept or not OWN_NAMES.fullmatch(path.name):
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _chunks(items: Sequence[Mapping[str, Any]], size: int) -> list[Sequence[Mapping[str, Any]]]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _json(value: object) -> str:
    """Return JSON in ASCII, which is also JavaScript."""
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _write_json(path: Path, value: object) -> None:
    write_atomically(path, _json(value).encode())


def _write_if_changed(path: Path, data: bytes) -> None:
    try:
        if path.read_bytes() == data:
            return
    except OSError:
        pass
    write_atomically(path, data)
