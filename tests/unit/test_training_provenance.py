"""Test reading the provenance of training images from untrusted records."""

import json
from pathlib import Path
from typing import Any

import pytest

from artgen.registry.training_provenance import (
    MAX_BASE_MODELS,
    DatasheetCheck,
    TrainingProvenance,
    check_datasheet,
    parse_training_provenance,
    provenance_in_metadata,
)

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    "record",
    [
        None,
        [],
        "text",
        {"images": 3},
        {"licenses": ["MIT"]},
        {"datasheet_sha256": DIGEST.upper()},
        {"licenses": {"MIT": True}},
        {"licenses": {"x" * 201: 1}},
        {"base_training": {"licenses": {"MIT": -1}}},
    ],
)
def test_values_of_other_types_are_ignored(record: Any) -> None:
    assert parse_training_provenance(record) is None


def test_record_without_licenses_of_an_earlier_version_is_read() -> None:
    metadata = {"artgen": json.dumps({"datasheet_sha256": DIGEST, "images": 3})}
    assert provenance_in_metadata(metadata) == TrainingProvenance(DIGEST, {}, 3)
    assert provenance_in_metadata({"artgen": "{"}) is provenance_in_metadata({}) is None


def test_number_of_base_models_is_bounded() -> None:
    record: dict[str, Any] = {"datasheet_sha256": DIGEST}
    for _ in range(30):
        record = {"datasheet_sha256": DIGEST, "base_training": record}
    provenance, count = parse_training_provenance(record), 0
    while provenance:
        provenance, count = provenance.base, count + 1
    assert count == MAX_BASE_MODELS + 1


def test_missing_datasheet_is_neither_equal_nor_different(tmp_path: Path) -> None:
    provenance = TrainingProvenance(DIGEST, {"MIT": 2}, 2)
    assert check_datasheet(tmp_path / "mine.safetensors", provenance) == DatasheetCheck(None, None)
    sheet = tmp_path / "mine.datasheet.json"
    sheet.write_text("{}")
    assert check_datasheet(tmp_path / "mine.safetensors", provenance) == DatasheetCheck(sheet, False)
