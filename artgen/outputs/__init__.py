"""Where a picture goes and how it gets there: destinations, file names, and writing that leaves no half picture."""

from artgen.outputs.destination import Destination
from artgen.outputs.encoding import encode_plain
from artgen.outputs.locations import (
    FORMATS,
    SUFFIXES,
    destination,
    destination_for,
    picture_format,
)
from artgen.outputs.names import FIELDS, Template, parse_template, safe_part
from artgen.outputs.reels import Reel, reel_for
from artgen.outputs.writing import write_asked, write_over

__all__ = [
    "FIELDS",
    "FORMATS",
    "SUFFIXES",
    "Destination",
    "Reel",
    "Template",
    "destination",
    "destination_for",
    "encode_plain",
    "parse_template",
    "picture_format",
    "reel_for",
    "safe_part",
    "write_asked",
    "write_over",
]
