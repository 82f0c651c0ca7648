"""Decode the lines of prompt files."""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path

from artgen.errors import InputFileError
from artgen.queue.entries import LineError
from artgen.system.input_files import read_input

MAX_PROMPT_FILE_BYTES = 64 * 2**20

NumberedLine = tuple[int, str]


def read_content(path: Path) -> bytes:
    """Return the content of a prompt file with LF at the end of each line. `-` is stdin.

    Raises:
        InputFileError: the file cannot be read, has more than `MAX_PROMPT_FILE_BYTES`, or is UTF-16.
    """
    data = read_input(path, MAX_PROMPT_FILE_BYTES)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputFileError(f"Cannot read '{path}': its encoding is UTF-16, not UTF-8.", "Save it as UTF-8.")
    # a line ends with LF, CR LF, or CR
    return data.removeprefix(codecs.BOM_UTF8).replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def decode_lines(source: str, data: bytes) -> Iterator[NumberedLine | LineError]:
    """Yield the lines of a file with their numbers, and an error for each line that is not text."""
    for number, raw in enumerate(io.BytesIO(data), 1):
        try:
            text = raw.removesuffix(b"\n").decode("utf-8")
        except UnicodeDecodeError as error:
            reason = f"Cannot decode the line as UTF-8: byte 0x{raw[error.start]:02x} in column {error.start + 1}."
            yield LineError(source, number, InputFileError(reason, "Save the file as UTF-8."))
            continue
        if "\0" in text:
            yield LineError(
                source,
                number,
                InputFileError("Cannot parse the line: it contains a NUL character.", "Remove the character."),
            )
        else:
            yield number, text
