"""Choose a safe file name for a download."""

import re
from email.message import Message
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from artgen.errors import ModelUnavailableError
from artgen.registry.safetensors_header import PICKLE_SUFFIXES
from artgen.registry.web.addresses import FILE_SUFFIXES, pickle_error
from artgen.system.file_names import MAX_NAME_BYTES, RESERVED_NAMES, sanitize_component, truncate_utf8

RESERVED_BYTES = 40
"""Bytes of a name that stay free for the suffixes of the description and of temporary files."""


def safe_name(label: str, names: list[str], url: str) -> str:
    """Return a safe file name with a suffix of a model file.

    Args:
        label: name of the download for messages.
        names: names that a server sent, in order of preference. Empty names are skipped.
        url: address. Its end is used if no name remains; it may have no suffix.

    Raises:
        RefusedError: the suffix is that of a pickle.
        ModelUnavailableError: the suffix of a name of the server is that of another file.
    """
    end = unquote(PurePosixPath(urlsplit(url).path).name)
    for text in (*names, end, "model"):
        name = re.split(r"[\\/]", text)[-1]
        suffix = PurePosixPath(name).suffix
        if suffix.lower() in PICKLE_SUFFIXES:
            raise pickle_error(label, sanitize_component(name))
        is_end = text == end and text not in names
        if suffix and suffix.lower() not in FILE_SUFFIXES:
            if not is_end:
                raise ModelUnavailableError(
                    f"Cannot download '{label}': artgen reads {', '.join(FILE_SUFFIXES)} files, not '{suffix[:20]}'.",
                    "Use another file.",
                )
            suffix = ""  # the end of a download link is not a file name, such as `v1.5`
        stem = sanitize_component(name.removesuffix(suffix))
        if stem.strip("_"):
            break
    stem = truncate_utf8(stem, MAX_NAME_BYTES - RESERVED_BYTES)
    return f"{f'_{stem}' if RESERVED_NAMES.fullmatch(stem) else stem}{suffix.lower() or '.safetensors'}"


def disposition_name(header: str) -> str:
    """Return the file name of a header Content-Disposition (RFC 6266); empty if it contains none."""
    message = Message()
    message["Content-Disposition"] = header
    try:
        return message.get_filename("") or ""
    except (ValueError, LookupError, TypeError):  # an unknown charset
        return ""
