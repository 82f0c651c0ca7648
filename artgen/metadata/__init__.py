"""Write generation metadata into images, and read the metadata of artgen and other tools."""

from artgen.metadata.a1111 import format_a1111, sampler_names
from artgen.metadata.comfy import parse_comfy
from artgen.metadata.external_record import ExternalRecord, Feature, RecordedFile
from artgen.metadata.reading import ImageMetadata, has_sidecar, read_metadata
from artgen.metadata.tools import parse_a1111
from artgen.metadata.writing import (
    METADATA_LEVELS,
    SaveArgs,
    image_save_args,
    needs_sidecar,
    sidecar_path,
    stored_record,
)

__all__ = [
    "METADATA_LEVELS",
    "ExternalRecord",
    "Feature",
    "ImageMetadata",
    "RecordedFile",
    "SaveArgs",
    "format_a1111",
    "has_sidecar",
    "image_save_args",
    "needs_sidecar",
    "parse_a1111",
    "parse_comfy",
    "read_metadata",
    "sampler_names",
    "sidecar_path",
    "stored_record",
]
