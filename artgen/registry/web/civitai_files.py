"""Select the file of a version of a model of Civitai."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from artgen.errors import ModelUnavailableError, RefusedError
from artgen.registry.hub.client import MAX_FILE_BYTES
from artgen.registry.hub.names import SHA256_PATTERN
from artgen.registry.safetensors_header import PICKLE_SUFFIXES
from artgen.registry.web.addresses import FILE_SUFFIXES, CivitaiSource, pickle_error

FILE_TYPES = ("Model", "Pruned Model", "VAE")
MAX_TEXT_CHARS = 200
MAX_TRIGGER_WORDS = 100
MAX_WORD_CHARS = 2000


@dataclass(frozen=True)
class CivitaiFile:
    """Describe a file of a version.

    Attributes:
        name: file name; it is not checked.
        size: approximate size in bytes; None if unknown.
        sha256: hash in lower case; None if unknown.
        url: address of the download.
    """

    name: str
    size: int | None
    sha256: str | None
    url: str


def select_file(source: CivitaiSource, name: str, version: Mapping[str, Any]) -> tuple[CivitaiFile, tuple[str, ...]]:
    """Return the file to download: the primary file if artgen reads it, else the first one that artgen reads.

    Raises:
        RefusedError: the version contains only pickles, or a scan found malicious code.
        ModelUnavailableError: the version has no file that artgen reads.
        ValueError: a value has the wrong type.
    """
    files = [file for file in version.get("files") or () if isinstance(file, dict) and text_of(file.get("name"))]
    files = [file for file in files if text_of(file.get("type")) in ("", *FILE_TYPES)]
    wanted = [file for file in files if _has_properties(file, source.wanted)] if source.wanted else files
    files = sorted(wanted or files, key=lambda file: file.get("primary") is not True)
    usable = [file for file in files if _suffix(file) in FILE_SUFFIXES]
    pickles = [file for file in files if _suffix(file) in PICKLE_SUFFIXES]
    if not usable and pickles:
        raise pickle_error(name, PurePosixPath(text_of(pickles[0]["name"])).name)
    if not usable:
        found = ", ".join(sorted({_suffix(file) or "no suffix" for file in files})) or "none"
        raise ModelUnavailableError(
            f"'{name}' has no file that artgen reads; its files: {found}.", "Choose another version."
        )
    file = usable[0]
    if "Danger" in (file.get("virusScanResult"), file.get("pickleScanResult")):
        raise RefusedError(
            f"Cannot download '{name}': the scan of Civitai found malicious code.", "Do not use the model."
        )
    notes: tuple[str, ...] = ()
    if files[0] in pickles:
        notes = ("The main file is a pickle. The safetensors version is downloaded.",)
    if source.wanted and not wanted:
        notes += ("No file has the properties of the address. The main file is downloaded.",)
    size, hashes = file.get("sizeKB"), file.get("hashes")
    size = round(size * 1024) if isinstance(size, int | float) and not isinstance(size, bool) else None
    if size is not None and not 0 <= size <= MAX_FILE_BYTES:
        raise ValueError(size)
    sha256 = hashes.get("SHA256") if isinstance(hashes, dict) else None
    sha256 = sha256.lower() if isinstance(sha256, str) and SHA256_PATTERN.fullmatch(sha256.lower()) else None
    url = file.get("downloadUrl") or version.get("downloadUrl")
    if not isinstance(url, str):
        raise ModelUnavailableError(f"'{name}' cannot be downloaded.", "See its page.")
    return CivitaiFile(text_of(file["name"], MAX_WORD_CHARS), size, sha256, url), notes


def _suffix(file: Mapping[str, Any]) -> str:
    return PurePosixPath(text_of(file.get("name"), MAX_WORD_CHARS)).suffix.lower()


def _has_properties(file: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    metadata = file.get("metadata")
    values = {"type": file.get("type"), **(metadata if isinstance(metadata, dict) else {})}
    return all(text_of(values.get(key)).lower() == value.lower() for key, value in wanted.items())


def text_of(value: object, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Return a text of an answer, shortened; empty for another type."""
    return value[:max_chars].strip() if isinstance(value, str) else ""


def words_of(value: object) -> list[str]:
    """Return the texts of a list of an answer; an empty list for another type."""
    words = value[:MAX_TRIGGER_WORDS] if isinstance(value, list) else []
    return [word.strip()[:MAX_WORD_CHARS] for word in words if isinstance(word, str) and word.strip()]


def whole_number(value: object) -> int:
    """Return a number of an answer.

    Raises:
        ValueError: the value is not the number of a model or of a version.
    """
    if type(value) is not int or not 0 <= value < 10**12:
        raise ValueError(value)
    return value
