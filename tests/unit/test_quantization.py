"""Test the configurations of quantized components: accepted if the package is installed, else refused by name."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from artgen import registry
from artgen.errors import ArtgenError, ModelUnavailableError, RefusedError
from artgen.registry import model_configs
from artgen.registry.quantization import check_quantization

WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("bitsandbytes", {
        "_load_in_4bit": True, "_load_in_8bit": False, "bnb_4bit_compute_dtype": "bfloat16",
        "bnb_4bit_quant_storage": "uint8", "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": False,
        "llm_int8_enable_fp32_cpu_offload": False, "llm_int8_has_fp16_weight": False, "llm_int8_skip_modules": None,
        "llm_int8_threshold": 6.0, "load_in_4bit": True, "load_in_8bit": False, "quant_method": "bitsandbytes",
    }),
    ("bitsandbytes", {"load_in_8bit": True}),
    ("torchao", {"modules_to_not_convert": None, "quant_method": "torchao", "quant_type": "int8wo",
                 "quant_type_kwargs": {}}),
    ("torchao", {"quant_method": "torchao", "include_input_output_embeddings": False, "modules_to_not_convert": ["a.b"],
                 "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_version": 1, "_data": {
                     "group_size": None, "set_inductor_config": True}}}, "untie_embedding_weights": False}),
    ("quanto", {"modules_to_not_convert": [], "quant_method": "quanto", "weights_dtype": "int8"}),
]  # fmt: skip
"""Configurations as diffusers and transformers write them, with the package that they need."""


def install(monkeypatch: pytest.MonkeyPatch, *, installed: bool) -> None:
    """Let all packages of quantizations seem to be installed, or none."""
    find = importlib.util.find_spec
    names = ("bitsandbytes", "torchao", "optimum", "optimum.quanto")

    def find_spec(name: str, package: str | None = None) -> Any:
        return (object() if installed else None) if name in names else find(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)


@pytest.mark.parametrize(("package", "config"), WRITTEN, ids=lambda value: str(value)[:30])
def test_a_quantization_is_accepted_if_its_package_is_installed(
    monkeypatch: pytest.MonkeyPatch, package: str, config: dict[str, Any]
) -> None:
    install(monkeypatch, installed=True)
    check_quantization(Path("config.json"), config)
    install(monkeypatch, installed=False)
    with pytest.raises(ModelUnavailableError) as caught:
        check_quantization(Path("config.json"), config)
    assert package in caught.value.message
    assert caught.value.hint.startswith("pip install")


@pytest.mark.parametrize(
    "change",
    [{"auto_map": {}}, {"custom": "x.Y"}, {"quant_type": "a/b"}, {"quant_type": "../x"}, {"quant_type": "a b"},
     {"bnb_4bit_compute_dtype": "nn.Module"}, {"bnb_4bit_quant_storage": "load"}, {"modules_to_not_convert": [["a"]]},
     {"quant_type_kwargs": {"code": "x"}}, {"quant_type": {"default": {"_type": "os.system()"}}},
     {"modules_to_not_convert": ["a"] * 5000}, {"quant_type": "x" * 500}],
    ids=lambda change: str(change)[:40],
)  # fmt: skip
def test_other_content_is_refused(monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    install(monkeypatch, installed=True)
    with pytest.raises(RefusedError):
        check_quantization(Path("config.json"), {"quant_method": "torchao", **change})


@pytest.mark.parametrize("config", [None, [], 1, "x", {}, {"quant_method": None}, {"quant_method": ["a"]},
                                    {"quant_method": "nunchaku"}, {"quant_method": "x\n" * 99}])  # fmt: skip
def test_invalid_methods_are_refused_with_one_line(monkeypatch: pytest.MonkeyPatch, config: Any) -> None:
    install(monkeypatch, installed=True)
    with pytest.raises(ArtgenError) as caught:
        check_quantization(Path("config.json"), config)
    assert "\n" not in caught.value.message


def test_packed_weights_are_not_compared_with_the_configuration(
    monkeypatch: pytest.MonkeyPatch, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["sd3"], folder)
    path = folder / "transformer/config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "num_layers": 400, "quantization_config": WRITTEN[0][1]}))
    install(monkeypatch, installed=True)
    model = registry.resolve_model(str(folder))
    registry.check_model_files(model)
    assert model.has_quantized_denoiser
    assert model_configs.is_quantized(json.loads(path.read_text()))
