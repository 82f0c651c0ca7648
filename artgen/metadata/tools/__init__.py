"""Read the metadata of other tools: one module for each format. `read_external` selects the reader."""

from artgen.metadata.tools.a1111 import parse_a1111
from artgen.metadata.tools.select import read_external

__all__ = ["parse_a1111", "read_external"]
