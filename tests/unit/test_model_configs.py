"""Test that the configurations of a model are validated before a library reads them. Does not import torch."""

import json
import os
import random
import resource
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import broken_models
import pytest

from artgen import registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError
from artgen.registry import model_configs

LOADABLE_WITHOUT_LIBRARIES = (
    "block types", "class", "no ", "absent", "pipeline", "tensor", "missing", "tokenizer", "scheduler", "function",
    "other class", "unknown component",
)  # fmt: skip
"""Starts of the names of breakages that only the libraries detect; see `tests/engine/test_dry_run.py`."""


def _resolve_and_check(folder: Path) -> None:
    registry.check_model_files(registry.resolve_model(str(folder)))


def _refusal(folder: Path) -> ArtgenError | None:
    """Return the error of the checks, or None if the model is accepted."""
    try:
        _resolve_and_check(folder)
    except ArtgenError as error:
        return error
    return None


def _copy(models: dict[str, Path], **changes: Any) -> Path:
    """Copy the model, and change keys: `unet__in_channels=4`."""
    folder = Path("model")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(models["sd1"], folder)
    for name, value in changes.items():
        component, key = name.split("__", 1)
        file = "scheduler_config.json" if component == "scheduler" else "config.json"
        broken_models.set_key(f"{component}/{file}", key, value)(folder)
    return folder


@pytest.mark.parametrize("name", [
    name for name in broken_models.BREAKAGES if not name.startswith(LOADABLE_WITHOUT_LIBRARIES)
])  # fmt: skip
def test_a_broken_model_never_raises_another_exception(models: dict[str, Path], name: str) -> None:
    folder = broken_models.write_broken(name, models["sd1"], Path("model"))
    start = time.process_time()
    if error := _refusal(folder):
        assert error.exit_code in (3, 4, 5)
        assert error.message.endswith(".")
        assert "\n" not in error.message
        assert len(error.message) < 600
    assert time.process_time() - start < 5


CONFIG_FILES = (
    "model_index.json", "unet/config.json", "vae/config.json", "text_encoder/config.json",
    "text_encoder/generation_config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
)  # fmt: skip
CODE = [
    *({key: value} for key in ("_attn_implementation", "attn_implementation", "_attn_implementation_internal")
      for value in ("owner/kernel", "flash_attention_2", "owner/kernel@main:f", {"": "owner/kernel"}, ["eager"], 1)),
    {"_experts_implementation": "owner/kernel"}, {"quantization_config": {}}, {"auto_map": {}},
    {"transformers_weights": "x.safetensors"}, {"use_kernels": True}, {"text_config": {"auto_map": {"a": "b"}}},
    {"layers": [{"deep": [{"quantization_config": {"quant_method": "x"}}]}]},
]  # fmt: skip


@pytest.mark.parametrize("keys", CODE, ids=json.dumps)
@pytest.mark.parametrize("file", CONFIG_FILES)
def test_keys_that_load_code_are_refused_in_every_file(
    models: dict[str, Path], file: str, keys: dict[str, Any]
) -> None:
    folder = _copy(models)
    path = folder / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.exists() else {}), **keys}))
    with pytest.raises(RefusedError, match=r"requires its own code|allows only eager and sdpa"):
        _resolve_and_check(folder)


@pytest.mark.parametrize("value", ["eager", "sdpa", None, {"": "sdpa"}, {"text_config": None}])
def test_attention_implementations_of_torch_are_allowed(models: dict[str, Path], value: Any) -> None:
    _resolve_and_check(_copy(models, text_encoder___attn_implementation=value))


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("text_encoder__max_position_embeddings", 20_000_000, "a whole number from 1 to"),
        ("text_encoder__max_position_embeddings", 2_000_000, "its position embedding .* would have 64,000,000 values"),
        ("text_encoder__num_hidden_layers", 1_000_000, "a whole number from 1 to 512"),
        ("text_encoder__num_hidden_layers", 500, "num_hidden_layers is 500, and the weights have 36 tensors"),
        ("text_encoder__vocab_size", 200_000, "its token embedding .* would have 6,400,000 values"),
        ("text_encoder__hidden_size", 100_000, "would have"),
        ("text_encoder__intermediate_size", 1_000_000, "a feed-forward layer"),
        ("unet__block_out_channels", [8, 16_000], "a convolution"),
        ("unet__cross_attention_dim", 131_072, "cross-attention"),
        ("unet__layers_per_block", 127, None),
        ("unet__layers_per_block", [100, 120], "layers_per_block is .*, and the weights have 208 tensors"),
        ("unet__sample_size", 4096, "images of 8192x8192 pixels; expected at most 4096"),
        ("vae__block_out_channels", [8] * 9, "a list of 1 to 8 numbers"),
        ("scheduler__num_train_timesteps", 10**9, "a whole number from 2 to 100,000"),
        ("scheduler__trained_betas", [0.1] * 100_001, "at most 100,000 items"),
        ("unet__unknown_key", 10**12, "a number from -1,000,000,000 to 1,000,000,000"),
        ("unet__unknown_key", "x" * 100_001, "100,001 characters"),
        ("unet__in_channels", None, "is null; expected a number"),
        ("unet__in_channels", True, "is True; expected a whole number from 1 to 4,096"),
        ("text_encoder__dtype", "os.system", "the name of a dtype"),
    ],
)
def test_sizes_that_exhaust_memory_are_refused(
    models: dict[str, Path], key: str, value: Any, reason: str | None
) -> None:
    folder = _copy(models, **{key: value})
    tracemalloc.start()
    try:
        if reason is None:
            _resolve_and_check(folder)
        else:
            with pytest.raises(ModelUnavailableError, match=reason):
                _resolve_and_check(folder)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


