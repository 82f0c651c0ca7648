"""Test which models stay loaded in a resident process, when they are loaded again, and when they are unloaded."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
import tiny_denoisers
import tiny_loras
import tiny_models
import torch
from safetensors.torch import load_file, save_file

from artgen import Denoise, GeneratedImage, Img2Img, Txt2Img, generate
from artgen.engine import batch_runner
from artgen.engine.loading import free_memory, loaded_models, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.loaded_models import Entry, LoadedModel, keep_loaded
from artgen.errors import ArtgenError
from artgen.events import Event, Loading, PlanNote, StepEvent
from artgen.system import hardware
from artgen.system.command_state import reset_command_state

MIB = 2**20

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "steps": 2, "guidance_scale": 4.0}


@pytest.fixture(autouse=True)
def _resident(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process keep models as the worker does, without the models of other tests."""
    pipeline_cache.clear_cache()
    monkeypatch.setattr(loaded_models, "_store", loaded_models._Store())
    keep_loaded(2)
    yield
    loaded_models.unload_active()
    loaded_models.unload_idle()


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the models that are loaded from then on."""
    names: list[str] = []
    read = pipeline_cache._read_pipeline

    def record(model: Any, *arguments: Any) -> Any:
        names.append(Path(model.name).name)
        return read(model, *arguments)

    monkeypatch.setattr(pipeline_cache, "_read_pipeline", record)
    return names


@pytest.fixture
def model(models: dict[str, Path]) -> Path:
    """Return a copy of a model in the working directory."""
    return Path(shutil.copytree(models["sd1"], "model"))


def run(model: object, **settings: Any) -> GeneratedImage:
    """Generate an image as a command of its own."""
    try:
        return generate(Txt2Img(**{**SETTINGS, "model": str(model), **settings}))
    finally:
        reset_command_state()


def generate_anew(model: object, **settings: Any) -> GeneratedImage:
    """Generate an image in a process without loaded models."""
    loaded_models.unload_idle()
    return run(model, **settings)


def names() -> list[str]:
    return [Path(each.name).name for each in loaded_models.loaded_models()]


def replace_contents(path: Path, contents: bytes) -> None:
    path.with_name("new").write_bytes(contents)
    path.with_name("new").replace(path)


def other_contents(path: Path) -> bytes:
    """Return contents of the same size with another effect."""
    if path.suffix == ".safetensors":
        tensors = {name: tensor * 1.5 + 0.01 for name, tensor in load_file(path).items()}
        save_file(tensors, "other", metadata={"format": "pt"})
        return Path("other").read_bytes()
    values = json.loads(path.read_bytes())
    values.update({"beta_end": 0.02} if "beta_end" in values else {"scaling_factor": 0.3})
    return json.dumps(values).encode()


def test_the_least_recently_used_model_is_unloaded_first(models: dict[str, Path], loads: list[str]) -> None:
    order = ["sd1", "sdxl", "sd1", "sd3", "sd1", "sdxl"]
    for name in order:
        run(models[name])
    assert loads == ["sd1", "sdxl", "sd3", "sdxl"]
    assert names() == ["sdxl", "sd1"]
    assert [(each.device, each.dtype) for each in loaded_models.loaded_models()] == [("cpu", "fp32")] * 2
    keep_loaded(1)
    assert names() == ["sdxl"]


def test_a_model_in_each_precision_is_one_loaded_model(models: dict[str, Path], loads: list[str]) -> None:
    sizes = []
    for dtype in ("fp32", "bf16", "fp32", "bf16"):
        run(models["sd1"], dtype=dtype)
        sizes.append(loaded_models.loaded_models()[0].nbytes)
    assert loads == ["sd1", "sd1"]
    weights = sum(file.stat().st_size for file in models["sd1"].rglob("*.safetensors"))
    assert sizes[0] == pytest.approx(weights, rel=0.1)
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.05)


FILES = [
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
    "scheduler/scheduler_config.json",
    "vae/config.json",
]


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def copy_over(path: Path) -> None:
    replace_contents(path, path.read_bytes())


@pytest.mark.parametrize(("file", "change"), [(FILES[0], copy_over), *[(file, touch) for file in FILES]])
def test_a_file_with_the_same_contents_loads_no_model(
    model: Path, loads: list[str], file: str, change: Callable[[Path], None]
) -> None:
    first = run(model)
    change(model / file)
    assert sample_images.same(run(model).image, first.image)
    assert loads == ["model"]
    assert names() == ["model"]


@pytest.mark.parametrize(("file", "in_place"), [(FILES[0], False), *[(file, True) for file in FILES]])
def test_other_contents_load_the_model_again(model: Path, loads: list[str], file: str, in_place: bool) -> None:
    first = run(model)
    contents, path = other_contents(model / file), model / file
    if in_place:
        path.write_bytes(contents)
    else:
        replace_contents(path, contents)
    second = run(model)
    assert loads == ["model", "model"]
    assert names() == ["model"], "the model with the former contents is unloaded"
    assert not sample_images.same(second.image, first.image)
    assert sample_images.same(second.image, generate_anew(model).image)


def test_contents_that_return_are_loaded_again(model: Path, loads: list[str]) -> None:
    path = model / FILES[0]
    before = path.read_bytes()
    images = [run(model).image]
    for contents in (other_contents(path), before):
        path.write_bytes(contents)
        images.append(run(model).image)
    assert loads == ["model"] * 3
    assert sample_images.same(images[0], images[2])
    assert not sample_images.same(images[0], images[1])


def test_a_copy_of_a_model_and_a_renamed_model_are_not_loaded(model: Path, loads: list[str]) -> None:
    first = run(model)
    shutil.copytree(model, "copy")
    model.rename("renamed")
    assert sample_images.same(run("copy").image, first.image)
    assert sample_images.same(run("renamed").image, first.image)
    assert loads == ["model"]


def test_the_shape_of_files_of_another_model_is_not_enough(model: Path, loads: list[str]) -> None:
    """Compare the contents of two models whose files have the same sizes."""
    shutil.copytree(model, "other-model")
    path = Path("other-model") / FILES[1]
    path.write_bytes(other_contents(path))
    first, second = run(model), run("other-model")
    assert loads == ["model", "other-model"]
    assert not sample_images.same(first.image, second.image)
    assert sample_images.same(run(model).image, first.image)
    assert loads == ["model", "other-model"]


@pytest.mark.parametrize("kind", ["lora", "embedding", "vae"])
def test_changed_parts_of_a_request_have_an_effect(model: Path, kind: str) -> None:
    if kind == "lora":
        path = tiny_loras.diffusers_lora(Path("style.safetensors"), model)
        settings: dict[str, Any] = {"lora": (str(path),)}
    elif kind == "embedding":
        path = Path("word.safetensors")
        save_file({"emb_params": torch.randn(2, 32)}, path)
        settings = {"embedding": (str(path),), "prompt": "a word"}
    else:
        path = tiny_models.vae(Path("vae"), seed=5) / "diffusion_pytorch_model.safetensors"
        settings = {"vae": "./vae"}
    first = run(model, **settings)
    touch(path)
    assert sample_images.same(run(model, **settings).image, first.image)
    path.write_bytes(other_contents(path))
    second = run(model, **settings)
    assert not sample_images.same(second.image, first.image)
    assert sample_images.same(second.image, generate_anew(model, **settings).image)
    assert second.record == generate_anew(model, **settings).record


def test_a_model_is_loaded_again_after_a_command_with_a_lora(model: Path, loads: list[str]) -> None:
    """The pixels after LoRAs were removed can differ from the pixels of a newly loaded model by rounding."""
    path = tiny_loras.diffusers_lora(Path("style.safetensors"), model)
    run(model, lora=(str(path),))
    assert len(loads) == 1
    without = run(model)
    assert len(loads) == 2
    assert sample_images.same(run(model).image, without.image)
    assert len(loads) == 2


def events_of(request: Txt2Img | Denoise) -> list[Event]:
    log = plain.EventLog()
    generate(request, listener=log)
    reset_command_state()
    return [event for event in log.events if not isinstance(event, StepEvent)]


def test_a_command_that_reuses_a_model_sends_the_same_events(models: dict[str, Path]) -> None:
    requests = [
        Txt2Img(**SETTINGS, model=str(models["sd1"])),
        Txt2Img(**SETTINGS, model=str(models["sd1"]), offload="text"),
        Denoise(image=sample_images.photo(Path("photo.png")), model=tiny_denoisers.save(Path("pixel")), sigma="20"),
    ]
    for request in requests:
        first = events_of(request)
        assert any(isinstance(event, Loading) for event in first)
        assert events_of(request) == first


class Failure(Exception):
    """Interrupt a pipeline."""


@pytest.mark.parametrize(
    ("error", "stays", "settings"),
    [
        (KeyboardInterrupt(), True, {"pag_scale": 2.0}),
        (KeyboardInterrupt(), True, {"guide": "apg"}),
        (KeyboardInterrupt(), True, {"fast": "cache", "steps": 6}),
        (Failure("a failure"), False, {"pag_scale": 2.0}),
        (MemoryError(), False, {}),
    ],
)
def test_a_model_stays_loaded_after_an_interruption_and_not_after_an_error(
    models: dict[str, Path], error: BaseException, stays: bool, settings: dict[str, Any]
) -> None:
    expected = [run(models["sd1"]).image, run(models["sd1"], **settings).image]

    def listener(event: Event) -> None:
        if isinstance(event, StepEvent) and event.completed_steps == 1:
            raise error

    request = Txt2Img(**{**SETTINGS, "model": str(models["sd1"]), **settings})
    with pytest.raises((KeyboardInterrupt, Failure, ArtgenError)):
        generate(request, listener=listener)
    reset_command_state()
    assert names() == (["sd1"] if stays else [])
    assert sample_images.same(run(models["sd1"]).image, expected[0])
    assert sample_images.same(run(models["sd1"], **settings).image, expected[1])


def test_a_model_that_failed_to_load_is_not_stored(models: dict[str, Path], model: Path) -> None:
    run(models["sd1"])
    (model / "unet/config.json").write_text("{}")
    with pytest.raises(ArtgenError):
        run(model)
    assert names() == ["sd1"]


def entry(name: str, nbytes: int, *, active: bool) -> Entry:
    return Entry((name,), (), LoadedModel(name, "cpu", "fp32", nbytes), object(), {"cpu": nbytes}, active=active)


@pytest.mark.parametrize(
    ("available", "required", "budget", "left"),
    [
        (1000, 500, None, ["c", "b", "a"]),
        (1000, 501, None, ["c", "b"]),
        (1000, 700, None, ["c", "b"]),
        (1000, 701, None, ["c"]),
        (9000, 300, None, ["c", "b", "a"]),
        (9000, 300, 600, ["c", "b"]),
        (1000, 5000, None, ["c"]),
        (None, 5000, None, ["c", "b", "a"]),
    ],
)
def test_idle_models_are_unloaded_until_the_work_fits(
    monkeypatch: pytest.MonkeyPatch, available: int | None, required: int, budget: int | None, left: list[str]
) -> None:
    """Unload the idle models `a` (200 MiB) and `b` (300 MiB). The active model `c` is part of the required memory."""
    keep_loaded(5)
    for name, size, active in (("a", 200, False), ("b", 300, False), ("c", 100, True)):
        loaded_models.add(entry(name, size * MIB, active=active))
    monkeypatch.setattr(hardware, "available_ram", lambda: None if available is None else available * MIB)
    free_memory.make_room(required * MIB, DeviceConfig("cpu", "fp32"), f"{budget}MiB" if budget else None)
    assert names() == left


def test_memory_settings_do_not_depend_on_idle_models(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Select the same batch size, tiling and offload mode, and unload models that do not fit beside them."""
    monkeypatch.setattr(hardware, "available_ram", lambda: 900 * MIB)
    requests = [
        Txt2Img(**SETTINGS, model=str(models["sdxl"]), memory_budget="700MiB"),
        Txt2Img(**SETTINGS, model=str(models["sdxl"]), offload="auto"),
        Txt2Img(**SETTINGS, model=str(models["sd3"]), width=192, height=192, memory_budget="650MiB"),
    ]
    for request in requests:
        loaded_models.unload_idle()
        alone = [event for event in events_of(request) if isinstance(event, PlanNote)]
        loaded_models.unload_idle()
        loaded_models.add(entry("large", 800 * MIB, active=False))
        assert [event for event in events_of(request) if isinstance(event, PlanNote)] == alone
        assert "large" not in names()


