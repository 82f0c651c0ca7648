"""Test the conversion of pickled checkpoints: contents, malicious and damaged files, limits and outputs."""

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from artgen.engine import unpickle
from artgen.errors import InputFileError, OutputError, RefusedError, UsageError
from artgen.registry import convert
from artgen.registry.convert import convert_pickle, default_output

WEIGHT = torch.arange(12.0).reshape(3, 4)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the converter in this process. A process of its own takes 3 s."""

    def run_converter(path: Path, output: Path, size: int) -> dict[str, Any]:
        report = unpickle.report_of(path, output)
        if report["status"] == "ok":
            return report
        raise convert._conversion_error(path, report, size)

    monkeypatch.setattr(convert, "_run_converter", run_converter)
    monkeypatch.setattr(torch.serialization, "add_safe_globals", add_temporarily(monkeypatch))


def add_temporarily(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Any]], None]:
    from torch import _weights_only_unpickler as unpickler

    monkeypatch.setattr(unpickler, "_marked_safe_globals_set", set())
    return unpickler._add_safe_globals


def converted(content: object, name: str = "model.ckpt", **options: Any) -> dict[str, torch.Tensor]:
    torch.save(content, name, **options)
    return load_file(convert_pickle(Path(name), Path("out.safetensors"), overwrite=True).path)


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"a.weight": WEIGHT}, {"a.weight"}),
        ({"state_dict": {"a": WEIGHT}, "epoch": 3, "optimizer_states": [{"m": WEIGHT}]}, {"a"}),
        ({"params": {"a": WEIGHT - 1}, "params_ema": {"a": WEIGHT}}, {"a"}),
        ({"model": {"module": {"a": WEIGHT}}}, {"a"}),
        ({"weights": {"a": WEIGHT}}, {"a"}),
        ({"image_proj": {"a": WEIGHT}, "ip_adapter": {"1.b": WEIGHT}}, {"image_proj.a", "ip_adapter.1.b"}),
        ({"string_to_token": {"*": 265}, "string_to_param": {"*": WEIGHT}, "name": "cat"}, {"emb_params"}),
        ({"<cat>": WEIGHT[0]}, {"<cat>"}),
        ({"state_dict": {"a": torch.nn.Parameter(WEIGHT)}, "step": np.float64(3), "array": np.zeros(3)}, {"a"}),
    ],
)
def test_tensors_are_found(content: object, expected: set[str], is_legacy: bool) -> None:
    tensors = converted(content, _use_new_zipfile_serialization=not is_legacy)
    assert tensors.keys() == expected
    assert all(torch.equal(tensor, WEIGHT) or torch.equal(tensor, WEIGHT[0]) for tensor in tensors.values())


@pytest.mark.usefixtures("in_process")
def test_parameter_dictionaries_are_read() -> None:
    content = {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(WEIGHT)})}
    assert torch.equal(converted(content)["emb_params"], WEIGHT)


@pytest.mark.usefixtures("in_process")
def test_values_shapes_and_dtypes_are_unchanged() -> None:
    dtypes = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool, torch.uint8, torch.float8_e4m3fn)
    content = {str(dtype): WEIGHT.to(dtype) for dtype in dtypes} | {
        "scalar": torch.tensor(3),
        "none": torch.zeros(0, 3),
    }
    tensors = converted(content)
    assert tensors.keys() == content.keys()
    for name, tensor in tensors.items():
        assert (tensor.dtype, tensor.shape) == (content[name].dtype, content[name].shape)
        assert tensor.reshape(-1).view(torch.uint8).tolist() == content[name].reshape(-1).view(torch.uint8).tolist()
    assert Path("out.safetensors").stat().st_mode == Path("model.ckpt").stat().st_mode
    with safe_open("out.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


@pytest.mark.usefixtures("in_process")
def test_shared_and_transposed_tensors_are_stored_separately() -> None:
    tensors = converted({"a": WEIGHT, "tied": WEIGHT, "rows": WEIGHT[1:], "transposed": WEIGHT.t()})
    assert torch.equal(tensors["tied"], WEIGHT)
    assert torch.equal(tensors["rows"], WEIGHT[1:])
    assert torch.equal(tensors["transposed"], WEIGHT.t())


@pytest.mark.usefixtures("in_process")
def test_notes_name_the_entries_that_are_not_stored() -> None:
    torch.save({"state_dict": {"a": WEIGHT, "b": 3}, "epoch": 1, "lr_schedulers": []}, "model.ckpt")
    notes = " ".join(convert_pickle(Path("model.ckpt"), Path("model.safetensors")).notes)
    assert "'state_dict'" in notes
    for name in ("epoch", "lr_schedulers", "b"):
        assert name in notes


class Evil:
    """Pickle a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


