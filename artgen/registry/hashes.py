"""Return SHA-256 hashes of weight files: from file names, from `SHA256SUMS`, from artgen's cache, or computed."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from artgen.errors import InputFileError, OutputError
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.registry.hub import cache
from artgen.system.external_data import parse_json, read_limited, read_optional
from artgen.system.files import file_identity, wrap_read_errors, write_atomically
from artgen.system.paths import user_cache_folder

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
MAX_CACHED_HASHES = 5000
MAX_CACHE_BYTES = 4 << 20
_READ_BLOCK_BYTES = 1 << 20


def compute_sha256(path: Path, on_bytes: Callable[[int], None] | None = None, *, tensors_only: bool = False) -> str:
    """Compute the SHA-256 of a file.

    Args:
        path: the file.
        on_bytes: called with the size of each block in bytes.
        tensors_only: skip the header of a safetensors file (kohya's `addnet_hash_safetensors`).

    Raises:
        InputFileError: the file cannot be read.
    """
    digest = hashlib.sha256()
    with wrap_read_errors(path), path.open("rb") as file:
        if tensors_only:
            file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(_READ_BLOCK_BYTES):
            digest.update(block)
            if on_bytes:
                on_bytes(len(block))
    return digest.hexdigest()


def model_hash(files: Sequence[Path]) -> str:
    """Return the hash of a model's main weights.

    One file: its `file_hash`. Shards: the SHA-256 of their hashes in order, one per line. No files: an empty string.

    Raises:
        InputFileError: a file cannot be read.
    """
    return combined_hash([file_hash(file) for file in files])


def combined_hash(file_hashes: Sequence[str]) -> str:
    """Return the hash of a model from the hashes of its weight files; see `model_hash`."""
    if len(file_hashes) < 2:
        return file_hashes[0] if file_hashes else ""
    return hashlib.sha256("\n".join(file_hashes).encode()).hexdigest()


def file_hash(path: Path, *, tensors_only: bool = False) -> str:
    """Return the SHA-256 of a file: known without reading it, else cached by `file_identity`, else computed.

    Args:
        path: the file.
        tensors_only: hash a safetensors file without its header, so that edited metadata does not change the hash.

    Raises:
        InputFileError: the file cannot be read.
    """
    return (None if tensors_only else precomputed_hash(path)) or content_hash(path, tensors_only=tensors_only)


def precomputed_hash(path: Path) -> str | None:
    """Return a file's hash without reading the file; None if the hash is unknown.

    The hash is the name of the file's blob in the hub's cache or, for a bundled model, its line in `SHA256SUMS`.
    `SHA256SUMS` of other folders can be outdated, for example after a training, so it is not used.
    """
    target = path.resolve()
    if target.parent.name == "blobs" and target.is_relative_to(cache.cache_folder().resolve()):
        return target.name if SHA256_PATTERN.fullmatch(target.name) else None
    if path.is_relative_to(ASSETS_FOLDER):
        parts = path.relative_to(ASSETS_FOLDER).parts
        return read_sha256sums(ASSETS_FOLDER / parts[0]).get("/".join(parts[1:]))
    return None


def read_sha256sums(folder: Path) -> dict[str, str]:
    """Read a folder's `SHA256SUMS` (format of `sha256sum`) as relative path -> hash; empty without a file.

    Raises:
        InputFileError: a line is not a hash and a path; the message contains the file and the line.
    """
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return {}
    sums = {}
    text = read_limited(path, MAX_CACHE_BYTES).decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        digest, _, name = line.partition(" ")
        if not SHA256_PATTERN.fullmatch(digest.lower()) or not name.strip():
            hint = "Install artgen or the model again."
            raise InputFileError(f"Cannot read '{path}', line {number}: not a SHA-256 sum.", hint)
        sums[name.strip().lstrip("*").removeprefix("./")] = digest.lower()
    return sums


def content_hash(path: Path, *, tensors_only: bool = False) -> str:
    """Return a file's hash from artgen's cache if the identity of the file is the same; else compute it.

    Unlike `file_hash`, this function uses neither the name of the file nor `SHA256SUMS`. The cache is optional: errors
    on reading or writing it are ignored.
    """
    identity = file_identity(path)
    path = Path(identity.path)
    version = f"{identity.inode}:{identity.size}:{identity.mtime_ns}:{path}"
    key = f"tensors:{version}" if tensors_only else version
    cache_file = user_cache_folder() / "hashes.json"
    cached = _read_cache(cache_file)
    if key in cached:
        return cached[key]
    digest = compute_sha256(path, tensors_only=tensors_only)
    valid = {old: value for old, value in cached.items() if not old.endswith(f":{path}") or old.endswith(version)}
    newest = dict(list({**valid, key: digest}.items())[-MAX_CACHED_HASHES:])
    with contextlib.suppress(OutputError):
        write_atomically(cache_file, json.dumps(newest, indent=1))
    return digest


def _read_cache(cache_file: Path) -> dict[str, str]:
    content = read_optional(cache_file, MAX_CACHE_BYTES)
    try:
        table = parse_json(content or b"{}")
    except ValueError:
        return {}
    entries = table.items() if isinstance(table, dict) else ()
    return {key: value for key, value in entries if isinstance(value, str) and SHA256_PATTERN.fullmatch(value)}
