"""Encode and sign small images in all formats that can be signed."""

import functools
import io

from PIL import Image

from artgen.metadata.content_credentials.keys import SigningKey
from artgen.metadata.content_credentials.signing import sign_image
from artgen.outputs.animation import encode_animation
from artgen.outputs.encoding import EncodingOptions, encode_unsigned

KINDS = ("png", "jpeg", "webp", "gif", "tiff")
RECORD = {"artgen": "0.1.0", "task": "img2img", "model": "fox.safetensors", "model_hash": "ab" * 32,
          "prompt": "a secret fox", "steps": 2, "image": "photo.png"}  # fmt: skip


@functools.cache
def encoded(kind: str, color: str = "") -> bytes:
    """Return the bytes of an image of 32x32 pixels: noise, or one color."""
    image = Image.new("RGB", (32, 32), color) if color else Image.effect_noise((32, 32), 90).convert("RGB")
    if kind in ("png", "jpeg", "webp"):
        return encode_unsigned(image, RECORD, EncodingOptions(kind))[0]
    if kind == "gif":
        return encode_animation([image] * 2, "gif", None)
    buffer = io.BytesIO()
    image.save(buffer, kind.upper())
    return buffer.getvalue()


@functools.cache
def signed(kind: str, key: SigningKey) -> bytes:
    """Return the bytes of the image with a signature."""
    return sign_image(encoded(kind), kind, RECORD, (), key)
