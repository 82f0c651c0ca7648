"""Compare the recorded model, device and versions with this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from artgen import registry
from artgen.errors import UsageError
from artgen.spec.settings import MAX_BATCH_SIZE
from artgen.system import hardware

PIXEL_AFFECTING_PACKAGES = ("torch", "diffusers", "transformers", "scikit-image")
"""Packages whose versions may affect the pixels."""


def pinned_model(path: Path, record: Mapping[str, Any]) -> Any:
    """Return the recorded model with its recorded revision, such as `ada/fox@<commit>`.

    Raises:
        UsageError: the model is a local file, or a path that the user has not named.
    """
    name = str(record["model"])
    if record.get("model_source") == "local":
        raise UsageError(
            f"Cannot replay '{path}': it was generated with the local model {name!r} (SHA-256 "
            f"{str(record.get('model_hash'))[:10]}...).",
            "Set the path of the model: --set model=PATH",
        )
    reference = registry.parse_reference(name)
    if reference.kind in ("folder", "file") and reference.info is None:
        raise UsageError(
            f"Cannot replay '{path}': its model {name!r} is a path on this computer, and paths from metadata are not "
            "opened.",
            "Set the model: --set model=NAME",
        )
    revision = record.get("model_revision")
    return f"{name}@{revision}" if revision and "@" not in name else record["model"]


def is_device_available(record: Mapping[str, Any]) -> bool:
    """Return whether this machine has a device of the recorded kind."""
    device = str(record.get("device", "auto"))
    if device.startswith("cuda"):
        return bool(hardware.cuda_device_count())
    return device != "mps" or hardware.has_mps()


def recorded_batch_size(record: Mapping[str, Any]) -> int:
    """Return the recorded batch size; 1 if it is missing or invalid."""
    batch_size = record.get("batch_size")
    return batch_size if isinstance(batch_size, int) and 1 < batch_size <= MAX_BATCH_SIZE else 1


def difference_notes(record: Mapping[str, Any]) -> list[str]:
    """Return notes about optimizations that round differently and about other versions of packages."""
    import importlib.metadata

    notes = []
    inexact_optimizations = record.get("rounding")
    if isinstance(inexact_optimizations, list) and inexact_optimizations:
        names = ", ".join(map(str, inexact_optimizations))
        notes.append(f"The image was generated with {names}. The pixels may differ slightly.")
    for package in PIXEL_AFFECTING_PACKAGES:
        recorded, installed = record.get(package), importlib.metadata.version(package)
        if recorded and str(recorded).partition("+")[0] != installed.partition("+")[0]:
            notes.append(
                f"The image was generated with {package} {recorded}, and {installed} is installed. The pixels may "
                "differ."
            )
    return notes
