"""Test that the torch-free model folders of tests/unit equal the tiny models, except for the values of the weights."""

import dataclasses
import json
from pathlib import Path

import model_layouts
import pytest

from artgen import registry


def without_prefix(shapes: dict[str, str]) -> dict[str, str]:
    """Return the shapes with the tensor names of transformers 5, which omit the prefix."""
    return {name.removeprefix("text_model."): shape for name, shape in shapes.items()}


@pytest.mark.parametrize("name", ["sd1", "sd1-inpaint", "sdxl", "sd3", "sd3-inpaint"])
def test_recorded_layouts_equal_the_tiny_models(models: dict[str, Path], tmp_path: Path, name: str) -> None:
    recorded = json.loads(model_layouts.LAYOUTS_FILE.read_text())[name]
    actual = model_layouts.read_layout(models[name])
    assert recorded.keys() == actual.keys()
    for file, content in recorded.items():
        if file.endswith(".safetensors"):
            assert without_prefix(content) == without_prefix(actual[file]), file
        else:  # the keys of a configuration depend on the versions of the libraries
            common = content.keys() & actual[file].keys()
            assert {key: content[key] for key in common} == {key: actual[file][key] for key in common}, file
    folder = model_layouts.write_folder(tmp_path / name, recorded)
    resolved = [registry.resolve_model(str(path)) for path in (folder, models[name])]
    assert len({dataclasses.replace(model, name="", path=folder, files=()) for model in resolved}) == 1
