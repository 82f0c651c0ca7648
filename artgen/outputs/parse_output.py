"""Reading `--output` and what belongs to it: which folder, which name, which format."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from artgen.errors import UsageError
from artgen.metadata import METADATA_LEVELS
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import DEFAULT_QUALITY, EncodingOptions
from artgen.outputs.names import parse_template
from artgen.spec.requests import ImageRequest, Request
from artgen.spec.settings import OutputSettings

FORMAT_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Formats that are written and their suffixes; `jpg` is accepted for `jpeg`."""

SUFFIX_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Suffixes that name a file to write, and its format."""

DEFAULT_OUTPUT_FOLDER = "outputs"

_UNSUPPORTED_SUFFIXES = frozenset(
    {".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".jxl", ".jfif", ".jpe", ".svg", ".pdf", ".psd"}
)


def destination_for_requests(requests: Sequence[Request], output: OutputSettings) -> Destination:
    """Where the pictures of some requests go.

    Args:
        requests: one or more, of one task.
        output: as the command or a line asks for it.

    Raises:
        UsageError: as for `destination`.
    """
    pictures = tuple(r.image for r in requests if isinstance(r, ImageRequest) and r.image)
    return parse_destination(output, requests[0].filename_template, len(requests), pictures)


def parse_destination(
    output: OutputSettings,
    default_template: str = Request.filename_template,
    image_count: int = 1,
    input_paths: Sequence[Path] = (),
) -> Destination:
    """Read `--output` and what belongs to it.

    Args:
        output: its `output` is a file (`fox.png`; without a suffix the format's own is added), a folder (ends with `/`
            or exists), a template (`{model}/{seed}.png`, see `artgen.outputs.names.FIELDS`), or None for the folder
            `outputs`.
        default_template: the file name inside a folder, without suffix.
        image_count: how many pictures will be saved, 1 or more.
        input_paths: files that are read; they are not overwritten unless `overwrite` says so.

    Raises:
        UsageError: an unknown field or format, a suffix and a format that contradict each other, a quality outside
            1..100, a level outside 0..9.
    """
    if output.metadata not in METADATA_LEVELS:
        raise UsageError(f"'{output.metadata}' is not a metadata level", f"Use {', '.join(METADATA_LEVELS)}.")
    if output.quality is not None and not 1 <= output.quality <= 100:
        raise UsageError(f"quality is {output.quality}; 1 to 100 is possible", "Leave --quality out for 95.")
    if output.png_level is not None and not 0 <= output.png_level <= 9:
        raise UsageError(f"png_level is {output.png_level}; 0 to 9 is possible", "Leave --png-level out to be fast.")
    folder, components = split_output(output.output, default_template)
    stem, suffix, kind = resolve_format(components[-1], output.format)
    parts = [parse_template(component) for component in (*components[:-1], stem)]
    if any("index" in part.fields for part in parts[:-1]):
        raise UsageError(f"--output '{output.output}' has {{index}} in a folder's name", "Use it in the file name.")
    while len(parts) > 1 and not parts[0].fields:
        folder /= parts.pop(0).render({})
    form = EncodingOptions(kind, output.quality or DEFAULT_QUALITY, output.metadata, output.png_level)
    return Destination(folder, tuple(parts), suffix, form, output.overwrite, image_count, tuple(input_paths))


def format_from_suffix(path: Path, description: str, hint: str) -> str:
    """The format of a file that the user named, from its suffix: png, jpeg or webp.

    Args:
        path: of the file.
        description: it will be, such as "A sheet".
        hint: an example.

    Raises:
        UsageError: another suffix.
    """
    kind = SUFFIX_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{description} is a .png, .jpg or .webp file, not '{path}'.", hint)
    return kind


def split_output(output: str | None, default_template: str) -> tuple[Path, list[str]]:
    """A literal folder that needs no parsing, and the components that may hold fields."""
    if output is None:
        return Path(DEFAULT_OUTPUT_FOLDER), [default_template]
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


def resolve_format(name: str, requested: str | None) -> tuple[str, str, str]:
    """Split a file name into stem and suffix and settle the format."""
    kind = None if requested is None else {"jpg": "jpeg"}.get(requested.lower(), requested.lower())
    if kind is not None and kind not in FORMAT_SUFFIXES:
        raise UsageError(f"'{requested}' is not a format that is written", f"Use {', '.join(FORMAT_SUFFIXES)}.")
    stem, dot, tail = name.rpartition(".")
    suffix = (dot + tail).lower() if stem else ""
    if suffix in _UNSUPPORTED_SUFFIXES:
        raise UsageError(
            f"'{name}': {suffix} is not a format that is written", f"Use {', '.join(FORMAT_SUFFIXES.values())}."
        )
    if suffix not in SUFFIX_FORMATS:
        kind = kind or "png"
        return name, FORMAT_SUFFIXES[kind], kind
    if kind is not None and SUFFIX_FORMATS[suffix] != kind:
        raise UsageError(f"--output '{name}' and --format {requested} contradict each other", "Leave one of them out.")
    return stem, dot + tail, SUFFIX_FORMATS[suffix]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # too long a name, or a folder above it that may not be entered: said by `Destination.check`
        return False
