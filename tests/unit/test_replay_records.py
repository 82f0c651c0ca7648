"""Test the conversion of untrusted records to replay requests: unknown fields, schemas and values of wrong types."""

import json
from pathlib import Path
from typing import Any

import pytest

from artgen._version import RECORD_SCHEMA
from artgen.errors import ArtgenError, InputFileError
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.replay import read_replay_spec
from artgen.spec.records import PROVENANCE_FIELDS, to_record

RECORD: dict[str, Any] = {"artgen": "0.1.0", "task": "txt2img", "prompt": "x", "seed": 1, "steps": 2, "model": "tiny"}


def save_record(record: object) -> Path:
    path = Path("record.json")
    path.write_text(record if isinstance(record, str) else json.dumps(record))
    return path


def test_unknown_fields_are_kept_in_the_new_record_and_noted() -> None:
    unknown = {"new_fact": 1, "nested": {"a": [1, {"b": None}]}, "\x1b[2J\nseed": "x"}
    spec = read_replay_spec(save_record({**RECORD, "artgen": "0.2.0", **unknown}), {})
    (job,) = prepare_jobs([spec.request])
    assert to_record(job.request, job.provenance).items() >= unknown.items()
    (note,) = spec.notes
    assert all(name in note for name in unknown)


def test_a_recorded_score_model_is_not_opened(tmp_path: Path) -> None:
    selection = {"best_of": 4, "score": "clip", "score_model": str(tmp_path)}
    spec = read_replay_spec(save_record({**RECORD, **selection}), {})
    assert [vars(spec.request)[name] for name in selection] == [None] * 3
    assert all(name in spec.notes[0] for name in selection)
    changed = read_replay_spec(save_record({**RECORD, **selection}), {"best_of": 2})
    assert [vars(changed.request)[name] for name in selection] == [2, None, None]


@pytest.mark.parametrize("schema", [RECORD_SCHEMA, RECORD_SCHEMA + 1])
def test_a_newer_schema_is_noted(schema: int) -> None:
    spec = read_replay_spec(save_record({**RECORD, "schema": schema, "steps": 7}), {})
    assert spec.request.steps == 7
    assert ["schema" in note for note in spec.notes] == [True] * (schema > RECORD_SCHEMA)


def test_a_record_without_a_schema_gives_the_same_request() -> None:
    assert (
        read_replay_spec(save_record(RECORD), {}).request
        == read_replay_spec(save_record({**RECORD, "schema": RECORD_SCHEMA}), {}).request
    )


WRONG_VALUES = [True, [1], {"a": 1}, -0.5, [[]], [None], "x" * 100_000, ["x"] * 1000]


@pytest.mark.parametrize(
    "name",
    [
        "prompt",
        "steps",
        "seed",
        "width",
        "model",
        "scheduler",
        "fast",
        "lora",
        "device",
        "vae_tiling",
        *PROVENANCE_FIELDS,
    ],
)
@pytest.mark.parametrize("value", WRONG_VALUES, ids=lambda value: repr(value)[:20])
def test_values_of_wrong_types_are_refused_in_one_sentence_or_used(name: str, value: object) -> None:
    try:
        read_replay_spec(save_record({**RECORD, name: value}), {})
    except ArtgenError as caught:
        error = caught
    else:
        return  # for example a long prompt
    assert error.exit_code in ((2, 3, 4, 5) if name in ("model", "lora") else (InputFileError.exit_code,))
    assert len(error.message) < 2100


@pytest.mark.parametrize(
    "text",
    [
        '{"artgen": "0.1.0", "prompt": "x", "seed": VALUE}'.replace("VALUE", value)
        for value in ("1e999", "9" * 5000, "[" * 5000 + "1" + "]" * 5000, '{"a":' * 500 + "1" + "}" * 500, "NaN")
    ]
    + ['["artgen"]', "{}"],
    ids=lambda text: text[:60],
)
def test_json_that_is_not_a_record_is_refused(text: str) -> None:
    with pytest.raises(InputFileError) as caught:
        read_replay_spec(save_record(text), {})
    assert len(caught.value.message) < 2100


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "..", "/dev/zero", "x" * 5000], ids=lambda name: name[:9])
def test_hostile_names_of_input_files_are_refused(name: str) -> None:
    record = {"artgen": "0.1.0", "task": "img2img", "prompt": "x", "seed": 1, "image": name, "image_sha256": "0" * 64}
    with pytest.raises(InputFileError):
        read_replay_spec(save_record(record), {})