EVIL = {
    "system": Evil(os.system, "touch executed"),
    "eval": Evil(eval, "open('executed', 'w')"),
    "getattr": Evil(getattr, dict, "fromkeys"),
    "module": torch.nn.Linear(2, 2),
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("is_legacy", [False, True])
@pytest.mark.parametrize("name", EVIL)
def test_pickles_that_call_functions_are_refused(name: str, is_legacy: bool) -> None:
    with pytest.raises(RefusedError, match="requires"):
        converted({"state_dict": {"a": WEIGHT}, "x": EVIL[name]}, _use_new_zipfile_serialization=not is_legacy)
    assert not Path("executed").exists()
    assert not Path("out.safetensors").exists()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_that_call_functions_are_refused(protocol: int) -> None:
    Path("model.bin").write_bytes(pickle.dumps(EVIL["system"], protocol))
    with pytest.raises(RefusedError):
        convert_pickle(Path("model.bin"), Path("model.safetensors"))
    assert not Path("executed").exists()


def edited_zip(edit: Callable[[bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    torch.save({"a": torch.ones(300, 300)}, "source.pt")
    with zipfile.ZipFile("source.pt") as source, zipfile.ZipFile("model.pt", "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, edit(source.read(name)) if name.endswith("data.pkl") else source.read(name))


def save_truncated() -> None:
    torch.save({"a": torch.ones(300, 300)}, "model.pt")
    Path("model.pt").write_bytes(Path("model.pt").read_bytes()[:200_000])


DAMAGED: dict[str, Callable[[], object]] = {
    "empty": lambda: Path("model.pt").write_bytes(b""),
    "zeros": lambda: Path("model.pt").write_bytes(bytes(5000)),
    "web page": lambda: Path("model.pt").write_bytes(b"\n<!DOCTYPE html><html></html>"),
    "safetensors": lambda: save_file({"a": WEIGHT}, "model.pt"),
    "truncated": save_truncated,
    "compressed": lambda: edited_zip(bytes, zipfile.ZIP_DEFLATED),
    "other zip": lambda: zipfile.ZipFile("model.pt", "w").writestr("a.txt", "b"),
    "long name": lambda: Path("model.pt").write_bytes(b"\x80\x02c" + b"a" * 1_000_000),
    "no tensors": lambda: torch.save({"epoch": 3}, "model.pt"),
    "list": lambda: torch.save([WEIGHT], "model.pt"),
    "tensor": lambda: torch.save(WEIGHT, "model.pt"),
    "expanded": lambda: torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, "model.pt"),
    "many views": lambda: torch.save(dict.fromkeys("abcdefgh", torch.ones(300, 300)), "model.pt"),
    "meta": lambda: torch.save({"a": torch.empty(10**12, device="meta")}, "model.pt"),
    "sparse": lambda: torch.save({"a": torch.eye(3).to_sparse()}, "model.pt"),
    "complex128": lambda: torch.save({"a": torch.zeros(2, dtype=torch.complex128)}, "model.pt"),
    "reserved name": lambda: torch.save({"__metadata__": WEIGHT}, "model.pt"),
    "surrogate": lambda: torch.save({"a\ud800": WEIGHT}, "model.pt"),
    "strides out of bounds": lambda: edited_zip(lambda data: data.replace(b"M,\x01K\x01", b"M\xff\xffK\x01")),
}


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_input_errors(name: str) -> None:
    DAMAGED[name]()
    with pytest.raises(InputFileError) as caught:
        convert_pickle(Path("model.pt"), Path("model.safetensors"))
    assert "model.pt" in caught.value.message
    assert caught.value.hint
    assert sorted(path.name for path in Path.cwd().iterdir() if path.name.startswith((".", "model.s"))) == []


def test_long_pickles_are_refused_in_bounded_time(in_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpickle, "MAX_INSTRUCTIONS", 1000)
    Path("model.bin").write_bytes(b"\x80\x02](" + b"K\x01" * 100_000 + b"e.")
    with pytest.raises(InputFileError, match="more than 1,000 instructions"):
        convert_pickle(Path("model.bin"), Path("model.safetensors"))


@pytest.mark.usefixtures("in_process")
def test_outputs_are_never_replaced_without_overwrite() -> None:
    torch.save({"a": WEIGHT}, "model.ckpt")
    output = Path("model.safetensors")
    output.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists already"):
        convert_pickle(Path("model.ckpt"), output)
    assert output.read_bytes() == b"mine"
    convert_pickle(Path("model.ckpt"), output, overwrite=True)
    assert torch.equal(load_file(output)["a"], WEIGHT)


@pytest.mark.parametrize(
    ("file", "output"), [("a.safetensors", "b.safetensors"), ("a.txt", "b.safetensors"), ("a.ckpt", "b.bin")]
)
def test_wrong_suffixes_are_usage_errors(file: str, output: str) -> None:
    torch.save({"a": WEIGHT}, file)
    with pytest.raises(UsageError):
        convert_pickle(Path(file), Path(output))


def test_transformers_weights_get_the_name_that_transformers_reads() -> None:
    assert default_output(Path("x/pytorch_model.bin")) == Path("x/model.safetensors")
    assert default_output(Path("x/diffusion_pytorch_model.fp16.bin")).name == "diffusion_pytorch_model.fp16.safetensors"


def test_the_command_converts_in_another_process() -> None:
    torch.save({"state_dict": {"a": WEIGHT}, "epoch": 3}, "model.ckpt")
    result = run("models", "convert", "model.ckpt", "-o", "out/")
    assert result.stdout == "out/model.safetensors\n"
    assert "Not stored: epoch." in result.stderr
    assert torch.equal(load_file("out/model.safetensors")["a"], WEIGHT)
    Path("evil.bin").write_bytes(pickle.dumps(EVIL["system"], 2))
    assert "posix.system" in run("models", "convert", "evil.bin", code=5).stderr


@pytest.mark.parametrize("limit", ["memory", "time"])
def test_the_process_has_limits(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = torch.zeros(1 << 28, dtype=torch.uint8)
    torch.save({"a": storage}, "model.pt", _use_new_zipfile_serialization=False)
    monkeypatch.setattr(convert, "BASE_MEMORY_BYTES" if limit == "memory" else "BASE_SECONDS", 0.0)
    monkeypatch.setattr(convert, "MEMORY_PER_BYTE", 0 if limit == "memory" else 3)
    monkeypatch.setattr(convert, "MIN_BYTES_PER_SECOND", 1e12 if limit == "time" else 1e3)
    with pytest.raises(RefusedError, match=r"memory|longer than"):
        convert_pickle(Path("model.pt"), Path("model.safetensors"))
    assert not Path("model.safetensors").exists()


def test_a_folder_with_pickled_weights_is_converted(in_process: None, models: dict[str, Path], tmp_path: Path) -> None:
    """The converted model generates the same image as the original model."""
    folder = tmp_path / "model"
    shutil.copytree(models["sd1"], folder)
    for file in sorted(folder.glob("*/*.safetensors")):
        stem = file.stem.replace("model", "pytorch_model") if file.stem.startswith("model") else file.stem
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()
    arguments = ("txt2img", "a fox", "--seed", "7", "--steps", "1", "-o")
    result = run(*arguments, "a.png", "-m", str(folder), code=5)
    assert f"artgen models convert '{folder}'" in result.stderr
    assert len(run("models", "convert", str(folder)).stdout.splitlines()) == len(list(folder.glob("*/*.bin")))
    run(*arguments, "b.png", "-m", str(folder))
    run(*arguments, "c.png", "-m", str(models["sd1"]))
    assert Image.open("b.png").tobytes() == Image.open("c.png").tobytes()


@pytest.mark.usefixtures("in_process")
def test_indices_of_shards_are_converted() -> None:
    folder = Path("text_encoder")
    folder.mkdir()
    names = [f"pytorch_model-0000{number}-of-00002.bin" for number in (1, 2)]
    for name in names:
        torch.save({name: WEIGHT}, folder / name)
    torch.save({"lr": 1}, folder / "optimizer.bin")
    index = {"metadata": {"total_size": 96}, "weight_map": {name: name for name in names}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index), "utf-8")
    run("models", "convert", "text_encoder")
    table = json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))["weight_map"]
    for name, file in table.items():
        assert torch.equal(load_file(folder / file)[name], WEIGHT)
    assert "It is kept" in run("models", "convert", "text_encoder").stderr
    (folder / "pytorch_model.bin.index.json").write_text("[]", "utf-8")
    assert "not an index" in run("models", "convert", "text_encoder", "--overwrite", code=3).stderr
    run("models", "convert", "text_encoder", "-o", "x/", code=2)
    Path("empty").mkdir()
    assert "no pickled weights" in run("models", "convert", "empty", code=2).stderr


def test_refusals_of_pickles_name_the_command() -> None:
    torch.save({"a": WEIGHT}, "model.ckpt")
    for arguments in (("txt2img", "x", "-m", "model.ckpt"), ("info", "model.ckpt"), ("models", "show", "model.ckpt"),
                      ("txt2img", "x", "-m", "tiny", "--lora", "model.ckpt"),
                      ("models", "alias", "mine", "model.ckpt")):  # fmt: skip
        assert "artgen models convert 'model.ckpt'" in run(*arguments, code=5).stderr
