"""Parse `--output` and the related options: folder, name and format."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePath

from artgen.errors import UsageError
from artgen.metadata import METADATA_LEVELS
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import DEFAULT_QUALITY, EncodingOptions
from artgen.outputs.names import parse_template
from artgen.outputs.signatures import Signing, configured_signing
from artgen.outputs.stream_destination import StreamDestination
from artgen.outputs.streams import STDOUT, find_stream
from artgen.spec.base_requests import Request
from artgen.spec.settings import OutputSettings

FORMAT_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
"""Output formats and their default suffixes; `jpg` is an alias of `jpeg`."""

SUFFIX_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""Suffixes of image files and their formats."""

DEFAULT_OUTPUT_FOLDER = "outputs"

_UNSUPPORTED_SUFFIXES = frozenset(
    {".gif", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif", ".jxl", ".jfif", ".jpe", ".svg", ".pdf", ".psd"}
)


def destination_for_requests(requests: Sequence[Request], output: OutputSettings) -> Destination:
    """Return the destination of the images of these requests.

    Args:
        requests: one or more requests of one task.
        output: output options of the command or of a line of a prompt file.

    Raises:
        UsageError: See `parse_destination`.
    """
    input_paths = tuple(path for request in requests if (path := request.input_paths.get("image")))
    return parse_destination(output, requests[0].filename_template, len(requests), input_paths)


def parse_destination(
    output: OutputSettings,
    default_template: str = Request.filename_template,
    image_count: int = 1,
    input_paths: Sequence[Path] = (),
) -> Destination:
    """Parse the output options.

    Args:
        output: its `output` is `-` (standard output), a file (`fox.png`; the suffix of the format is added if it is
            missing), a folder (ends with `/` or exists), a template (`{model}/{seed}.png`, see
            `artgen.outputs.names.TEMPLATE_FIELDS`), or None for the folder `outputs`.
        default_template: file name inside a folder, without suffix.
        image_count: number of images to save, >= 1.
        input_paths: input files, which are overwritten only with `output.overwrite`.

    Raises:
        UsageError: The field or the format is unknown, the suffix and the format contradict each other, the quality is
            outside 1 to 100, the PNG level is outside 0 to 9, or several images are written to standard output.
        InputFileError, RefusedError: Images are signed, but the key is missing or cannot be used.
        OutputError: The output is a pipe, a socket or a device that cannot be written.
    """
    if output.metadata not in METADATA_LEVELS:
        raise UsageError(f"'{output.metadata}' is not a metadata level.", f"Use {', '.join(METADATA_LEVELS)}.")
    if output.quality is not None and not 1 <= output.quality <= 100:
        raise UsageError(f"--quality is {output.quality}; use 1 to 100.", f"The default is {DEFAULT_QUALITY}.")
    if output.png_level is not None and not 0 <= output.png_level <= 9:
        raise UsageError(
            f"--png-level is {output.png_level}; use 0 to 9.", "Omit --png-level for the fastest encoding."
        )
    signing = configured_signing(output.sign, output.metadata)
    if (stream := find_stream(output.output)) is not None:
        return _stream_destination(stream, output, image_count, signing)
    folder, components = split_output(output.output, default_template)
    stem, suffix, format_name = resolve_format(components[-1], output.format)
    parts = [parse_template(component) for component in (*components[:-1], stem)]
    if any("index" in part.fields for part in parts[:-1]):
        raise UsageError(f"--output '{output.output}' has {{index}} in a folder name.", "Use {index} in the file name.")
    while len(parts) > 1 and not parts[0].fields:
        folder /= parts.pop(0).render({})
    encoding = _encoding(format_name, output, signing)
    return Destination(
        folder,
        tuple(parts),
        suffix,
        encoding,
        output.overwrite,
        image_count,
        tuple(input_paths),
        history=output.history,
    )


def path_of_file_option(output: str, default_name: str, option_name: str) -> Path:
    """Return the file that an option names. A folder contains a file with the default name.

    Args:
        output: value of the option: a file, or a folder (ends with `/` or exists).
        default_name: name of the file in a folder.
        option_name: option, for messages.

    Raises:
        UsageError: The value is empty.
    """
    if not output.strip() or "\0" in output:
        raise UsageError(f"{option_name} is empty or contains a NUL character.", f"Use {option_name} {default_name}.")
    return Path(output) / default_name if is_folder_name(output) else Path(output)


def file_name_note(output: str | None, suffix: str) -> str:
    """Return a note if an output without a suffix, which may be meant as a folder, is a file; else an empty text.

    Args:
        output: value of `--output`.
        suffix: suffix that is added to the name.
    """
    if output is None or output == STDOUT or is_folder_name(output) or PurePath(output).suffix or "{" in output:
        return ""
    return f"--output '{output}' is a file, to whose name {suffix} is added. For a folder, add a slash: {output}/"


def is_folder_name(output: str) -> bool:
    """Return whether the value of an output option is a folder: it ends with `/`, or the folder exists."""
    return output.endswith(("/", os.sep)) or (output != STDOUT and os.path.isdir(output))  # noqa: PTH112 - as above


def _encoding(format_name: str, output: OutputSettings, signing: Signing | None) -> EncodingOptions:
    quality = output.quality or DEFAULT_QUALITY
    return EncodingOptions(format_name, quality, output.metadata, output.png_level, signing)


def _stream_destination(
    stream: str, output: OutputSettings, image_count: int, signing: Signing | None
) -> StreamDestination:
    if stream == STDOUT and image_count > 1:
        raise UsageError(
            "Cannot write several images to standard output: it takes one image.", "Use -o images/ for a folder."
        )
    name, suffix, format_name = resolve_format("image", output.format)
    encoding = _encoding(format_name, output, signing)
    return StreamDestination(
        Path(), (parse_template(name),), suffix, encoding, output.overwrite, image_count, (), stream=stream
    )


def format_from_suffix(path: Path, description: str, hint: str) -> str:
    """Return the format of a file from its suffix: `png`, `jpeg` or `webp`.

    Args:
        path: file that the user named.
        description: subject of the message, such as "A sheet".
        hint: example of a valid option.

    Raises:
        UsageError: The suffix has no output format.
    """
    format_name = SUFFIX_FORMATS.get(path.suffix.lower())
    if format_name is None:
        raise UsageError(f"{description} is a .png, .jpg or .webp file, not '{path}'.", hint)
    return format_name


def split_output(output: str | None, default_template: str) -> tuple[Path, list[str]]:
    """Return the literal folder and the path components that can contain fields.

    Raises:
        UsageError: The value is empty, or names no file.
    """
    if output is None:
        return Path(DEFAULT_OUTPUT_FOLDER), [default_template]
    if not output.strip() or "\0" in output:
        raise UsageError("--output is empty or contains a NUL character.", "Use a file, a folder or a template.")
    if _is_folder(Path(output)):
        return Path(output), [default_template]
    path = PurePath(output)
    components = [part for part in path.parts if part != path.anchor]
    if output.endswith(("/", os.sep)):
        components.append(default_template)
    elif components and components[-1] == "..":
        raise UsageError(f"--output '{output}' is not a file name.", "End it with / to write into a folder.")
    start = Path(path.anchor)
    while components[0] == ".." or (len(components) > 1 and _is_folder(start / components[0])):
        start /= components.pop(0)
    return start, components


def resolve_format(name: str, requested: str | None) -> tuple[str, str, str]:
    """Return the stem, the suffix and the format of a file name.

    Raises:
        UsageError: The format is unknown or contradicts the suffix.
    """
    format_name = None if requested is None else {"jpg": "jpeg"}.get(requested.lower(), requested.lower())
    if format_name is not None and format_name not in FORMAT_SUFFIXES:
        raise UsageError(f"'{requested}' is not an output format.", f"Use {', '.join(FORMAT_SUFFIXES)}.")
    stem, dot, tail = name.rpartition(".")
    suffix = (dot + tail).lower() if stem else ""
    if suffix in _UNSUPPORTED_SUFFIXES:
        raise UsageError(
            f"Cannot write '{name}': {suffix} is not an output format.", f"Use {', '.join(FORMAT_SUFFIXES.values())}."
        )
    if suffix not in SUFFIX_FORMATS:
        format_name = format_name or "png"
        return name, FORMAT_SUFFIXES[format_name], format_name
    if format_name is not None and SUFFIX_FORMATS[suffix] != format_name:
        raise UsageError(f"--output '{name}' and --format {requested} contradict each other.", "Omit one of them.")
    return stem, dot + tail, SUFFIX_FORMATS[suffix]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # `Destination.check` reports a name that is too long and a parent folder without permission
        return False
