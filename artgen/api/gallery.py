"""Write a gallery: a page with images, their settings and a search, which needs no server."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.gallery_site.folder import check_gallery_folder
from artgen.gallery_site.pages import GalleryOptions, GalleryResult, Marks, write_gallery
from artgen.spec.python_text import for_python
from artgen.spec.python_values import path_text
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.api.image_lists import ImagesInput

DEFAULT_FOLDER = "gallery"
MAX_TITLE_CHARS = 200


def gallery(
    images: "ImagesInput | None" = None,
    folder: "str | os.PathLike[str]" = DEFAULT_FOLDER,
    *,
    title: str | None = None,
    copy: bool = False,
    history: bool = False,
) -> GalleryResult:
    """Write or update a gallery: a page with images, their settings and a search, which needs no server.

    A later call with the same folder reads only new and changed images.

    Args:
        images: path or folder, or a list of them. None with `history`.
        folder: folder of the gallery. It must be new, empty, or a gallery.
        title: title of the page. [the name of the folder of the images]
        copy: copy the images into the gallery, so that the folder can be published.
        history: show all images of the history whose files exist.

    Returns:
        A result with the attributes `path` (the page), `images`, `new`, `removed`, `without_record` and `damaged`.

    Raises:
        UsageError: neither images nor history, or both.
        InputFileError: a path does not exist, or a folder contains no images.
        OutputError: the folder contains other files, or cannot be written.
    """
    with for_python():
        target = Path(path_text(folder, "folder", DEFAULT_FOLDER))
        paths = [] if images is None else _paths(images)
        return create_gallery(paths, target, title=title, copy=copy, history=history)


def create_gallery(
    paths: Sequence[Path],
    folder: Path,
    *,
    title: str | None = None,
    copy: bool = False,
    history: bool = False,
    on_note: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[int, int], object] = lambda *_: None,
) -> GalleryResult:
    """Write or update a gallery. See `gallery`.

    Args:
        paths: images and folders; empty with `history`.
        folder: folder of the gallery.
        title: title of the page; None: the name of the first folder.
        copy: copy the images into the gallery.
        history: show the images of the history instead.
        on_note: receives a note about skipped files.
        on_progress: called with the number of images that are ready, and the number of all images.
    """
    if history == bool(paths):
        raise UsageError(
            "A gallery shows either images and folders or the history.",
            "artgen gallery outputs/, or: artgen gallery --history",
        )
    if title is not None and not (title.strip() and len(title) <= MAX_TITLE_CHARS):
        raise UsageError(f"The title must have 1 to {MAX_TITLE_CHARS} characters.", "--title 'My images'")
    check_gallery_folder(folder)
    with _open_history() as (find_marks, history_files):
        files = history_files() if history else _find_files(paths, folder, on_note)
        if not files:
            raise InputFileError("The history contains no image whose file exists.", "artgen history scan FOLDER")
        options = GalleryOptions(
            title or ("History" if history else _folder_title(paths[0])),
            copy,
            find_marks,
            lambda number: on_progress(number, len(files)),
        )
        return write_gallery(files, folder, options)


def result_note(result: GalleryResult) -> str:
    """Return a sentence about a written gallery."""
    parts = [f"{counted(result.images, 'image')}", f"{result.new:,} new or changed"]
    parts += [f"{result.removed:,} removed"] if result.removed else []
    parts += [f"{result.without_record:,} without a record"] if result.without_record else []
    return f"Gallery: {', '.join(parts)}."


def _find_files(paths: Sequence[Path], folder: Path, on_note: Callable[[str], None]) -> list[Path]:
    from artgen.images import iter_images
    from artgen.images.folders import GALLERY
    from artgen.system.files import missing_file_error

    for path in paths:
        if not os.path.lexists(path):
            raise missing_file_error(path)
    excluded = {folder: GALLERY} if folder.is_dir() else {}
    found = (path for path, _ in iter_images(paths, excluded=excluded, on_note=on_note))
    return list(dict.fromkeys(found))


@contextlib.contextmanager
def _open_history() -> Iterator[tuple[Callable[[str], Marks], Callable[[], list[Path]]]]:
    """Yield functions that return the marks of a hash, and the files of the history. A gallery needs no history."""
    from artgen.image_history.database import open_existing_history

    try:
        opened = open_existing_history()
    except ArtgenError:
        opened = None
    if opened is None:
        yield lambda _: (None, ()), list
        return

    def find_marks(sha256: str) -> Marks:
        entry = next(iter(opened.find_sha256(sha256)), None)
        return (entry.rating, entry.tags) if entry else (None, ())

    with opened:
        yield find_marks, lambda: [path for path in opened.paths() if os.path.isfile(path)]  # noqa: PTH113


def _folder_title(path: Path) -> str:
    folder = path if path.is_dir() else path.parent
    return folder.absolute().name or "Gallery"


def _paths(images: "ImagesInput") -> list[Path]:
    is_path = isinstance(images, str | os.PathLike)
    items = [images] if is_path else list(images)  # type: ignore[arg-type]
    if not items:
        raise UsageError("The list of images is empty.", 'For example: ["fox.png"].')
    return [Path(path_text(each, "images", "outputs/")) for each in items]
