"""SHA-256 of weights, computed as seldom as possible."""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from artgen.errors import InputFileError, OutputError
from artgen.registry.catalog import ASSETS_FOLDER
from artgen.system.files import write_atomically
from artgen.system.paths import user_cache_folder

SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")
_READ_BLOCK_BYTES = 1 << 20


def compute_sha256(path: Path, on_bytes: Callable[[int], None] | None = None, *, tensors_only: bool = False) -> str:
    """The SHA-256 of a file's contents, read now; `on_bytes` hears the size of each block.

    With `tensors_only`, of what follows the header of a safetensors file (kohya's `addnet_hash_safetensors`).

    Raises:
        InputFileError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            if tensors_only:
                file.seek(8 + int.from_bytes(file.read(8), "little"))
            while block := file.read(_READ_BLOCK_BYTES):
                digest.update(block)
                if on_bytes:
                    on_bytes(len(block))
    except OSError as problem:
        raise InputFileError(f"{path} cannot be read: {problem.strerror}.", "Check the path and its rights.") from None
    return digest.hexdigest()


def model_hash(files: Sequence[Path]) -> str:
    """The hash of a model's main weights; for shards, that of their hashes in order, one a line.

    Taken from the name of the cached blob or from `SHA256SUMS` where these say it; otherwise computed and remembered
    by path, size and modification time. Empty for no files.

    Raises:
        InputFileError: a file cannot be read.
    """
    each = [file_hash(file) for file in files]
    if len(each) < 2:
        return each[0] if each else ""
    return hashlib.sha256("\n".join(each).encode()).hexdigest()


def file_hash(path: Path, *, tensors_only: bool = False) -> str:
    """The SHA-256 of a file, known, remembered or computed; see `model_hash`.

    Args:
        path: the file.
        tensors_only: of a safetensors file without its header, so that edited metadata make no difference.

    Raises:
        InputFileError: the file cannot be read.
    """
    return (None if tensors_only else precomputed_hash(path)) or _cached_hash(path, tensors_only)


def precomputed_hash(path: Path) -> str | None:
    """A file's hash without reading it, or None.

    It is the name of its blob in the hub's cache, or, for a bundled model, its line in that model's `SHA256SUMS`.
    (Other folders' sums are not believed: whoever trains the weights on may forget them.)
    """
    if path.is_symlink():
        target = path.readlink().name
        return target if SHA256_PATTERN.fullmatch(target) else None
    if path.is_relative_to(ASSETS_FOLDER):
        parts = path.relative_to(ASSETS_FOLDER).parts
        return read_sha256sums(ASSETS_FOLDER / parts[0]).get("/".join(parts[1:]))
    return None


def read_sha256sums(folder: Path) -> dict[str, str]:
    """The `SHA256SUMS` of a folder (`sha256sum`'s format), relative path -> hash; empty without one.

    Raises:
        InputFileError: a line that is no sum; names the file and the line.
    """
    path = folder / "SHA256SUMS"
    if not path.is_file():
        return {}
    sums = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        digest, _, name = line.partition(" ")
        if not SHA256_PATTERN.fullmatch(digest.lower()) or not name.strip():
            raise InputFileError(f"{path}, line {number}: not a SHA-256 sum.", "Install artgen or the model again.")
        sums[name.strip().lstrip("*").removeprefix("./")] = digest.lower()
    return sums


def _cached_hash(path: Path, tensors_only: bool = False) -> str:
    """A file's hash, from the memory of earlier runs when path, size and modification time are the same.

    The memory is a convenience: one that cannot be read or written is done without.
    """
    path = path.resolve()
    try:
        facts = path.stat()
    except OSError as problem:
        raise InputFileError(f"{path} cannot be read: {problem.strerror}.", "Check the path.") from None
    version = f"{facts.st_size}:{facts.st_mtime_ns}:{path}"
    key = f"tensors:{version}" if tensors_only else version
    memory: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError):
        loaded = json.loads((user_cache_folder() / "hashes.json").read_text(encoding="utf-8"))
        memory = loaded if isinstance(loaded, dict) else {}
    if SHA256_PATTERN.fullmatch(str(memory.get(key, ""))):
        return memory[key]
    digest = compute_sha256(path, tensors_only=tensors_only)
    kept = {old: value for old, value in memory.items() if not old.endswith(f":{path}") or old.endswith(version)}
    with contextlib.suppress(OutputError):
        write_atomically((user_cache_folder() / "hashes.json"), json.dumps({**kept, key: digest}, indent=1))
    return digest
