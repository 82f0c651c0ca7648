"""Convert pickled checkpoints to safetensors files in another process, which has limits of memory and time."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, MemoryExhaustedError, OutputError, RefusedError, UsageError
from artgen.registry.safetensors_header import PICKLE_SUFFIXES, is_pickled_content, read_header
from artgen.system.counts import counted
from artgen.system.external_data import parse_json
from artgen.system.files import (
    missing_file_error,
    nearest_existing,
    rename_exclusively,
    wrap_read_errors,
    wrap_write_errors,
)
from artgen.system.input_files import is_regular_file
from artgen.system.temporary import fsync_tree, temp_folder

CONVERTER = Path(__file__).resolve().parent.parent / "engine" / "unpickle.py"
BASE_SECONDS = 120.0
MIN_BYTES_PER_SECOND = 5_000_000
"""The time limit of a conversion is `BASE_SECONDS` plus the size of the file divided by this speed."""
BASE_MEMORY_BYTES = 1 << 30
MEMORY_PER_BYTE = 3
"""The address space may grow by `BASE_MEMORY_BYTES` plus this number of times the size of the file."""
MAX_REPORT_BYTES = 1 << 20
MAX_NAMED_ENTRIES = 8
SECRET_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "CIVITAI_TOKEN", "ARTGEN_CIVITAI_TOKEN")
_PICKLE_LIST = ", ".join(sorted(PICKLE_SUFFIXES))


@dataclass(frozen=True)
class Conversion:
    """Describe a converted file.

    Attributes:
        path: the safetensors file.
        notes: sentences for the user.
    """

    path: Path
    notes: tuple[str, ...]


def default_output(path: Path) -> Path:
    """Return the path of the converted file: the same name with the suffix `.safetensors`.

    transformers reads `model.safetensors` in place of `pytorch_model.bin`, so that name changes too.
    """
    stem = path.stem.replace("pytorch_model", "model", 1) if path.stem.startswith("pytorch_model") else path.stem
    return path.with_name(f"{stem}.safetensors")


def convert_pickle(path: Path, output: Path, *, overwrite: bool = False) -> Conversion:
    """Convert a pickled checkpoint with `torch.load(weights_only=True)` in another process.

    Args:
        path: `.ckpt`, `.pt`, `.pth`, `.bin`, `.pkl` or `.pickle` file.
        output: safetensors file to write.
        overwrite: replace an existing file.

    Raises:
        UsageError: the suffix of a path is wrong.
        InputFileError: the file is missing, damaged, or contains no tensors.
        RefusedError: the file can run code, or needs more memory or time than weights of its size.
        OutputError: the output exists or cannot be written.
    """
    _check_input(path)
    size = _check_output(path, output, overwrite)
    with wrap_write_errors(output):
        output.parent.mkdir(parents=True, exist_ok=True)
        with temp_folder(output.parent) as folder:
            temporary = folder / "converted.safetensors"
            report = _run_converter(path, temporary, size)
            try:
                header = read_header(temporary)
            except InputFileError:  # a header over the limit of artgen
                raise InputFileError(
                    f"Cannot convert '{path}': it has more names of tensors than artgen reads.", "Use another copy."
                ) from None
            temporary.chmod(folder.stat().st_mode & 0o666)  # safetensors creates files that only the user can read
            fsync_tree(folder)
            if overwrite:
                temporary.replace(output)
            elif not rename_exclusively(temporary, output):
                raise _exists_error(output)
    notes = [f"Converted {counted(len(header.tensors), 'tensor')} of '{path}'."]
    if source := str(report.get("source") or ""):
        notes.append(f"The tensors are the entry '{source[:80]}' of the file.")
    if skipped := [str(name)[:40] for name in report.get("skipped") or ()]:
        more = f" and {len(skipped) - MAX_NAMED_ENTRIES} more" if len(skipped) > MAX_NAMED_ENTRIES else ""
        notes.append(f"Not stored: {', '.join(skipped[:MAX_NAMED_ENTRIES])}{more}.")
    return Conversion(output, tuple(notes))


def _check_input(path: Path) -> None:
    if not os.path.lexists(path):
        raise missing_file_error(path)
    if path.suffix.lower() == ".safetensors":
        if path.is_file() and is_pickled_content(path):
            raise UsageError(f"'{path}' is a Python pickle with a wrong suffix.", f"Rename it to {path.stem}.pt.")
        raise UsageError(f"'{path}' is a safetensors file already.", "Pass it with --model or --lora.")
    if path.suffix.lower() not in PICKLE_SUFFIXES and not path.is_dir():
        raise UsageError(
            f"Cannot convert '{path}': the suffix is '{path.suffix}' instead of one of {_PICKLE_LIST}.",
            "Pass a checkpoint of PyTorch.",
        )
    if not is_regular_file(path):
        raise InputFileError(f"Cannot convert '{path}': it is a pipe.", "Save the data to a file.")
    with wrap_read_errors(path), path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise InputFileError(f"'{path}' is empty.", "Download it again.")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise InputFileError(f"'{path}' is a web page, not a checkpoint.", "Download the file again.")
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        raise InputFileError(
            f"'{path}' is a safetensors file with a wrong suffix.", f"Rename it to {path.stem}.safetensors."
        )


def _check_output(path: Path, output: Path, overwrite: bool) -> int:
    """Check the output before slow work; return the size of the input in bytes."""
    if output.suffix.lower() != ".safetensors":
        raise UsageError(
            f"Cannot write '{output}': the suffix must be .safetensors.", f"-o {default_output(path).name}"
        )
    if os.path.lexists(output) and (not overwrite or output.is_dir()):
        raise _exists_error(output)
    with wrap_read_errors(path):
        size = path.stat().st_size
    with wrap_write_errors(output):
        free_bytes = shutil.disk_usage(nearest_existing(output.absolute().parent)).free
    if size > free_bytes:
        raise OutputError(
            f"Cannot write '{output}': the conversion needs {size / 1e9:.1f} GB, and the disk has "
            f"{free_bytes / 1e9:.1f} GB left.",
            "Free some space, or choose another -o.",
        )
    return size


def _exists_error(output: Path) -> OutputError:
    return OutputError(f"'{output}' exists already.", "Choose another -o, or add --overwrite.")


def _run_converter(path: Path, output: Path, size: int) -> dict[str, Any]:
    """Run the converter; return its report.

    Raises:
        ArtgenError: the file was not converted; see `convert_pickle`.
    """
    memory = int(BASE_MEMORY_BYTES + MEMORY_PER_BYTE * size)
    command = [sys.executable, "-P", str(CONVERTER), str(path.absolute()), str(output.absolute()), str(memory)]
    environment = {name: value for name, value in os.environ.items() if name not in SECRET_VARIABLES}
    seconds = BASE_SECONDS + size / MIN_BYTES_PER_SECOND
    try:
        process = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise RefusedError(
            f"Cannot convert '{path}': reading it takes longer than {seconds:.0f} seconds.", "Use another copy."
        ) from None
    try:
        report = parse_json(process.stdout[:MAX_REPORT_BYTES])
    except ValueError:
        report = None
    if isinstance(report, dict) and report.get("status") == "ok":
        return report
    if process.returncode == -getattr(signal, "SIGKILL", 9):
        raise MemoryExhaustedError(f"Cannot convert '{path}': the memory is full.", "Close other programs.")
    raise _conversion_error(path, report if isinstance(report, dict) else {}, memory)


def _conversion_error(path: Path, report: dict[str, Any], memory: int) -> ArtgenError:
    status, reason = report.get("status"), str(report.get("reason") or "it is damaged")[:300].rstrip(".")
    if status == "unsafe":
        return RefusedError(f"Cannot convert '{path}': {reason}.", "Use a .safetensors version of the model.")
    if status == "memory":
        return RefusedError(
            f"Cannot convert '{path}': reading it needs more than {memory / 1e9:.1f} GB of memory, which is too much "
            "for a file of its size.",
            "Use a .safetensors version of the model.",
        )
    if status == "output":
        return OutputError(f"Cannot write the converted file: {reason}.", "Free some space, or choose another -o.")
    return InputFileError(f"Cannot convert '{path}': {reason}.", "Download it again, or use another copy.")
