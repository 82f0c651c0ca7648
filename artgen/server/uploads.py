"""Represent the files that a client uploads. Their content stays in memory, and no file of the server is named."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError
from artgen.spec.fields import describe_value
from artgen.system.memory_file import MemoryFile, name_in_memory
from artgen.system.terminal import printable

PREFIX = "upload:"
"""Start of a value that names an uploaded file: `upload:NAME`."""

MAX_NAME_CHARS = 100

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class Upload(NamedTuple):
    """Store an uploaded file.

    Attributes:
        file_name: name that the client sent, untrusted; the record of the image contains its last part.
        content: bytes of the file.
    """

    file_name: str
    content: bytes


class UploadedFiles:
    """Convert `upload:NAME` to files in memory. The files exist as long as this object."""

    def __init__(self, uploads: Mapping[str, Upload]) -> None:
        self._files = {
            name: MemoryFile.create(safe_name(each.file_name), each.content) for name, each in uploads.items()
        }
        self._used: set[str] = set()

    @property
    def num_bytes(self) -> int:
        """Return the size of all files in bytes."""
        return sum(len(file.content or b"") for file in self._files.values())

    @property
    def unused(self) -> list[str]:
        """Return the names of the files that no setting has named."""
        return [name for name in self._files if name not in self._used]

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
        return name_in_memory(self.find(setting, value))

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
