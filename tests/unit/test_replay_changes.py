"""Test that replay removes the recorded settings that contradict a change."""

import json
from pathlib import Path
from typing import Any

import pytest

from artgen.jobs.replay import read_replay_spec

HIRES = {"hires": "2:0.5", "hires_in": "pixel", "hires_steps": 5}
VARIED = {"variation_seed": 3, "variation_strength": 0.2}


@pytest.mark.parametrize(
    ("recorded", "changes", "expected"),
    [
        (HIRES, {"hires": ""}, dict.fromkeys(HIRES)),
        (HIRES, {"hires_steps": "9"}, {**HIRES, "hires_steps": 9}),
        (HIRES, {"hires_in": "latent"}, {**HIRES, "hires_in": "latent"}),
        (VARIED, {"variation_strength": ""}, dict.fromkeys(VARIED)),
        (VARIED, {"variation_seed": "9"}, {**VARIED, "variation_seed": 9}),
    ],
)
def test_settings_that_need_a_removed_setting_are_removed(
    recorded: dict[str, Any], changes: dict[str, str], expected: dict[str, Any]
) -> None:
    record = {"artgen": "0.1", "task": "txt2img", "prompt": "x", "model": "tiny", "seed": 1, "steps": 9, **recorded}
    Path("a.json").write_text(json.dumps(record))
    request = read_replay_spec(Path("a.json"), changes).request
    assert {name: getattr(request, name) for name in expected} == expected
