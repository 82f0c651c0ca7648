"""Test `--acceleration openvino`: errors of each denoiser, determinism, the cache, and failures."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import model_matrix
import numpy as np
import pytest
import sample_images
import tiny_loras
import torch
from tiny_zoo import BUILDERS

pytest.importorskip("openvino")

import artgen
from artgen import Img2Img, Inpaint, Txt2Img, generate, generate_all
from artgen.engine.acceleration.openvino import arguments, convert, runner
from artgen.engine.loading import loaded_models
from artgen.errors import PipelineError, UsageError
from artgen.events import Event, Loading, Notice
from artgen.registry import ResolvedModel, openvino_cache

SETTINGS: dict[str, Any] = {
    "prompt": "a red fox", "seed": 3, "steps": 2, "width": 64, "height": 64, "device": "cpu",
    "acceleration": "openvino",
}  # fmt: skip
MAX_RELATIVE_ERROR = 1e-5
QUICK_MODELS = ("sdxl", "sd3", "flux-schnell", "pixart-sigma", "sana", "kandinsky3")
"""Models that are tested in each run of the tests; the others are marked `slow`."""
EXPECTED = model_matrix.expected_outcomes()
CELLS = [
    pytest.param(name, task, marks=() if name in QUICK_MODELS else pytest.mark.slow)
    for name in BUILDERS
    if name not in model_matrix.SIDES_PX  # large images, and models of `sample`
    for task in model_matrix.TASKS[:3]
    if EXPECTED[name][task] and (task == "txt2img" or not EXPECTED[name]["txt2img"])
]


@pytest.fixture(autouse=True)
def _new_process() -> Iterator[None]:
    """Release the compiled models of other tests."""
    loaded_models.unload_active()
    yield
    loaded_models.unload_active()


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a list that receives the relative error of each call of a denoiser."""
    found: list[float] = []
    forward = runner.Runner.forward

    def compare(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        expected = type(self.module).forward(self.module, *args, **kwargs)
        assert isinstance(output, tuple) == isinstance(expected, tuple)
        ours, theirs = _first_tensor(output), _first_tensor(expected)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        found.append(float((ours.float() - theirs.float()).norm() / theirs.float().norm()))
        return output

    monkeypatch.setattr(runner.Runner, "forward", compare)
    return found


def _first_tensor(output: Any) -> torch.Tensor:
    while not isinstance(output, torch.Tensor):
        output = output[0]
    return output


def converted(request: Any) -> tuple[Any, int]:
    """Return the image of a request as an array, and the number of conversions."""
    events: list[Event] = []
    result = generate(request, listener=events.append)
    notices = [event.text for event in events if isinstance(event, Notice)]
    return np.asarray(result.image).astype(int), sum("Converting the " in text for text in notices)


def request(model: Path | str, **settings: Any) -> Txt2Img:
    return Txt2Img(**{**SETTINGS, "model": str(model), **settings})


@pytest.mark.parametrize(("name", "task"), CELLS)
def test_denoiser_has_a_small_error(
    zoo: Mapping[str, Path],
    tmp_path: Path,
    errors: list[float],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    task: str,
) -> None:
    monkeypatch.setattr(artgen, "generate", lambda request: generate(request.replace(acceleration="openvino")))
    photo = sample_images.photo(tmp_path / "photo.png", model_matrix.SIDE_PX, model_matrix.SIDE_PX)
    mask = sample_images.mask(tmp_path / "mask.png", model_matrix.SIDE_PX, model_matrix.SIDE_PX, (16, 8, 48, 40))
    try:
        model_matrix._ours(name, zoo[name], task, photo, mask)
    except UsageError as error:
        if "complex numbers" not in error.message and "stores values" not in error.message:
            raise
        return
    assert errors
    assert max(errors) < MAX_RELATIVE_ERROR


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_unet_has_a_small_error_at_any_size(models: dict[str, Path], errors: list[float], kind: str) -> None:
    generate(request(models[kind], width=72, height=56))
    assert len(errors) == 2
    assert max(errors) < MAX_RELATIVE_ERROR


def test_image_cache_and_record(sd1: str) -> None:
    plain = np.asarray(generate(request(sd1, acceleration="none")).image).astype(int)
    first, first_conversions = converted(request(sd1))
    again, conversions_in_memory = converted(request(sd1))
    loaded_models.unload_active()
    cached, conversions_on_disk = converted(request(sd1))
    assert (first_conversions, conversions_in_memory, conversions_on_disk) == (1, 0, 0)
    assert np.array_equal(first, again)
    assert np.array_equal(first, cached)
    assert abs(first - plain).max() <= 1
    record = generate(request(sd1)).record
    assert record["acceleration"] == "openvino"
    assert record["rounding"] == ["openvino"]
    assert record["openvino"].startswith("20")
    assert record["openvino_precision"] == "f32"
    entries = openvino_cache.list_models()
    assert sorted(bool(entry.outputs) for entry in entries) == [False, True]  # the converted and the compiled model
    assert {(entry.denoiser, entry.precision) for entry in entries} == {("UNet2DConditionModel", "fp32")}
    assert np.array_equal(np.asarray(generate(request(sd1, acceleration="none")).image), plain)


@pytest.mark.parametrize("order", [1, -1])
def test_images_do_not_depend_on_the_shapes_of_the_conversion(sd1: str, order: int) -> None:
    """Compare the model of one conversion with models that are converted for each shape."""
    requests = [request(sd1, guidance_scale=scale, width=width) for scale, width in ((5.0, 64), (1.0, 64), (5.0, 128))]
    requests = requests[::order]
    shared = [converted(each) for each in requests]
    assert [count for _, count in shared] == [1, 0, 0]
    for each, (image, _) in zip(requests, shared, strict=True):
        openvino_cache.remove_models()
        loaded_models.unload_active()
        separate, count = converted(each)
        assert count == 1
        assert np.array_equal(image, separate)


def test_batches_with_several_sizes(sd1: str) -> None:
    requests = [request(sd1, seed=seed, width=width) for width in (64, 72, 96) for seed in (1, 2)]
    together = [result.image for result in generate_all(requests, batch_size=2)]  # type: ignore[union-attr]
    for each, image in zip(requests, together, strict=True):
        single = np.asarray(generate(each).image).astype(int)
        assert abs(single - np.asarray(image)).max() <= 1


@pytest.mark.parametrize("suffix", ["bin", "blob"])
@pytest.mark.parametrize("damage", ["flip", "description"])
def test_damaged_entry_is_replaced(sd1: str, damage: str, suffix: str) -> None:
    first, _ = converted(request(sd1))
    loaded_models.unload_active()
    if suffix == "bin":
        openvino_cache.remove_models([entry.key for entry in openvino_cache.list_models() if entry.outputs])
    (path,) = openvino_cache.cache_folder().glob(f"*.{suffix}")
    if damage == "flip":
        data = bytearray(path.read_bytes())
        data[100] ^= 255
        path.write_bytes(data)
    else:
        path.with_suffix(".json").write_text('{"xml": 1')
    again, conversions = converted(request(sd1))
    assert conversions == (suffix == "bin")
    assert np.array_equal(first, again)
    assert len(openvino_cache.list_models()) == 2


@pytest.mark.parametrize("content", [b"", bytes(5000)])
def test_compiled_model_that_openvino_cannot_read_is_replaced(sd1: str, content: bytes) -> None:
    """Write a file with a correct hash, so that only OpenVINO finds the error."""
    first, _ = converted(request(sd1))
    loaded_models.unload_active()
    (entry,) = (entry for entry in openvino_cache.list_models() if entry.outputs)
    openvino_cache.write_model(entry, lambda path: path.with_suffix(".blob").write_bytes(content) and None)
    again, conversions = converted(request(sd1))
    assert conversions == 0
    assert np.array_equal(first, again)


def test_other_weights_are_converted_again(sd1: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    first, _ = converted(request(sd1))
    copy = tmp_path / "copy"
    shutil.copytree(sd1, copy)
    same, conversions = converted(request(copy))
    assert conversions == 0
    assert np.array_equal(first, same)
    file = next((copy / "unet").glob("*.safetensors"))
    save_file({name: tensor * 1.1 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    changed, conversions = converted(request(copy))
    assert conversions == 1
    assert not np.array_equal(first, changed)


def test_loras_are_converted_with_the_denoiser(models: dict[str, Path], tmp_path: Path, errors: list[float]) -> None:
    lora = tiny_loras.diffusers_lora(tmp_path / "lora.safetensors", models["sd1"])
    plain, _ = converted(request(models["sd1"]))
    images = [converted(request(models["sd1"], lora=(f"{lora}:{scale}",))) for scale in (1.0, 0.5, 1.0)]
    assert [count for _, count in images] == [1, 1, 0]
    assert np.array_equal(images[0][0], images[2][0])
    assert not np.array_equal(images[0][0], images[1][0])
    assert max(errors) < MAX_RELATIVE_ERROR
    assert np.array_equal(converted(request(models["sd1"]))[0], plain)


@pytest.mark.parametrize(
    "settings",
    [
        {"guide": "apg"},
        {"prompt": "a red fox AND a blue bird"},
        {"prompt": "a [red:blue:0.5] fox"},
        {"prompt": "a red fox, " * 40},
        {"guidance_scale": 1.0},
        {"pag_scale": 2.0},
        {"scheduler": "heun"},
    ],
)
def test_settings_that_change_the_calls_of_the_denoiser(
    sd1: str, errors: list[float], settings: dict[str, Any]
) -> None:
    accelerated, _ = converted(request(sd1, **settings))
    plain, _ = converted(request(sd1, **settings, acceleration="none"))
    assert max(errors) < MAX_RELATIVE_ERROR
    assert abs(accelerated - plain).max() <= 1


def test_tasks_with_input_images(sd1: str, tmp_path: Path, errors: list[float]) -> None:
    photo = sample_images.photo(tmp_path / "photo.png", 64, 64)
    mask = sample_images.mask(tmp_path / "mask.png", 64, 64, (16, 16, 48, 48))
    shared = {"prompt": "a red fox", "seed": 1, "steps": 3, "model": sd1, "strength": 0.7, "device": "cpu"}
    for task in (Img2Img(image=photo, **shared), Inpaint(image=photo, mask=mask, **shared)):
        plain = np.asarray(generate(task).image).astype(int)
        accelerated, _ = converted(task.replace(acceleration="openvino"))
        assert abs(accelerated - plain).max() <= 1
    assert max(errors) < MAX_RELATIVE_ERROR


def test_bf16_computes_in_bf16(sd1: str) -> None:
    record = generate(request(sd1, dtype="bf16")).record
    assert record["dtype"] == "bf16"
    assert record["openvino_precision"] in ("bf16", "f32")  # f32: the CPU has no bf16 instructions
    entries = openvino_cache.list_models()
    assert {entry.precision for entry in entries} == {"bf16"}
    assert {entry.denoiser for entry in entries} == {"UNet2DConditionModel", "Decoder"}


def test_unwritable_cache_gives_a_note_and_the_same_image(sd1: str) -> None:
    cached, _ = converted(request(sd1))
    loaded_models.unload_active()
    openvino_cache.remove_models()
    folder = openvino_cache.cache_folder()
    (folder / ".lock").unlink()
    folder.rmdir()
    folder.write_text("a file")
    events: list[Event] = []
    image = np.asarray(generate(request(sd1), listener=events.append).image)
    assert np.array_equal(image, cached)
    assert any("is not cached" in event.text for event in events if isinstance(event, Notice))


def test_failed_conversion_is_an_error(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("operation aten::new is not supported")

    monkeypatch.setattr(convert, "convert", fail)
    with pytest.raises(PipelineError, match="with OpenVINO: operation aten::new") as caught:
        generate(request(sd1))
    assert "--acceleration none" in str(caught.value.hint)
    assert not openvino_cache.list_models()


@pytest.mark.parametrize(
    ("name", "reason"),
    [("lumina2", "complex numbers"), ("z-image-turbo", "complex numbers"), ("qwen-image21", "stores values")],
)
def test_unsupported_transformer_is_refused_before_loading(zoo: Mapping[str, Path], name: str, reason: str) -> None:
    events: list[Event] = []
    with pytest.raises(UsageError, match=reason):
        generate(request(zoo[name], guidance_scale=None), listener=events.append)
    assert not any(isinstance(event, Loading) for event in events)


def test_quantized_weights_are_refused(sd1: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ResolvedModel, "has_quantized_denoiser", True)
    with pytest.raises(UsageError, match="its weights are quantized"):
        generate(request(sd1))


def test_import_sends_no_usage_data() -> None:
    code = (
        "import socket\n"
        "def fail(*_): raise SystemExit('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = fail\n"
        "from artgen.engine.acceleration.openvino.library import import_openvino\n"
        "import sys, threading\n"
        "import_openvino().Core()\n"
        "print('openvino_telemetry' in sys.modules, threading.active_count())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1"]


def test_signals_are_handled_after_a_thread_releases_the_last_model() -> None:
    code = (
        "import signal, threading\n"
        "from artgen.engine.acceleration.openvino.library import openvino_core\n"
        "from openvino import Model, opset13\n"
        "parameter = opset13.parameter([1])\n"
        "models = [openvino_core().compile_model(Model([opset13.relu(parameter)], [parameter]), 'CPU')]\n"
        "thread = threading.Thread(target=models.clear)\n"
        "thread.start()\n"
        "thread.join()\n"
        "signal.signal(signal.SIGINT, lambda *_: print('handled'))\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "handled\n"


def test_structures_are_restored() -> None:
    values = {"a": torch.ones(2, dtype=torch.bfloat16), "b": [1, None, (torch.zeros(1), "x")], "c": {"d": True}}
    tensors: list[torch.Tensor] = []
    structure = json.loads(json.dumps(arguments.flatten(values, "arguments", tensors)))
    restored = arguments.restore(structure, arguments.without_half(tensors))
    assert torch.equal(restored["a"], values["a"])
    assert restored["b"][:2] == [1, None]
    assert isinstance(restored["b"][2], tuple)
    assert restored["c"] == {"d": True}
    with pytest.raises(PipelineError, match=r"arguments\.e"):
        arguments.flatten({"e": object()}, "arguments", [])
