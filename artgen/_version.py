"""Define the version of artgen."""

__version__ = "0.1.0"
