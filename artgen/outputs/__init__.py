"""Choose file names and write images and animations atomically."""

from artgen.outputs.animation_output import AnimationOutput, parse_frames_option
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import encode_without_metadata
from artgen.outputs.names import TEMPLATE_FIELDS, Template, parse_template
from artgen.outputs.parse_output import (
    FORMAT_SUFFIXES,
    SUFFIX_FORMATS,
    destination_for_requests,
    file_name_note,
    format_from_suffix,
    is_folder_name,
    parse_destination,
    path_of_file_option,
)
from artgen.outputs.sheets import check_sheet_path, write_sheets
from artgen.outputs.streams import STDOUT, find_stream, write_stream
from artgen.outputs.tables import write_table
from artgen.outputs.writing import write_user_file
from artgen.system.file_names import sanitize_component

__all__ = [
    "FORMAT_SUFFIXES",
    "STDOUT",
    "SUFFIX_FORMATS",
    "TEMPLATE_FIELDS",
    "AnimationOutput",
    "Destination",
    "Template",
    "check_sheet_path",
    "destination_for_requests",
    "encode_without_metadata",
    "file_name_note",
    "find_stream",
    "format_from_suffix",
    "is_folder_name",
    "parse_destination",
    "parse_frames_option",
    "parse_template",
    "path_of_file_option",
    "sanitize_component",
    "write_sheets",
    "write_stream",
    "write_table",
    "write_user_file",
]