def _mutate(value: Any, generator: random.Random) -> Any:
    """Return a value of another type or size at a random position of a JSON value."""
    if isinstance(value, dict) and value and generator.random() < 0.8:
        key = generator.choice(sorted(value))
        return {**value, key: _mutate(value[key], generator)}
    if isinstance(value, list) and value and generator.random() < 0.5:
        at = generator.randrange(len(value))
        return [*value[:at], _mutate(value[at], generator), *value[at + 1 :]]
    return generator.choice(
        [None, True, False, -1, 0, 1, 2.5, 10**6, 10**15, -(10**18), "", "x", "owner/kernel", "../x", [], {}, [[]],
         [1] * 1000, {"a": {"b": None}}, [None], "\u202e", "\ud800"]
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(150))
def test_random_changes_of_a_configuration_are_accepted_or_refused(models: dict[str, Path], seed: int) -> None:
    generator = random.Random(seed)
    folder = _copy(models)
    files = sorted(path for path in folder.rglob("*.json") if path.name != "vocab.json")
    for _ in range(generator.choice((1, 1, 3))):
        path = generator.choice(files)
        path.write_text(json.dumps(_mutate(json.loads(path.read_text()), generator)))
    if error := _refusal(folder):
        assert error.exit_code in (3, 4, 5)
        assert "\n" not in error.message


@pytest.mark.parametrize("text", ["1e999", "-1e999", "NaN", "Infinity", "9" * 5000, "[" * 100_000 + "]" * 100_000])
@pytest.mark.parametrize("read", [model_configs.read_config])
def test_numbers_and_nesting_that_python_cannot_represent_are_refused(
    tmp_path: Path, text: str, read: Callable[[Path], Any]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(f'{{"in_channels": {text}}}')
    with pytest.raises((InputFileError, ModelUnavailableError), match=r"Cannot (read|load)"):
        read(path)


def test_large_files_are_not_read(models: dict[str, Path]) -> None:
    for name, limit in (("unet/config.json", "4 MiB"), ("tokenizer/tokenizer.json", "12 MiB")):
        folder = _copy(models)
        with (folder / name).open("wb") as file:
            file.truncate(100 << 20)
        tracemalloc.start()
        with pytest.raises((InputFileError, ModelUnavailableError), match=limit):
            _resolve_and_check(folder)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "x.bin"])
def test_pipes_and_broken_links_in_a_component_are_refused(models: dict[str, Path], name: str) -> None:
    folder = _copy(models)
    path = folder / "tokenizer" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(ModelUnavailableError, match="is not a regular file"):
        _resolve_and_check(folder)
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(ModelUnavailableError, match="is not a regular file"):
        _resolve_and_check(folder)


def test_links_to_files_outside_the_folder_are_followed(models: dict[str, Path], tmp_path: Path) -> None:
    folder = _copy(models)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            blob = tmp_path / path.relative_to(folder).as_posix().replace("/", "-")
            path.rename(blob)
            path.symlink_to(blob)
    _resolve_and_check(folder)


@pytest.mark.parametrize(
    ("fields", "key"),
    [({"width": 7}, "width"), ({"width": 10**6}, "width"), ({"height": True}, "height"), ({"steps": 0}, "steps"),
     ({"steps": 10**5}, "steps"), ({"guidance_scale": -1}, "guidance_scale"), ({"guidance_scale": "x"}, "guidance"),
     ({"scheduler": 3}, "scheduler"), ({"license": ["x"]}, "license")],
)  # fmt: skip
def test_artgen_json_is_validated(models: dict[str, Path], fields: dict[str, Any], key: str) -> None:
    folder = _copy(models)
    (folder / "artgen.json").write_text(json.dumps(fields))
    with pytest.raises(InputFileError, match=key):
        _resolve_and_check(folder)


def test_the_checks_of_a_valid_model_are_fast(models: dict[str, Path]) -> None:
    folder = _copy(models)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    _resolve_and_check(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - start < 2


def test_verify_does_not_read_files_without_a_hash(models: dict[str, Path]) -> None:
    folder = _copy(models)
    for name in ("scheduler/scheduler_config.json", "flax_model.msgpack"):
        with (folder / name).open("wb") as file:
            file.truncate(1 << 40)  # a sparse file
    start = time.process_time()
    checks = {check.file: check for check in registry.verify_model_files(str(folder))}
    assert time.process_time() - start < 5
    assert checks["flax_model.msgpack"].detail == "readable"
    assert "too large" in checks["scheduler/scheduler_config.json"].detail
