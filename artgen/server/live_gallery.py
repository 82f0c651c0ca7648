"""Show the history as a gallery at `/`. The page is read-only: it generates, rates and changes nothing.

The data are JSON, which scripts of other sites cannot read. Originals are served only for entries of the history, and
only if the file has the recorded hash.
"""

import os
import re
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route

from artgen.gallery_site.data import ID_CHARS, Links, describe, image_id, summarize
from artgen.gallery_site.folder import DATA_FOLDER, PAGE, SUMMARIES_PER_FILE, asset_files
from artgen.gallery_site.scan_files import find_frames, recorded_mask
from artgen.image_history.database import History, open_existing_history
from artgen.image_history.entry import HistoryEntry
from artgen.images.thumbnails import thumbnail_type
from artgen.server.errors import NOT_FOUND, HttpError

IMAGE_TYPES: Mapping[str, str] = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
}
"""Types of the files that are served, by suffix."""

_ASSET_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}
_PAGE_CSP = (
    "default-src 'none'; img-src 'self' data:; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_STATIC_STYLE, _LIVE_STYLE = b"style-src 'self';", b"style-src 'self'; connect-src 'self';"
_NEVER_STORED = {"Cache-Control": "no-store", "Cross-Origin-Resource-Policy": "same-origin"}
_UNCHANGING = {
    "Cache-Control": "private, max-age=31536000, immutable",  # the address contains the hash
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_ID_PATTERN = re.compile(rf"[0-9a-f]{{{ID_CHARS}}}")


def gallery_routes(open_history: Callable[[], History | None] = open_existing_history) -> list[BaseRoute]:
    """Return the routes of the live page.

    Args:
        open_history: opens the history; None if it does not exist yet.
    """
    pages = _LivePages(open_history)
    data = f"/{DATA_FOLDER}/data"
    return [
        Route("/", pages.show_page),
        Route(f"{data}/config.js", pages.show_start),
        Route(f"{data}/config.json", pages.show_config),
        Route(f"{data}/entries-{{page:int}}.json", pages.show_entries),
        Route(f"{data}/details-{{id}}.json", pages.show_details),
        Route(f"/{DATA_FOLDER}/thumbnails/{{id}}", pages.show_thumbnail),
        Route(f"/{DATA_FOLDER}/masks/{{id}}.webp", pages.show_mask),
        Route(f"/{DATA_FOLDER}/images/{{id}}", pages.show_image),
        Route(f"/{DATA_FOLDER}/frames/{{id}}", pages.show_frames),
        Route(f"/{DATA_FOLDER}/{{name}}", pages.show_asset),
    ]


class _LivePages:
    """Answer the requests of the page. Starlette runs the methods in threads."""

    def __init__(self, open_history: Callable[[], History | None]) -> None:
        self._open_history = open_history
        self._history: History | None = None
        self._lock = threading.Lock()

    def show_page(self, request: Request) -> Response:  # noqa: ARG002
        """Return the page of the static gallery; only this page may load JSON."""
        page = asset_files()[PAGE].replace(_STATIC_STYLE, _LIVE_STYLE)
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _PAGE_CSP, **_NEVER_STORED})

    def show_asset(self, request: Request) -> Response:
        """Return the style sheet or a script."""
        name = request.path_params["name"]
        data = asset_files().get(name)
        if data is None or name == PAGE:
            raise HttpError(NOT_FOUND, "The file does not exist.")
        return Response(data, media_type=_ASSET_TYPES[Path(name).suffix], headers={"Cache-Control": "no-cache"})

    def show_start(self, request: Request) -> Response:  # noqa: ARG002
        """Return the script that starts the page. It contains no data: scripts of all sites can load it."""
        return Response(b"gallery.start({live: true});\n", media_type="text/javascript", headers=_NEVER_STORED)

    def show_config(self, request: Request) -> Response:  # noqa: ARG002
        """Return the number of entries. Pages of entries that are requested later ignore newer entries."""
        history = self._opened()
        ids = history.newest_ids() if history else []
        values = {"title": "artgen", "count": len(ids), "perPage": SUMMARIES_PER_FILE, "last": max(ids, default=0)}
        return JSONResponse(values, headers=_NEVER_STORED)

    def show_entries(self, request: Request) -> Response:
        """Return the summaries of one page of entries, newest first."""
        last = request.query_params.get("last", "")
        start = request.path_params["page"] * SUMMARIES_PER_FILE
        history = self._opened()
        ids = history.newest_ids(int(last) if last.isdecimal() and len(last) < 19 else None) if history else []
        entries = history.entries(ids[start : start + SUMMARIES_PER_FILE]) if history else []
        return JSONResponse([summarize(each, _links(each)) for each in entries], headers=_NEVER_STORED)

    def show_details(self, request: Request) -> Response:
        """Return the settings and the commands of one image."""
        _, entry = self._entry(request)
        return JSONResponse([describe(entry, _links(entry, with_files=True))], headers=_NEVER_STORED)

    def show_thumbnail(self, request: Request) -> Response:
        """Return the thumbnail in the history."""
        history, entry = self._entry(request)
        return _thumbnail(history.thumbnail(entry.id))

    def show_mask(self, request: Request) -> Response:
        """Return the mask in the record."""
        _, entry = self._entry(request)
        return _thumbnail(recorded_mask(entry.record, (entry.width, entry.height)))

    def show_image(self, request: Request) -> Response:
        """Return the original file, if it exists with the recorded hash."""
        return _file(self._file(request))

    def show_frames(self, request: Request) -> Response:
        """Return the animation of the steps beside the original file."""
        path = self._file(request)
        return _file(find_frames(path) if path else None)

    def _opened(self) -> History | None:
        with self._lock:
            if self._history is not None and not self._history.is_current:  # deleted or replaced
                self._history.abandon()
                self._history = None
            if self._history is None:
                self._history = self._open_history()
            return self._history

    def _entry(self, request: Request) -> tuple[History, HistoryEntry]:
        history = self._opened()
        identifier = request.path_params["id"]
        found = history.find_sha256(identifier) if history and _ID_PATTERN.fullmatch(identifier) else []
        if not found or history is None:
            raise HttpError(NOT_FOUND, "The image is not in the history.")
        return history, found[0]

    def _file(self, request: Request) -> Path | None:
        history, entry = self._entry(request)
        return history.find_file(entry)


def _links(entry: HistoryEntry, *, with_files: bool = False) -> Links:
    """Return the addresses of an entry.

    Args:
        entry: entry of the history.
        with_files: look for the animation beside the image file.
    """
    identifier = image_id(entry.sha256)
    frames = find_frames(entry.path) if with_files else None
    return Links(
        identifier,
        entry.path.name,
        f"{DATA_FOLDER}/images/{identifier}",
        f"{DATA_FOLDER}/thumbnails/{identifier}",
        f"history:{entry.id}",
        f"{DATA_FOLDER}/frames/{identifier}?name={quote(os.fsencode(frames.name))}" if frames else "",
        f"{DATA_FOLDER}/masks/{identifier}.webp" if "mask_data" in entry.record else "",
    )


def _thumbnail(data: bytes | None) -> Response:
    if data is None:
        raise HttpError(NOT_FOUND, "The image has no thumbnail.")
    return Response(data, media_type=thumbnail_type(data), headers=_UNCHANGING)


def _file(path: Path | None) -> Response:
    media_type = IMAGE_TYPES.get(path.suffix.lower()) if path else None
    if path is None or media_type is None:
        raise HttpError(NOT_FOUND, "The file of the image does not exist, or it is not an image that browsers show.")
    return FileResponse(path, media_type=media_type, headers=_UNCHANGING)
