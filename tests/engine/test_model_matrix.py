"""Test that each model of the zoo generates the bytes of plain diffusers, or is refused, for each task."""

from collections.abc import Mapping
from pathlib import Path

import model_matrix
import pytest
from tiny_zoo import BUILDERS

EXPECTED = model_matrix.expected_outcomes()
MIN_MODELS = 45
QUICK_CELLS = (
    ("flux-dev", "txt2img"),
    ("qwen-image", "txt2img"),
    ("z-image-turbo", "img2img"),
    ("chroma", "inpaint"),
    ("sd3", "outpaint"),
    ("ddpm", "sample"),
    ("pix2pix", "img2img"),
    ("pix2pix", "edit"),
)
"""Cells that are verified in each run of the tests; the others are marked `slow`."""
CELLS = [
    pytest.param(name, task, marks=() if (name, task) in QUICK_CELLS else pytest.mark.slow)
    for name in BUILDERS
    for task in model_matrix.TASKS
]


def test_the_matrix_contains_all_models_and_tasks() -> None:
    assert len(EXPECTED) >= MIN_MODELS
    assert BUILDERS.keys() <= EXPECTED.keys()
    for row in EXPECTED.values():
        assert row.keys() == {"class", "description", *model_matrix.TASKS}


@pytest.mark.parametrize(("name", "task"), CELLS)
def test_model_equals_plain_diffusers_or_is_refused(
    zoo: Mapping[str, Path], tmp_path: Path, name: str, task: str
) -> None:
    outcome = model_matrix.compare(name, zoo[name], task, tmp_path)
    assert not outcome.is_fault, outcome.error
    assert outcome.pipeline == EXPECTED[name][task], outcome.error
