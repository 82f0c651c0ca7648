"""Test the verdict on the headers of single files: models, their parts and files of other kinds.

`single_file_headers.json` contains, for each file, characteristic tensors of the published file, with their shapes, and
the expected verdict: the sampling of an accepted model, or the message of a refusal.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from safetensors_files import zero_file

from artgen import registry
from artgen.errors import ModelUnavailableError

DATA: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "helpers" / "single_file_headers.json").read_text("utf-8")
)
FILES: dict[str, dict[str, Any]] = {entry["file"]: entry for entry in DATA["files"]}


def write_file(folder: Path, entry: dict[str, Any]) -> Path:
    """Write the header of a file, with zeros as data, and the `.artgen.json` file next to it."""
    tensors: dict[str, str] = {}
    for name in entry["tensors"]:
        tensors |= DATA["tensor_sets"][name]
    removed = tuple(entry.get("remove", ()))
    tensors = {key: shape for key, shape in tensors.items() if not removed or not key.startswith(removed)}
    tensors |= entry.get("extra", {})
    prefix = entry.get("prefix", "")
    shapes = {
        prefix + key: tuple(map(int, shape.split("x"))) if shape else () for key, shape in sorted(tensors.items())
    }
    if "sidecar" in entry:
        (folder / f"{entry['file']}.artgen.json").write_text(json.dumps(entry["sidecar"]))
    path = folder / f"{entry['file']}.safetensors"
    return zero_file(path, shapes, entry.get("metadata"), dtype=entry.get("dtype", "F16"))


def test_the_data_has_enough_files_of_both_verdicts() -> None:
    verdicts = ["refused" in entry["verdict"] for entry in FILES.values()]
    assert len(FILES) == len(DATA["files"]) >= 60
    assert verdicts.count(False) >= 30
    assert verdicts.count(True) >= 30


@pytest.mark.parametrize("name", [name for name, entry in FILES.items() if "refused" not in entry["verdict"]])
def test_a_model_is_loaded_with_what_its_header_says(tmp_path: Path, name: str) -> None:
    verdict = FILES[name]["verdict"]
    model = registry.resolve_model(str(write_file(tmp_path, FILES[name])), offline=True)
    config = registry.read_scheduler_config(model.config_folder)
    assert re.fullmatch(rf"{re.escape(verdict['family'])}-[0-9a-f]{{12}}", model.config_folder.name)
    assert verdict.get("scheduler") in (None, f"{config['_class_name']} {model.prediction}")
    if model.prediction != "flow":
        assert config.get("prediction_type", "epsilon") == model.prediction
    assert bool(config.get("rescale_betas_zero_snr")) == verdict.get("zero_snr", False)
    index = json.loads((model.config_folder / "model_index.json").read_text())
    assert model.pipeline == index["_class_name"] == verdict.get("pipeline", model.pipeline)
    assert index["scheduler"][1] == config["_class_name"]
    assert (verdict.get("steps", model.steps), verdict.get("guidance", model.guidance_scale)) == (
        model.steps,
        model.guidance_scale,
    )
    assert model.native_size[0] == verdict.get("size", model.native_size[0])
    assert verdict.get("note", "") in " ".join(model.notes)


@pytest.mark.parametrize("name", [name for name, entry in FILES.items() if "refused" in entry["verdict"]])
def test_any_other_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    file = write_file(tmp_path, FILES[name])
    with pytest.raises(ModelUnavailableError, match=FILES[name]["verdict"]["refused"]) as caught:
        registry.resolve_model(str(file), offline=True)
    assert caught.value.hint
    assert not caught.value.message.endswith("..")
