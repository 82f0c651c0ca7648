"""Reading `--output` and what belongs to it: which folder, which name, which format."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from artgen.errors import UsageError
from artgen.metadata import LEVELS
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import DEFAULT_QUALITY, Form
from artgen.outputs.names import parse_template
from artgen.requests import FromImage, Request
from artgen.settings import Output

FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Formats that are written and their suffixes; `jpg` is accepted for `jpeg`."""

SUFFIXES = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Suffixes that name a file to write, and its format."""

DEFAULT_FOLDER = "outputs"

_OTHER_SUFFIXES = frozenset(
    {".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".jxl", ".jfif", ".jpe", ".svg", ".pdf", ".psd"}
)


def destination_for(requests: Sequence[Request], output: Output) -> Destination:
    """Where the pictures of some requests go.

    Args:
        requests: one or more, of one task.
        output: as the command or a line asks for it.

    Raises:
        UsageError: as for `destination`.
    """
    pictures = tuple(r.image for r in requests if isinstance(r, FromImage) and r.image)
    return destination(output, requests[0].template, len(requests), pictures)


def destination(
    output: Output, default_template: str = Request.template, count: int = 1, input_paths: Sequence[Path] = ()
) -> Destination:
    """Read `--output` and what belongs to it.

    Args:
        output: its `output` is a file (`fox.png`; without a suffix the format's own is added), a folder (ends with `/`
            or exists), a template (`{model}/{seed}.png`, see `artgen.outputs.names.FIELDS`), or None for the folder
            `outputs`.
        default_template: the file name inside a folder, without suffix.
        count: how many pictures will be saved, 1 or more.
        input_paths: files that are read; they are not overwritten unless `overwrite` says so.

    Raises:
        UsageError: an unknown field or format, a suffix and a format that contradict each other, a quality outside
            1..100, a level outside 0..9.
    """
    if output.metadata not in LEVELS:
        raise UsageError(f"'{output.metadata}' is not a metadata level", f"Use {', '.join(LEVELS)}.")
    if output.quality is not None and not 1 <= output.quality <= 100:
        raise UsageError(f"quality is {output.quality}; 1 to 100 is possible", "Leave --quality out for 95.")
    if output.png_level is not None and not 0 <= output.png_level <= 9:
        raise UsageError(f"png_level is {output.png_level}; 0 to 9 is possible", "Leave --png-level out to be fast.")
    folder, components = split_output(output.output, default_template)
    stem, suffix, kind = settle_format(components[-1], output.format)
    parts = [parse_template(component) for component in (*components[:-1], stem)]
    if any("index" in part.fields for part in parts[:-1]):
        raise UsageError(f"--output '{output.output}' has {{index}} in a folder's name", "Use it in the file name.")
    while len(parts) > 1 and not parts[0].fields:
        folder /= parts.pop(0).fill({})
    form = Form(kind, output.quality or DEFAULT_QUALITY, output.metadata, output.png_level)
    return Destination(folder, tuple(parts), suffix, form, output.overwrite, count, tuple(input_paths))


def picture_format(path: Path, what: str, hint: str) -> str:
    """The format of a file that the user named, from its suffix: png, jpeg or webp.

    Args:
        path: of the file.
        what: it will be, such as "A sheet".
        hint: an example.

    Raises:
        UsageError: another suffix.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{what} is a .png, .jpg or .webp file, not '{path}'.", hint)
    return kind


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
    if suffix not in SUFFIXES:
        kind = kind or "png"
        return name, FORMATS[kind], kind
    if kind is not None and SUFFIXES[suffix] != kind:
        raise UsageError(f"--output '{name}' and --format {wanted} contradict each other", "Leave one of them out.")
    return stem, dot + tail, SUFFIXES[suffix]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, or a folder above it that may not be entered: said by `Destination.check`
        return False
