"""Read the provenance of training images from a LoRA file or a model folder that `artgen train` wrote. Torch-free.

The provenance is a part of the training record: the SHA-256 of the datasheet and the number of images per license. The
record is the value `artgen` of the metadata of a LoRA file, or the value `training` of a model's `artgen.json`. It is
untrusted: values with other types are ignored, and the numbers of licenses and of base models are bounded.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.registry import diffusers_folder
from artgen.registry.hashes import SHA256_PATTERN, content_hash
from artgen.registry.safetensors_header import read_header
from artgen.system.external_data import parse_json

MAX_LICENSES = 1000
"""Largest number of licenses that are read."""

MAX_LICENSE_CHARS = 200
"""Longest name of a license that is read, in characters."""

MAX_BASE_MODELS = 8
"""Largest number of base models whose provenance is read: a model that was trained from a trained model."""

DATASHEET_NAME = "datasheet.json"
"""File name of the datasheet that `train` writes into the folder `NAME-training`."""


@dataclass(frozen=True)
class TrainingProvenance:
    """Store what a training record states about the training images.

    Attributes:
        datasheet_sha256: SHA-256 of `datasheet.json`, 64 hex digits; None if it is not stated.
        licenses: number of training images of each license; empty in files of earlier versions.
        num_images: number of training images; None if it is not stated.
        base: provenance of the base model; None if the base model contains none.
    """

    datasheet_sha256: str | None
    licenses: Mapping[str, int]
    num_images: int | None
    base: "TrainingProvenance | None" = None

    def record(self) -> dict[str, Any]:
        """Return the provenance as JSON values, with the names of a training record. Unknown values are missing."""
        values = {
            "datasheet_sha256": self.datasheet_sha256,
            "licenses": dict(self.licenses),
            "images": self.num_images,
            "base_training": self.base and self.base.record(),
        }
        return {name: value for name, value in values.items() if value}

    def fields(self) -> dict[str, Any]:
        """Return the fields of `artgen info` and `artgen models show`. Unknown values are missing."""
        values = self.record()
        names = {"licenses": "training_licenses", "images": "training_images"}
        return {names.get(name, name): value for name, value in values.items()}


@dataclass(frozen=True)
class DatasheetCheck:
    """Store the result of comparing a datasheet with the hash in a training record.

    Attributes:
        path: the datasheet; None if no datasheet is next to the file.
        is_equal: whether the SHA-256 is equal; None without a datasheet.
    """

    path: Path | None
    is_equal: bool | None


def read_training_provenance(path: Path) -> TrainingProvenance | None:
    """Return the provenance of a LoRA file or a model folder; None if it was not written by `artgen train`.

    Args:
        path: `.safetensors` file, or folder with `artgen.json`.

    Raises:
        InputFileError: the file cannot be read, or is not a safetensors file.
        RefusedError: the file is a pickle.
    """
    if path.is_dir():
        return parse_training_provenance(diffusers_folder.read_optional_config(path / "artgen.json").get("training"))
    return provenance_in_metadata(read_header(path).metadata)


def provenance_in_metadata(metadata: Mapping[str, str]) -> TrainingProvenance | None:
    """Return the provenance in the metadata of a safetensors header; None if it contains none."""
    try:
        record = parse_json(metadata.get("artgen", "null"))
    except ValueError:
        return None
    return parse_training_provenance(record)


def parse_training_provenance(record: Any, depth: int = 0) -> TrainingProvenance | None:
    """Return the provenance in a training record; None if the value is not a training record.

    Args:
        record: JSON value.
        depth: number of models between this record and the result of the training.
    """
    if not isinstance(record, Mapping) or depth > MAX_BASE_MODELS:
        return None
    digest, images, licenses = record.get("datasheet_sha256"), record.get("images"), record.get("licenses")
    is_hash = isinstance(digest, str) and SHA256_PATTERN.fullmatch(digest)
    provenance = TrainingProvenance(
        datasheet_sha256=digest if is_hash else None,
        licenses=dict(_license_counts(licenses.items())) if isinstance(licenses, Mapping) else {},
        num_images=images if _is_count(images) else None,
        base=parse_training_provenance(record.get("base_training"), depth + 1),
    )
    return provenance if provenance.datasheet_sha256 or provenance.licenses or provenance.base else None


def _license_counts(items: Iterable[tuple[str, Any]]) -> Iterable[tuple[str, int]]:
    valid = ((name, count) for name, count in items if len(name) <= MAX_LICENSE_CHARS and _is_count(count))
    return list(valid)[:MAX_LICENSES]


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def check_datasheet(path: Path, provenance: TrainingProvenance) -> DatasheetCheck:
    """Compare the datasheet next to a LoRA file or a model folder with the hash in its training record.

    The datasheet is `NAME-training/datasheet.json` or `NAME.datasheet.json` in the same folder, in this order.

    Raises:
        InputFileError: the datasheet cannot be read.
    """
    found = next((each for each in _datasheet_paths(path) if each.is_file()), None)
    if found is None or provenance.datasheet_sha256 is None:
        return DatasheetCheck(found, None)
    return DatasheetCheck(found, content_hash(found) == provenance.datasheet_sha256)


def _datasheet_paths(path: Path) -> tuple[Path, ...]:
    name = path.name.removesuffix(".safetensors")
    return path.with_name(f"{name}-training") / DATASHEET_NAME, path.with_name(f"{name}.{DATASHEET_NAME}")