def test_an_idle_refiner_does_not_change_the_decision_to_keep_the_base_model(
    zoo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_loaded(3)
    base, refiner = str(zoo["sdxl"]), str(zoo["sdxl-refiner"])
    request = Txt2Img(**SETTINGS, model=base, refiner=f"{refiner}:0.6", width=64, height=64)
    for available in (8000, 10):
        monkeypatch.setattr(hardware, "available_ram", lambda num=available: num * MIB)
        loaded_models.unload_idle()
        alone = events_of(request)
        generate(Img2Img(**SETTINGS, model=refiner, image=str(sample_images.photo(Path("photo.png"), 64, 64))))
        reset_command_state()
        assert events_of(request) == alone
        assert any("Releasing the base model" in str(event) for event in alone) == (available == 10)


def test_idle_models_are_unloaded_before_memory_settings_change(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(models["sdxl"])
    calls = []
    run_passes = batch_runner.run_passes

    def fail_once(*arguments: Any) -> Any:
        calls.append(names())
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run_passes(*arguments)

    monkeypatch.setattr(batch_runner, "run_passes", fail_once)
    log = plain.EventLog()
    generated = generate(Txt2Img(**SETTINGS, model=str(models["sd1"])), listener=log)
    assert calls == [["sdxl"], []]
    assert generated.record.get("fallbacks", []) == []
    assert log.notes == []
    calls.clear()
    generated = generate(Txt2Img(**SETTINGS, model=str(models["sd1"])), listener=log)
    assert generated.record["fallbacks"] == ["vae tiling"]


def test_memory_of_unloaded_models_is_released() -> None:
    size = 200 * MIB

    def rss() -> int:
        return hardware._read_kib(hardware.PROCESS_STATUS_FILE, "RssAnon")

    before = rss()
    for number in range(3):
        module = torch.nn.Linear(1024, size // 4096)
        module.cycle = [module]  # type: ignore[assignment]
        loaded_models.add(
            Entry((number,), (), LoadedModel("m", "cpu", "fp32", size), module, free_memory.count_bytes(module))
        )
        del module
        assert rss() - before > size * 0.9
        assert loaded_models.loaded_bytes("cpu", active=True) == size + size // 1024
        loaded_models.unload_active()
        assert rss() - before < size * 0.2


def test_compiled_copies_are_counted(models: dict[str, Path]) -> None:
    run(models["sd1"])
    before, entry = loaded_models.loaded_models()[0].nbytes, loaded_models._store.entries[0]
    for module in (entry.value.unet, entry.value.vae.decoder):
        loaded_models.add_bytes(module, 1000)
    loaded_models.add_bytes(torch.nn.Linear(1, 1), 5)
    assert loaded_models.loaded_models()[0].nbytes == before + 2000
    assert loaded_models.loaded_bytes("cpu", active=False) == before + 2000


def test_a_resident_process_ends_after_a_gpu_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """`reset_command_state` raises an error: the worker then ends, and the next command starts another one."""

    def synchronize(index: int) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda index: 1)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda index: None)
    reset_command_state()
    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        reset_command_state()
