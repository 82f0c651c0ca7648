"""Represent a file whose content is in memory: an image that a Python program passes as an object."""

import hashlib
import sys
import weakref
from pathlib import Path
from typing import Any, Self

if sys.platform == "win32":
    from pathlib import WindowsPath as NativePath
else:
    from pathlib import PosixPath as NativePath

MEMORY_NAME = "in-memory"
"""Name of a file in memory that has no name. A record contains it in place of a file name."""


class MemoryFile(NativePath):
    """Represent a file in memory, for functions that take paths. `artgen.system.input_files` reads its content.

    Two files are equal if their names and contents are equal. A path that is derived from the file, such as its
    `parent`, is a path on the disk.

    Attributes:
        content: bytes of the file; None for a derived path.
        sha256: SHA-256 of the content, 64 hex digits; empty for a derived path.
    """

    content: bytes | None = None
    sha256: str = ""

    @classmethod
    def create(cls, name: str, content: bytes) -> Self:
        """Return a file with a name, which has no folder, and a content."""
        file = cls(name)
        file.content = content
        file.sha256 = hashlib.sha256(content).hexdigest()
        return file

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other) is True and self.sha256 == getattr(other, "sha256", "")

    def __hash__(self) -> int:
        return hash((super().__hash__(), self.sha256))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.content is None:
            return Path, (str(self),)
        return type(self).create, (self.name, self.content)


_named_files: "weakref.WeakValueDictionary[str, MemoryFile]" = weakref.WeakValueDictionary()
"""Files in memory that texts name, such as the values of `control`."""


def name_in_memory(file: MemoryFile) -> str:
    """Return a text that names a file in memory. `file_content` reads it by this name while the file object exists."""
    name = f"{MEMORY_NAME}-{file.sha256[:16]}"
    _named_files[name] = file
    return name


def file_content(path: Path) -> bytes | None:
    """Return the content of a file in memory; None for a path on the disk."""
    file = path if isinstance(path, MemoryFile) else _named_files.get(str(path))
    return None if file is None else file.content
