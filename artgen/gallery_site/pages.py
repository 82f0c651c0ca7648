"""Write a gallery of image files: one page with thumbnails, search and the settings of each image."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from artgen.gallery_site import folder as gallery_folder
from artgen.gallery_site.data import Links, describe, image_id, summarize
from artgen.gallery_site.folder import MASK_FOLDER, ORIGINAL_FOLDER, THUMBNAIL_FOLDER
from artgen.gallery_site.scan_files import (
    ScannedImage,
    file_stamp,
    find_frames,
    scan_image,
    scanned_from_json,
    scanned_to_json,
)
from artgen.system.files import wrap_write_errors, write_atomically
from artgen.system.temporary import temp_folder

MAX_THREADS = 8

Marks = tuple[int | None, tuple[str, ...]]
"""Rating and tags of an image."""


@dataclass(frozen=True)
class GalleryResult:
    """Describe a written gallery.

    Attributes:
        path: path of the page.
        images: number of images in the gallery.
        new: number of images of which a file was read in this run.
        removed: number of images of the last run that do not exist any more.
        without_record: number of images without generation metadata.
        damaged: files that cannot be read, each with the reason.
    """

    path: Path
    images: int
    new: int
    removed: int
    without_record: int
    damaged: Mapping[Path, str]


@dataclass(frozen=True)
class GalleryOptions:
    """Store the options of a gallery.

    Attributes:
        title: title of the page.
        copies: copy the original images into the gallery.
        marks: returns the rating and the tags of the image with a SHA-256.
        on_progress: called with the number of images that are ready.
    """

    title: str = "Gallery"
    copies: bool = False
    marks: Callable[[str], Marks] = lambda _: (None, ())
    on_progress: Callable[[int], object] = lambda _: None


def write_gallery(files: Sequence[Path], folder: Path, options: GalleryOptions) -> GalleryResult:
    """Write or update a gallery.

    Only new and changed files are read. Thumbnails have the hash of the image as their name.

    Args:
        files: image files. Files with equal content are shown once.
        folder: folder of the gallery; see `check_gallery_folder`.
        options: see `GalleryOptions`.

    Raises:
        OutputError: the folder contains other files, or cannot be written.
    """
    gallery_folder.check_gallery_folder(folder)
    known = gallery_folder.read_state(folder)
    gallery_folder.write_state(folder, known)  # an interrupted run leaves a gallery
    gallery_folder.write_assets(folder)
    images: dict[str, ScannedImage] = {}
    paths: dict[str, Path] = {}
    state: dict[str, Any] = {}
    num_new = number = 0
    try:
        for number, (path, image, is_new) in enumerate(_scan_files(files, folder, known), 1):
            key = _path_key(path)
            state[key] = scanned_to_json(image)
            identifier = image_id(image.entry.sha256) or key[:16]
            if identifier not in images:
                images[identifier], paths[identifier] = image, path
                num_new += is_new
            options.on_progress(number)
    finally:
        gallery_folder.write_state(folder, {**known, **state} if number < len(files) else state)
    order = sorted(images, key=lambda each: (images[each].entry.made_utc, paths[each]), reverse=True)
    links = {each: _links(each, paths[each], images[each], folder, copies=options.copies) for each in order}
    entries = {each: _with_marks(images[each], options.marks) for each in order}
    gallery_folder.write_data(
        folder,
        options.title,
        [summarize(entries[each], links[each]) for each in order],
        [describe(entries[each], links[each]) for each in order],
    )
    _remove_old_files(folder, images, links, copies=options.copies)
    return GalleryResult(
        folder / gallery_folder.PAGE,
        len(images),
        num_new,
        len({_known_id(key, known[key]) for key in known.keys() - state.keys()} - images.keys()),
        sum(not image.entry.record and not image.note for image in images.values()),
        {paths[each]: image.note for each, image in images.items() if image.note},
    )


def _scan_files(
    files: Sequence[Path], folder: Path, known: Mapping[str, Any]
) -> Iterator[tuple[Path, ScannedImage, bool]]:
    """Yield each file with its image, in order, and whether the file was read."""

    def scan(path: Path) -> tuple[Path, ScannedImage, bool]:
        earlier = _earlier_image(path, folder, known.get(_path_key(path)))
        if earlier is not None:
            return path, earlier, False
        image = scan_image(path)
        if image.thumbnail is not None:
            write_atomically(_thumbnail_path(folder, image), image.thumbnail)
        if image.mask is not None:
            write_atomically(folder / MASK_FOLDER / f"{image_id(image.entry.sha256)}.webp", image.mask)
        return path, dataclasses.replace(image, thumbnail=None, mask=None), True

    pool = ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1))
    try:
        yield from pool.map(scan, files)
    finally:
        pool.shutdown(cancel_futures=True)


def _earlier_image(path: Path, folder: Path, values: Any) -> ScannedImage | None:
    """Return the image of an earlier run; None if the file changed or its thumbnail is missing."""
    try:
        earlier = scanned_from_json(values, path) if values else None
    except (KeyError, TypeError):  # the state is damaged
        return None
    if earlier is None or earlier.stamp != file_stamp(path):
        return None
    is_complete = not earlier.entry.sha256 or _thumbnail_path(folder, earlier).is_file()
    return earlier if is_complete else None


def _known_id(key: str, values: Any) -> str:
    """Return the identifier of an image of an earlier run."""
    try:
        return image_id(values["entry"]["sha256"]) or key[:16]
    except (KeyError, TypeError):  # the state is damaged
        return key[:16]


def _with_marks(image: ScannedImage, marks: Callable[[str], Marks]) -> Any:
    rating, tags = marks(image.entry.sha256) if image.entry.sha256 else (None, ())
    return dataclasses.replace(image.entry, rating=rating, tags=tags)


def _links(identifier: str, path: Path, image: ScannedImage, folder: Path, *, copies: bool) -> Links:
    is_shown = bool(image.entry.sha256)
    frames = find_frames(path) if is_shown else None
    return Links(
        identifier,
        path.name,
        _address(path, folder, identifier if copies else "") if is_shown else "",
        f"{THUMBNAIL_FOLDER}/{identifier}.webp" if is_shown else "",
        path.name if copies else str(path),
        _address(frames, folder, identifier if copies else "") if frames else "",
        f"{MASK_FOLDER}/{identifier}.webp" if image.has_mask else "",
        image.note,
    )


def _address(path: Path, folder: Path, copy_folder: str) -> str:
    """Return the address of a file relative to the page. Copy the file first, if `copy_folder` is not empty."""
    if copy_folder:
        target = folder / ORIGINAL_FOLDER / copy_folder / path.name
        _copy(path, target)
        return quote(os.fsencode(target.relative_to(folder)))
    try:
        return quote(os.fsencode(os.path.relpath(path, folder)))
    except ValueError:  # another drive of Windows
        return path.absolute().as_uri()


def _copy(path: Path, target: Path) -> None:
    """Copy a file atomically, if the copy is missing or older."""
    with wrap_write_errors(target):
        status = path.stat()
        if target.is_file() and (target.stat().st_size, target.stat().st_mtime_ns) == (
            status.st_size,
            status.st_mtime_ns,
        ):
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with temp_folder(target.parent) as temporary:
            shutil.copy2(path, temporary / path.name)
            (temporary / path.name).replace(target)


def _remove_old_files(
    folder: Path, images: Mapping[str, ScannedImage], links: Mapping[str, Links], *, copies: bool
) -> None:
    """Remove thumbnails, masks and copies of images that are not in the gallery any more."""
    gallery_folder.remove_others(folder / THUMBNAIL_FOLDER, [f"{each}.webp" for each in images])
    gallery_folder.remove_others(folder / MASK_FOLDER, [f"{each}.webp" for each in links if links[each].mask])
    gallery_folder.remove_others(folder / ORIGINAL_FOLDER, images if copies else ())


def _thumbnail_path(folder: Path, image: ScannedImage) -> Path:
    return folder / THUMBNAIL_FOLDER / f"{image_id(image.entry.sha256)}.webp"


def _path_key(path: Path) -> str:
    """Return the key of a file in the state: a hash, because a published gallery must not contain private paths."""
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:32]
