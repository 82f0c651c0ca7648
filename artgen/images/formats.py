"""Name the formats of input images. Without Pillow, because errors about arguments need the suffixes."""

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
"""Input formats that Pillow decodes, as it names them. Its other decoders are disabled, because each decoder is an
attack surface. HEIC is decoded by pillow-heif."""

FORMAT_NAMES = "PNG, JPEG, WebP, AVIF, HEIC, TIFF, BMP and GIF"
"""Input formats, for messages."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".avif", ".heic", ".heif", ".hif", ".tif", ".tiff", ".bmp", ".gif"}
)
"""Suffixes of images in folders. The suffix of a file that the user names does not matter."""
