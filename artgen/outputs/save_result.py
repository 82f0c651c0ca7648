"""Save one result of the Python API, as the command line does."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from artgen.image_history import recording
from artgen.images import has_transparency
from artgen.metadata.content_credentials.content_hashes import content_hashes
from artgen.metadata.content_credentials.manifest_store import find_manifest_store
from artgen.outputs.encoding import EncodingOptions, encode_unsigned
from artgen.outputs.mark_notes import mark_notes
from artgen.outputs.parse_output import parse_destination
from artgen.spec.base_requests import Request
from artgen.spec.settings import OutputSettings


class SavedImage(NamedTuple):
    """Describe a saved image.

    Attributes:
        path: image file.
        notes: properties of the image that the format changes, one sentence each.
        is_complete_png: whether the file is a PNG with the complete record.
        is_signed: whether the file has a C2PA manifest.
    """

    path: Path
    notes: tuple[str, ...]
    is_complete_png: bool
    is_signed: bool = False

    def content(self, unsigned: bytes) -> bytes:
        """Return the content of the file if it is signed and still has the pixels of an unsigned file, else that file.

        Args:
            unsigned: unsigned PNG file of the same image.
        """
        if not self.is_signed:
            return unsigned
        try:
            data = self.path.read_bytes()
        except OSError:  # removed in the meantime
            return unsigned
        current, expected = content_hashes(data), content_hashes(unsigned)
        is_same = current is not None and expected is not None and current.pixels == expected.pixels
        return data if is_same and find_manifest_store(data) is not None else unsigned


def save_image(
    image: Image.Image,
    record: Mapping[str, object],
    request: Request,
    output: OutputSettings,
    low_bytes: Image.Image | None = None,
    seconds: float | None = None,
) -> SavedImage:
    """Save a result. If a file with a fixed name has the same content already, it is not written again.

    Args:
        image: pixels; for 16 bits per channel, the high bytes.
        record: record of the image.
        request: request of the image, for the default name.
        output: output options.
        low_bytes: low bytes of an image with 16 bits per channel.
        seconds: duration of the generation in seconds, for the history; None: unknown.

    Raises:
        UsageError, OutputError, RefusedError: see `parse_destination`, `Destination.check` and `Destination.save`.
    """
    destination = parse_destination(output, request.filename_template)
    notes = result_notes(image, low_bytes, record, request, destination.encoding)
    is_png = destination.encoding.format == "png" and destination.encoding.metadata == "full"
    if destination.is_fixed and (existing := destination.existing_paths(record, index=1)):
        data, sidecar = encode_unsigned(image, record, destination.encoding, low_bytes)
        is_signed = destination.encoding.signing is not None
        if sidecar is None and existing[0].is_file() and _has_content(existing[0], data, is_signed=is_signed):
            return SavedImage(existing[0], notes, is_png, is_signed)
    destination.check(*image.size, record, has_alpha=has_transparency(image))
    path = destination.save(image, record, low_bytes=low_bytes, seconds=seconds, request=request)
    return SavedImage(path, (*notes, *history_notes()), is_png, destination.encoding.signing is not None)


def history_notes() -> tuple[str, ...]:
    """Return the note about images that have no entry in the history, once per command; otherwise nothing."""
    note = recording.take_note()
    return (note,) if note else ()


def _has_content(path: Path, data: bytes, *, is_signed: bool) -> bool:
    """Return whether a file contains the same image as an unsigned file. Signed files: the same pixels and texts.

    Args:
        path: existing file.
        data: content of the unsigned file.
        is_signed: whether the file must be signed.
    """
    try:
        if path.stat().st_size < len(data):
            return False
        existing = path.read_bytes()
    except OSError:
        return False
    if not is_signed:
        return existing == data
    return find_manifest_store(existing) is not None and content_hashes(existing) == content_hashes(data)


def result_notes(
    image: Image.Image,
    low_bytes: Image.Image | None,
    record: Mapping[str, object],
    request: Request,
    encoding: EncodingOptions,
) -> tuple[str, ...]:
    """Return notes about properties of a result that its format changes, and about the marks of its input images.

    Args:
        image: pixels; for 16 bits per channel, the high bytes.
        low_bytes: low bytes of an image with 16 bits per channel.
        record: record of the image.
        request: request of the image.
        encoding: format and options.
    """
    keeps_pixels = bool(request.input_paths.get("image")) and getattr(request, "keep_original", False)
    return *encoding_notes(image, low_bytes, encoding, keeps_pixels=keeps_pixels), *mark_notes(record, encoding)


def encoding_notes(
    image: Image.Image | None, low_bytes: Image.Image | None, encoding: EncodingOptions, *, keeps_pixels: bool
) -> tuple[str, ...]:
    """Return notes about properties of a result that its format changes.

    Args:
        image: result, or the input image whose mode and color profile the result keeps; None if it keeps none.
        low_bytes: low bytes of a result with 16 bits per channel.
        encoding: format and options.
        keeps_pixels: whether the result contains unchanged pixels of an input image.
    """
    if encoding.format == "png":
        return ()
    notes = []
    if encoding.format == "webp" and image is not None and image.mode in ("L", "LA") and "icc_profile" in image.info:
        notes.append("WEBP has no gray mode. The gray values are converted from their color profile to sRGB.")
    if low_bytes is not None:
        notes.append(f"{encoding.format.upper()} stores 8 bits per channel. PNG stores the 16 bits of the input image.")
    if keeps_pixels and not encoding.is_lossless:
        notes.append(
            f"{encoding.format.upper()} is lossy: pixels outside the repainted area change slightly. Use PNG, or WebP "
            "with --quality 100."
        )
    return tuple(notes)
