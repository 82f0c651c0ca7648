"""Merge the settings `size`, `width` and `height`."""

from artgen.errors import UsageError
from artgen.spec.settings import CanvasSettings, SizeSettings


def resolve_size(canvas: CanvasSettings, size: SizeSettings) -> CanvasSettings:
    """Merge `--size` with `--width` and `--height`.

    Raises:
        UsageError: both are set, or the size is invalid.
    """
    if size.size is None:
        return canvas
    if canvas.width is not None or canvas.height is not None:
        raise UsageError("Cannot combine --size with --width or --height.", "Omit one of them.")
    from artgen import images

    width, height = images.parse_size(size.size)
    return CanvasSettings(width=width, height=height)
