"""Convert the scores of the phrases of `--mask-text` to a mask, and masks to texts for records."""

import base64
import binascii
import hashlib
import zlib
from collections.abc import Mapping
from typing import Any

from PIL import Image

from artgen.errors import InputFileError
from artgen.spec.mask_text import And, Grown, MaskExpression, Not, Or, Scaled, Term

MAX_PACKED_CHARS = 256 << 10
"""Limit of the text of a mask in a record."""


def select_pixels(expression: MaskExpression, scores: Mapping[str, Any], threshold: float, grow: float = 0) -> Any:
    """Return the pixels whose score is at least `threshold`, grown by `grow` pixels.

    The threshold is propagated to the phrases. This is equivalent to the computation with scores (maximum, minimum,
    1 - score, clamped product, dilation with a disk of scores), and needs only dilations of two values.

    Args:
        expression: parsed expression.
        scores: score of each phrase, float arrays of shape (H, W) with values 0 to 1.
        threshold: smallest score of a selected pixel, above 0, at most 1.
        grow: growth in pixels; negative shrinks.

    Returns:
        Boolean array of shape (H, W).
    """
    return _grown(_select(expression, scores, threshold, is_strict=False), grow)


def highest_score(expression: MaskExpression, scores: Mapping[str, Any]) -> float:
    """Return the highest score of a pixel, without growth. See `select_pixels`."""
    return float(_score(expression, scores).max())


def _select(expression: MaskExpression, scores: Mapping[str, Any], threshold: float, *, is_strict: bool) -> Any:
    """Return the pixels whose score is at least `threshold`; greater if `is_strict`."""
    if isinstance(expression, Term):
        score = scores[expression.text]
        return score > threshold if is_strict else score >= threshold
    if isinstance(expression, Not):
        return ~_select(expression.operand, scores, 1 - threshold, is_strict=not is_strict)
    if isinstance(expression, Grown):
        return _grown(_select(expression.operand, scores, threshold, is_strict=is_strict), expression.pixels)
    if isinstance(expression, Scaled):
        if is_strict and threshold >= 1:  # No clamped score is greater than 1.
            threshold = float("inf")
        return _select(expression.operand, scores, threshold / expression.multiplier, is_strict=is_strict)
    found = _select(expression.parts[0], scores, threshold, is_strict=is_strict)
    for part in expression.parts[1:]:
        selected = _select(part, scores, threshold, is_strict=is_strict)
        found = found & selected if isinstance(expression, And) else found | selected
    return found


def _score(expression: MaskExpression, scores: Mapping[str, Any]) -> Any:
    import numpy  # the import takes longer than many commands

    if isinstance(expression, Term):
        return scores[expression.text]
    if isinstance(expression, Not):
        return 1 - _score(expression.operand, scores)
    if isinstance(expression, Scaled):
        return numpy.minimum(_score(expression.operand, scores) * expression.multiplier, 1)
    if isinstance(expression, And | Or):
        combine = numpy.minimum if isinstance(expression, And) else numpy.maximum
        return combine.reduce([_score(part, scores) for part in expression.parts])
    return _score(expression.operand, scores)


def _grown(selected: Any, pixels: float) -> Any:
    """Return the pixels within a distance of `pixels` of the selected ones; with a negative value, the inner pixels.

    The distance is Euclidean. The outside of the image does not shrink an area.
    """
    from scipy import ndimage

    if not pixels or selected.all() or not selected.any():
        return selected
    if pixels > 0:
        return ndimage.distance_transform_edt(~selected) <= pixels
    return ndimage.distance_transform_edt(selected) > -pixels


def pack_mask(mask: Image.Image) -> str:
    """Return a text from which `unpack_mask` reads a mask with the values 0 and 255, mode L.

    Each row is stored as bits, as the difference from the row above, compressed with zlib, in base64.
    """
    import numpy  # as above

    rows = numpy.packbits(numpy.asarray(mask) >= 128, axis=1)
    rows[1:] ^= rows[:-1].copy()
    return base64.b64encode(zlib.compress(rows.tobytes(), 9)).decode("ascii")


def unpack_mask(text: str, size: tuple[int, int]) -> Image.Image:
    """Return the mask of a text of `pack_mask`, mode L. The text is untrusted; at most the bytes of `size` are read.

    Raises:
        InputFileError: the text is too long, damaged, or of a mask of another size.
    """
    import numpy  # as above

    width, height = size
    row_bytes = (width + 7) // 8
    expected = row_bytes * height
    data = b""
    if len(text) <= MAX_PACKED_CHARS:
        try:
            reader = zlib.decompressobj()
            data = reader.decompress(base64.b64decode(text, validate=True), expected + 1)
        except (binascii.Error, zlib.error, ValueError):
            data = b""
    if len(data) != expected:
        raise InputFileError(
            f"The recorded mask is damaged, or it is not a mask of {width}x{height} pixels.",
            "To compute the mask again, set the text: --set mask_text=TEXT",
        )
    rows = numpy.frombuffer(data, numpy.uint8).reshape(height, row_bytes)
    rows = numpy.bitwise_xor.accumulate(rows, axis=0)
    values = numpy.unpackbits(rows, axis=1, count=width) * numpy.uint8(255)
    return Image.fromarray(values, "L")


def mask_hash(mask: Image.Image) -> str:
    """Return the SHA-256 of the size and the values of a mask, mode L, 64 hex digits."""
    return hashlib.sha256(f"{mask.width}x{mask.height}:".encode() + mask.tobytes()).hexdigest()
