"""Define the version of artgen."""

__version__ = "0.1.0"

RECORD_SCHEMA = 1
"""Schema number of the records that this version writes. Older records have no number."""
