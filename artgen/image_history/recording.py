"""Enter saved images in the history. An error of the history never fails a command.

The history stays open until the next command of the process. If images have no entry, one note per command has the
reason.
"""

import contextlib
import hashlib
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from artgen.errors import ArtgenError
from artgen.spec.shared_config import history_is_on
from artgen.system.command_state import register_reset

if TYPE_CHECKING:
    from artgen.image_history.database import History

_SECONDS_ATTRIBUTE = "user.artgen.seconds"
"""Extended attribute of an image file with the duration of its generation, from which a scan reads it."""


@dataclass(frozen=True)
class SavedFile:
    """Describe an image file that was saved.

    Attributes:
        path: path of the file.
        data: content of the file.
        image: pixels of the file, any mode.
        record: record in the file or in its JSON sidecar.
        seconds: duration of the generation in seconds, or None.
    """

    path: Path
    data: bytes
    image: Image.Image
    record: Mapping[str, Any]
    seconds: float | None


def enter_image(saved: SavedFile, enabled: bool | None = None) -> None:
    """Enter an image in the history. If this fails, `take_note` returns the reason.

    Args:
        saved: the image.
        enabled: value of the setting `history`; None uses the environment and the configuration files.
    """
    try:
        if history_is_on() if enabled is None else enabled:
            with _writer.lock:
                _writer.enter(saved)
    except ArtgenError as error:  # a configuration file is damaged, or the history cannot be written
        _writer.set_note(error)
    except Exception as error:  # the image is saved already
        _writer.set_note(ArtgenError(f"The history cannot be written: {type(error).__name__}: {error}."))


def take_note() -> str:
    """Return the note about images without an entry, once per command; otherwise an empty text."""
    return _writer.take_note()


def set_seconds(path: Path, seconds: float | None) -> None:
    """Store the duration of the generation of an image in an extended attribute, if the file system supports it."""
    if seconds is not None:
        with contextlib.suppress(OSError, AttributeError):
            os.setxattr(path, _SECONDS_ATTRIBUTE, f"{seconds:.3f}".encode())


def stored_seconds(path: Path) -> float | None:
    """Return the duration that `set_seconds` stored, or None."""
    try:
        seconds = float(os.getxattr(path, _SECONDS_ATTRIBUTE))
    except (OSError, AttributeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


class _Writer:
    """Keep the history open for the images of one command."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._history: History | None = None
        self._process_id = os.getpid()
        self._failed: tuple[Path, tuple[int, int] | None] | None = None
        self._note = ""
        self._is_noted = False

    def enter(self, saved: SavedFile) -> None:
        """Add the entry of an image.

        Raises:
            InputFileError: The file is damaged, or a newer version of artgen or another program wrote it.
            OutputError: The file is locked, or it cannot be read or written.
            OSError: The image file was removed.
        """
        from artgen.image_history.connection import ENTRY_BUSY_SECONDS, HistoryLockedError, history_path
        from artgen.image_history.database import open_history
        from artgen.image_history.entry import create_entry
        from artgen.image_history.sqlite_file import file_id
        from artgen.images.thumbnails import encode_thumbnail

        set_seconds(saved.path, saved.seconds)
        if os.getpid() != self._process_id:  # a forked process must not use the connection of its parent
            self._history, self._process_id = None, os.getpid()
        path = history_path()
        if (path, file_id(path)) == self._failed:
            return
        if self._history is not None and not self._history.is_current:  # deleted or replaced
            self._history.abandon()
            self._history = None
        if self._history is None or self._history.path != path:
            self.close()
            try:
                self._history = open_history(path, busy_seconds=ENTRY_BUSY_SECONDS)
            except HistoryLockedError:
                raise
            except ArtgenError:
                self._failed = path, file_id(path)  # the same error would occur for each image
                raise
        sha256 = hashlib.sha256(saved.data).hexdigest()
        entry = create_entry(saved.path, sha256, saved.record, saved.image.size, saved.seconds)
        self._history.add(entry, len(saved.data), encode_thumbnail(saved.image))

    def set_note(self, error: ArtgenError) -> None:
        """Keep the note about an error, unless a note was taken already."""
        with self.lock:
            if not self._is_noted and not self._note:
                hint = "" if "scan" in error.hint else " Add the images later with: artgen history scan FOLDER"
                self._note = f"Images are saved, but not entered in the history. {error.message} {error.hint}{hint}"

    def take_note(self) -> str:
        with self.lock:
            note, self._note = self._note, ""
            self._is_noted = self._is_noted or bool(note)
            return note

    def close(self) -> None:
        """Close the history."""
        with contextlib.suppress(ArtgenError):
            if self._history is not None:
                self._history.close()
        self._history = None

    def reset(self) -> None:
        """Close the history at the end of a command."""
        with self.lock:
            self.close()
            self._failed, self._note, self._is_noted = None, "", False


_writer = _Writer()
register_reset(_writer.reset)
