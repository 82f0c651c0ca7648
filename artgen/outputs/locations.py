"""Reading `--output` and `--format`: which folder, which name, which format."""

import os
from pathlib import Path, PurePath

from artgen.errors import UsageError

FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Formats that are written and their suffixes; `jpg` is accepted for `jpeg`."""

DEFAULT_FOLDER = "outputs"

_SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_OTHER_SUFFIXES = frozenset(
    {".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".jxl", ".jfif", ".jpe", ".svg", ".pdf", ".psd"}
)


def split_output(output: str | None, default_template: str) -> tuple[Path, list[str]]:
    """A literal folder that needs no parsing, and the components that may hold fields."""
    if output is None:
        return Path(DEFAULT_FOLDER), [default_template]
    if not output.strip() or "\0" in output:
        raise UsageError("--output is empty or holds a NUL character", "Give a file, a folder or a template.")
    if output == "-":
        raise UsageError("pictures are not written to stdout", "Give a file, a folder or a template.")
    if _is_folder(Path(output)):
        return Path(output), [default_template]
    path = PurePath(output)
    components = [part for part in path.parts if part != path.anchor]
    if output.endswith(("/", os.sep)):
        components.append(default_template)
    elif components and components[-1] == "..":
        raise UsageError(f"--output '{output}' names no file", "End it with / to write into a folder.")
    start = Path(path.anchor)
    while components[0] == ".." or (len(components) > 1 and _is_folder(start / components[0])):
        start /= components.pop(0)
    return start, components


def settle_format(name: str, wanted: str | None) -> tuple[str, str, str]:
    """Split a file name into stem and suffix and settle the format."""
    kind = None if wanted is None else {"jpg": "jpeg"}.get(wanted.lower(), wanted.lower())
    if kind is not None and kind not in FORMATS:
        raise UsageError(f"'{wanted}' is not a format that is written", f"Use {', '.join(FORMATS)}.")
    stem, dot, tail = name.rpartition(".")
    suffix = (dot + tail).lower() if stem else ""
    if suffix in _OTHER_SUFFIXES:
        raise UsageError(f"'{name}': {suffix} is not a format that is written", f"Use {', '.join(FORMATS.values())}.")
    if suffix not in _SUFFIXES:
        kind = kind or "png"
        return name, FORMATS[kind], kind
    if kind is not None and _SUFFIXES[suffix] != kind:
        raise UsageError(f"--output '{name}' and --format {wanted} contradict each other", "Leave one of them out.")
    return stem, dot + tail, _SUFFIXES[suffix]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, or a folder above it that may not be entered: said by `Destination.check`
        return False
