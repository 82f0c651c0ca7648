"""Read image files for the gallery: metadata, size, hash and thumbnail."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import ArtgenError
from artgen.image_history.entry import HistoryEntry, create_entry, utc_text
from artgen.images import load_image
from artgen.images.derived import is_derived
from artgen.images.text_mask import unpack_mask
from artgen.images.thumbnails import encode_thumbnail

FRAME_SUFFIXES = (".gif", ".webp", ".mp4")
"""Suffixes of animations of the intermediate steps beside an image."""

_FRAME_NAMES = ("{stem}{suffix}", "{stem}-frames{suffix}", "{stem}-steps{suffix}")


@dataclass(frozen=True)
class ScannedImage:
    """Store what the gallery needs of one image file.

    Attributes:
        entry: values of the metadata. `sha256` is empty if the file cannot be read.
        note: why the image cannot be shown, one sentence; empty otherwise.
        thumbnail: WebP file; None if the image cannot be decoded, and for an image of an earlier run.
        mask: WebP file of the mask that `mask_text` selected; None without.
        has_mask: whether the record contains this mask.
        stamp: sizes and times of the file and of its sidecar; equal values mean an unchanged file.
    """

    entry: HistoryEntry
    note: str = ""
    thumbnail: bytes | None = None
    mask: bytes | None = None
    has_mask: bool = False
    stamp: tuple[int, ...] = ()


def scan_image(path: Path) -> ScannedImage:
    """Read an image file. An unreadable or damaged file becomes an image with a note."""
    stamp = file_stamp(path)
    try:
        loaded = load_image(path)
    except ArtgenError as error:
        return ScannedImage(_empty_entry(path, stamp), error.message, stamp=stamp)
    record, note = _read_record(path)
    entry = create_entry(path, loaded.sha256, record, loaded.image.size)
    mask = recorded_mask(record, loaded.image.size)
    return ScannedImage(entry, note, encode_thumbnail(loaded.image, is_file=True), mask, mask is not None, stamp)


def _read_record(path: Path) -> tuple[Mapping[str, Any], str]:
    """Return the record, or the settings of another tool in artgen's names, and a note about damaged metadata."""
    try:
        found = metadata.read_metadata(path)
    except ArtgenError:
        return {}, ""
    except (OSError, ValueError) as error:
        return {}, f"The metadata cannot be read: {error}."
    return found.fields, ""


def recorded_mask(record: Mapping[str, Any], size: tuple[int, int]) -> bytes | None:
    """Return a small WebP file of the mask in a record, if it has the size of the image."""
    text = record.get("mask_data")
    if not isinstance(text, str):
        return None
    try:
        return encode_thumbnail(unpack_mask(text.rpartition(":")[2], size), is_file=True)
    except ArtgenError:
        return None


def _empty_entry(path: Path, stamp: tuple[int, ...]) -> HistoryEntry:
    return HistoryEntry(
        0, "", path.absolute(), utc_text(stamp[1]) if stamp else "", "", "", "", "", "", None, 0, 0, None
    )


def file_stamp(path: Path) -> tuple[int, ...]:
    """Return size and modification time in ns of a file and of its JSON sidecar; empty if the file does not exist."""
    try:
        status = path.stat()
    except OSError:
        return ()
    try:
        sidecar = metadata.sidecar_path(path).stat()
    except OSError:
        return status.st_size, status.st_mtime_ns
    return status.st_size, status.st_mtime_ns, sidecar.st_size, sidecar.st_mtime_ns


def find_frames(path: Path) -> Path | None:
    """Return the animation of the steps of an image: a file that artgen marked as derived, beside the image."""
    for suffix in FRAME_SUFFIXES:
        for name in _FRAME_NAMES:
            found = path.with_name(name.format(stem=path.stem, suffix=suffix))
            if found != path and os.path.isfile(found) and (suffix == ".mp4" or is_derived(found)):  # noqa: PTH113
                return found
    return None


def scanned_to_json(scanned: ScannedImage) -> dict[str, Any]:
    """Return an image for the state of a gallery, without the path and the pixels."""
    values = dataclasses.asdict(scanned.entry)
    del values["path"], values["rating"], values["tags"]
    return {"stamp": scanned.stamp, "note": scanned.note, "has_mask": scanned.has_mask, "entry": values}


def scanned_from_json(values: Mapping[str, Any], path: Path) -> ScannedImage:
    """Return an image of the state of a gallery.

    Raises:
        KeyError, TypeError: the values are damaged.
    """
    entry = HistoryEntry(path=path.absolute(), **values["entry"])
    return ScannedImage(entry, values["note"], has_mask=values["has_mask"], stamp=tuple(values["stamp"]))
