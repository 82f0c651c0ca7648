"""Represent the files that a client uploads. Their content stays in memory, and no file of the server is named."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import MappingProxyType
from typing import Any, NamedTuple

from artgen.errors import ArtgenError, UsageError
from artgen.images import check_image
from artgen.spec.fields import describe_value
from artgen.system.memory_file import MemoryFile, name_in_memory
from artgen.system.terminal import printable

PREFIX = "upload:"
"""Start of a value that names an uploaded file: `upload:NAME`."""

MAX_NAME_CHARS = 100

_FOLDERS = re.compile(
    r"(?<=')(?:[A-Za-z]:|~)?[\\/](?:[^\\/'\n]*[\\/])*(?=[^\\/'\n])"  # in quotes, a folder may contain spaces
    r"|(?<![\w:/.~<>'-])(?:[A-Za-z]:|~)?[\\/](?:[^\\/'\"\n<>\s]*[\\/])+(?=[^\\/'\"\s])"
)
"""Folders of absolute paths of the server in a message."""

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class Upload(NamedTuple):
    """Store an uploaded file.

    Attributes:
        file_name: name that the client sent, untrusted; the record of the image contains its last part.
        content: bytes of the file.
    """

    file_name: str
    content: bytes


NO_UPLOADS: Mapping[str, Upload] = MappingProxyType({})
"""Uploads of a request without files."""


class UploadedFiles:
    """Convert `upload:NAME` to files in memory. The files exist as long as this object."""

    def __init__(self, uploads: Mapping[str, Upload]) -> None:
        self._files = {
            name: MemoryFile.create(safe_name(each.file_name), each.content) for name, each in uploads.items()
        }
        self._used: set[str] = set()
        self._names: dict[str, str] = {}

    def check(self, max_pixels: int) -> None:
        """Check that each file is an image, before its pixels are decoded.

        Raises:
            InputFileError: a file is not an image, is damaged, or has more pixels than `max_pixels`.
        """
        for file in self._files.values():
            check_image(file.content or b"", file, max_pixels)

    @property
    def num_bytes(self) -> int:
        """Return the size of all files in bytes."""
        return sum(len(file.content or b"") for file in self._files.values())

    @property
    def unused(self) -> list[str]:
        """Return the names of the files that no setting has named."""
        return [name for name in self._files if name not in self._used]

    @property
    def known_paths(self) -> list[Path]:
        """Return the paths by which texts name files, such as the values of `control`."""
        return [Path(name) for name in self._names]

    def contains(self, path: Path) -> bool:
        """Return whether a path is an uploaded file that a setting has named."""
        return isinstance(path, MemoryFile) or str(path) in self._names

    def find(self, setting: str, value: object) -> MemoryFile:
        """Return the file that a value names.

        Raises:
            UsageError: the value is not `upload:NAME`, or the request contains no file of this name.
        """
        if not isinstance(value, str) or not value.startswith(PREFIX):
            raise UsageError(
                f"Cannot use {describe_value(value)} as {setting}: the server accepts only uploaded files.",
                f'"{setting}": "upload:NAME", and the file as the part NAME of a multipart/form-data request',
            )
        name = value.removeprefix(PREFIX)
        if name not in self._files:
            raise UsageError(
                f"Cannot use {describe_value(value)} as {setting}: the request contains no file of this name.",
                "Send the file as a part of a multipart/form-data request with this name.",
            )
        self._used.add(name)
        return self._files[name]

    def text(self, setting: str, value: str) -> str:
        """Return a text that names the file of `upload:NAME`, for settings that are texts.

        Raises:
            UsageError: see `find`.
        """
        file = self.find(setting, value)
        internal = name_in_memory(file)
        self._names[internal] = file.name
        return internal

    def with_names(self, text: str) -> str:
        """Return a text for the client: with the names that it sent in place of internal names, without folders."""
        for internal, name in self._names.items():
            text = text.replace(internal, name)
        return _FOLDERS.sub("", text)

    def with_names_in(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return a record in which the internal names of the files are replaced by the names that the client sent."""
        return {key: self._replace(value) for key, value in record.items()} if self._names else dict(record)

    def _replace(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [self._replace(item) for item in value]
        return self.with_names(value) if isinstance(value, str) else value

    @contextlib.contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Replace the internal names of the files in the errors of the block."""
        try:
            yield
        except ArtgenError as error:
            error.message, error.hint = self.with_names(error.message), self.with_names(error.hint)
            raise

    def text_path(self, setting: str, value: str) -> Path:
        """Return `text` as a path, for the parts of `control` and `image_prompt`."""
        return Path(self.text(setting, value))


def is_upload_name(name: str) -> bool:
    """Return whether a name can be used in `upload:NAME`."""
    return bool(_NAME.fullmatch(name))


def safe_name(file_name: str) -> str:
    """Return the last part of a file name of a client without control characters; `upload` if nothing is left."""
    last = PureWindowsPath(PurePosixPath(file_name.replace("\0", "")).name).name
    text = printable(last).strip().replace("/", "_").replace("\\", "_")[-MAX_NAME_CHARS:]
    return text if text not in ("", ".", "..", "-") else "upload"
