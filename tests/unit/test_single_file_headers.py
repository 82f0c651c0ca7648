"""Test the verdict on the headers of single files: models, their parts and files of other kinds.

`single_file_headers.json` contains, for each file, characteristic tensors of the published file, with their shapes, and
the expected verdict: the sampling of an accepted model, or the message of a refusal.
"""

import json
import re
import struct
from pathlib import Path
from typing import Any

import pytest
from safetensors_files import zero_file

from artgen import registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError
from artgen.registry.hub import cache

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
    zero_file(path, shapes, entry.get("metadata"), dtype=entry.get("dtype", "F16"))
    write_values(path, entry.get("values", {}))
    return path


def write_values(path: Path, values: dict[str, float]) -> None:
    """Write the first value of tensors of a file; the format of the values is fp16 or fp32."""
    with path.open("r+b") as stream:
        header = stream.read(int.from_bytes(stream.read(8), "little"))
        entries = json.loads(header)
        for name, value in values.items():
            stream.seek(8 + len(header) + entries[name]["data_offsets"][0])
            stream.write(struct.pack({"F16": "<e", "F32": "<f"}[entries[name]["dtype"]], value))


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


def write_t5_snapshot(repository: str, vocabulary_size: int = 32_128) -> None:
    """Write the configurations and the tokenizer of a model with T5 to the cache of the hub, without weights."""
    root = cache.repository_folder(repository)
    snapshot = root / "snapshots" / ("0" * 40)
    index = {"_class_name": "FluxPipeline", "tokenizer_2": ["transformers", "T5TokenizerFast"]}
    files = {
        "model_index.json": index,
        "text_encoder_2/config.json": {"model_type": "t5", "vocab_size": vocabulary_size},
        "tokenizer_2/tokenizer.json": {"version": "1.0"},
        "tokenizer_2/tokenizer_config.json": {"tokenizer_class": "T5Tokenizer"},
    }
    for name, content in files.items():
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).write_text(json.dumps(content))
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("0" * 40)


@pytest.mark.parametrize(("vocabulary_size", "is_used"), [(32_128, True), (200, False)])
def test_the_t5_of_a_file_is_used_if_a_tokenizer_is_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vocabulary_size: int, is_used: bool
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    write_t5_snapshot("owner/model", vocabulary_size)
    file = write_file(tmp_path, FILES["sd3_medium_incl_clips_t5xxlfp16"])
    model = registry.resolve_model(str(file), offline=True)
    assert model.single_file is not None
    assert ("text_encoder_3" in model.single_file.parts) == is_used
    assert (model.config_folder / "tokenizer_3" / "tokenizer.json").is_file() == is_used
    assert any("not used" in note for note in model.notes) != is_used


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ({"edm_vpred.sigma_max": 0.0}, "sigma_max is not a noise level"),
        ({"edm_vpred.sigma_max": float("nan")}, "sigma_max is not a noise level"),
        ({"edm_vpred.sigma_max": 0.001}, "is not below its largest one"),
        ({"edm_mean": 1.0}, "edm_mean does not have 4 finite values"),
    ],
)
def test_invalid_edm_parameters_are_refused(tmp_path: Path, sigmas: dict[str, float], message: str) -> None:
    file = write_file(tmp_path, {**FILES["sd_xl_base_1.0"], "extra": dict.fromkeys(sigmas, ""), "dtype": "F32"})
    write_values(file, sigmas)
    with pytest.raises(InputFileError, match=message):
        registry.resolve_model(str(file), offline=True)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prediction": "v"}, "prediction cannot be 'v'"),
        ({"zero_snr": 1}, "zero_snr cannot be 1"),
        ({"prediction": "flow"}, "is a model with a UNet"),
        ({"base": ""}, "base cannot be ''"),
        ({"base": "./missing"}, "Cannot find a model at './missing'"),
    ],
)
def test_invalid_values_of_an_artgen_json_file_are_refused(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    file = write_file(tmp_path, {**FILES["v1-5-pruned-emaonly"], "sidecar": fields})
    with pytest.raises(ArtgenError, match=re.escape(message)):
        registry.resolve_model(str(file), offline=True)


@pytest.mark.parametrize(
    ("name", "extra", "fields", "message"),
    [
        ("sd3_medium_incl_clips", {}, {"prediction": "epsilon"}, "a flow-matching model"),
        ("sd3_medium_incl_clips", {}, {"zero_snr": True}, "a flow-matching model"),
        ("sd_xl_base_1.0", {"edm_mean": "4", "edm_std": "4"}, {"prediction": "v_prediction"}, "a Playground 2.5 model"),
        ("sd_xl_base_1.0", {"edm_mean": "4", "edm_std": "4"}, {"zero_snr": True}, "a Playground 2.5 model"),
    ],
)
def test_values_of_an_artgen_json_file_without_an_effect_are_refused(
    tmp_path: Path, name: str, extra: dict[str, str], fields: dict[str, object], message: str
) -> None:
    file = write_file(tmp_path, {**FILES[name], "extra": extra, "sidecar": fields})
    with pytest.raises(InputFileError, match=message):
        registry.resolve_model(str(file), offline=True)


@pytest.mark.parametrize("file", ["lightning_4step", "lightning_1step", "hyper_8step", "mix_dmd2", "mix_lcm"])
def test_a_distilled_variant_keeps_the_detected_zero_snr_schedule(tmp_path: Path, file: str) -> None:
    entry = {**FILES["sd_xl_base_1.0"], "file": file, "extra": {"v_pred": "", "ztsnr": ""}}
    model = registry.resolve_model(str(write_file(tmp_path, entry)), offline=True)
    config = registry.read_scheduler_config(model.config_folder)
    assert "with a zero-SNR schedule" in " ".join(model.notes)
    assert (config["prediction_type"], config["rescale_betas_zero_snr"]) == ("v_prediction", True)
