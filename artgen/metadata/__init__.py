"""What a picture says about how it was made: written into every picture, read back from artgen's and other tools'."""

from artgen.metadata.a1111 import a1111_text, parse_a1111, sampler_names
from artgen.metadata.comfy import parse_comfy
from artgen.metadata.reading import Found, has_sidecar, read
from artgen.metadata.writing import LEVELS, Embedded, embed, needs_sidecar, sidecar_path

__all__ = [
    "LEVELS",
    "Embedded",
    "Found",
    "a1111_text",
    "embed",
    "has_sidecar",
    "needs_sidecar",
    "parse_a1111",
    "parse_comfy",
    "read",
    "sampler_names",
    "sidecar_path",
]
