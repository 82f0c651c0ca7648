"""Test control nets with the other features of the engine: prompts, LoRAs, frames, caches, refused combinations."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
import tiny_controls
import torch
from control_jobs import controlled, request_for
from diffusers import ControlNetModel
from original_layout import to_original_controlnet
from safetensors.torch import load_file, save_file

from artgen import generate
from artgen.engine.control import nets as control_nets
from artgen.engine.generate import generate_jobs
from artgen.engine.loading import loaded_models
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.sampling.prepared_pipeline import plan_optimizations
from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.events import no_op
from artgen.jobs.job import GenerationJob
from artgen.jobs.prepare import prepare_jobs
from artgen.registry.control_nets import ControlNet
from artgen.spec.settings import FramesSettings


@pytest.fixture(autouse=True)
def _input_images() -> None:
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))


@pytest.fixture(scope="module")
def net(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> ControlNet:
    """Return a net for the tiny Stable Diffusion 1 model."""
    folder = tiny_controls.save("sd1", tmp_path_factory.mktemp("nets") / "sd1", models["sd1"])
    return tiny_controls.net_of(folder, "sd1")


def test_features_work_with_control_and_leave_the_cached_pipeline_unchanged(
    models: dict[str, Path], net: ControlNet
) -> None:
    control = tiny_controls.control(net)
    cases: Sequence[tuple[str, dict[str, Any]]] = (
        ("txt2img", {"prompt": "a (red:1.3) fox"}),
        ("txt2img", {"prompt": "a [red:blue:0.5] fox"}),
        ("txt2img", {"prompt": "a red fox AND a blue house :0.6"}),
        ("txt2img", {"prompt": "fox " * 90, "long_prompt": "chunk"}),
        ("txt2img", {"guide": "apg"}),
        ("txt2img", {"fast": "cache", "steps": 8}),
        ("txt2img", {"scheduler": "dpm++2m", "sigmas": "karras"}),
        ("txt2img", {"vae_tiling": True}),
        ("img2img", {"guidance_scale": 1.0}),
        ("outpaint", {}),
        ("txt2img", {"offload": "text"}),
    )
    for task, settings in cases:
        request = request_for(task, models["sd1"], **settings)
        before = generate(request).image
        assert not sample_images.same(controlled(request, control).image, before), settings
        assert sample_images.same(generate(request).image, before), settings


def test_the_net_reads_the_prompt_of_the_current_step_and_of_each_part(
    models: dict[str, Path], net: ControlNet
) -> None:
    control = tiny_controls.control(net)

    def image(prompt: str) -> Any:
        return controlled(request_for("txt2img", models["sd1"], prompt=prompt, steps=4), control).image

    assert sample_images.same(image("a [red:red:0.5] fox"), image("a red fox"))
    assert sample_images.difference(image("a red fox AND a red fox :0"), image("a red fox")) <= 1
    # Two equal parts whose weights add up to 1 give the prediction of one part, if the net reads both parts.
    halves = image("a red fox :0.5 AND a red fox :0.5")
    assert sample_images.difference(halves, image("a red fox")) <= 1
    assert not sample_images.same(image("a [red:blue:0.5] fox"), image("a red fox"))


def test_frames_and_batches_with_control_have_the_usual_images(models: dict[str, Path], net: ControlNet) -> None:
    request = request_for("txt2img", models["sd1"])
    job = replace(prepare_jobs([request])[0], controls=(tiny_controls.control(net),))
    result = next(generate_jobs([job], frames=FramesSettings(frames="f.gif")))
    assert sample_images.same(result.image, controlled(request, tiny_controls.control(net)).image)
    assert len(result.frames) > 1


def test_a_net_is_loaded_once_and_reloaded_when_its_file_changes(
    models: dict[str, Path], net: ControlNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "net"
    shutil.copytree(net.path, folder)
    own = tiny_controls.net_of(folder, "sd1")
    loads: list[str] = []
    original = control_nets._load
    monkeypatch.setattr(control_nets, "_load", lambda each, *args: loads.append(each.name) or original(each, *args))
    request = request_for("txt2img", models["sd1"])
    first = controlled(request, tiny_controls.control(own)).image
    generate(request)
    assert sample_images.same(controlled(request, tiny_controls.control(own)).image, first)
    assert len(loads) == 1
    assert sum(entry.is_part for entry in loaded_models._store.entries) == 1
    tiny_controls.save("sd1", folder, models["sd1"], seed=9)
    changed = controlled(request, tiny_controls.control(tiny_controls.net_of(folder, "sd1"))).image
    assert len(loads) == 2
    assert not sample_images.same(changed, first)


def test_a_single_file_and_fp16_weights_give_the_image_of_the_folder(
    models: dict[str, Path], net: ControlNet, tmp_path: Path
) -> None:
    request = request_for("txt2img", models["sd1"])
    tensors = load_file(net.files[0])
    file = tmp_path / "net.safetensors"
    save_file(tensors, file)
    single = replace(net, name="net", path=file, files=(file,))
    expected = controlled(request, tiny_controls.control(net)).image
    assert sample_images.same(controlled(request, tiny_controls.control(single)).image, expected)
    save_file({name: tensor.half() for name, tensor in tensors.items()}, file)
    assert sample_images.difference(controlled(request, tiny_controls.control(single)).image, expected) <= 2


def test_a_resident_process_keeps_a_net_beside_its_model(
    models: dict[str, Path], net: ControlNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded() -> list[tuple[bool, bool]]:
        return [(entry.is_part, entry.active) for entry in loaded_models._store.entries]

    loaded_models.deactivate_all()
    monkeypatch.setattr(loaded_models, "_store", loaded_models._Store(is_resident=True))
    request = request_for("txt2img", models["sd1"])
    first = controlled(request, tiny_controls.control(net)).image
    loaded_models._finish_command()
    assert loaded() == [(False, False), (True, False)]
    generate(request)
    assert loaded() == [(True, False), (False, True)]  # the net is idle
    loaded_models._finish_command()
    assert sample_images.same(controlled(request, tiny_controls.control(net)).image, first)
    assert loaded() == [(False, True), (True, True)]
    loaded_models._finish_command()
    loaded_models.unload_idle()
    assert not loaded()


def test_the_original_format_is_converted(models: dict[str, Path], net: ControlNet, tmp_path: Path) -> None:
    sizes = {"layers_per_block": 1, "block_out_channels": (8, 16), "cross_attention_dim": 32, "norm_num_groups": 4}
    blocks = ("CrossAttnDownBlock2D", "DownBlock2D")
    channels = (4, 4, 8, 8)  # the original format has eight layers before the net
    module = ControlNetModel(down_block_types=blocks, conditioning_embedding_out_channels=channels, **sizes)
    expected = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    file = tmp_path / "control.safetensors"
    save_file(to_original_controlnet(expected), file)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    control_nets._set_weights(module, replace(net, path=file, files=(file,)), torch.float32)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "it lacks the tensor conv_in.bias"),
        ("unknown", "its configuration does not describe the tensor more"),
        ("shape", "its tensor conv_in.bias has the shape 9"),
        ("damaged", "is truncated"),
        ("channels", "reads latents with 16 channels, and the model has 4"),
        ("factor", "reduces the control map by the factor 4, and the VAE by 2"),
    ],
)
def test_a_net_that_does_not_fit_has_a_plain_error(
    models: dict[str, Path], net: ControlNet, tmp_path: Path, change: str, message: str
) -> None:
    file = tmp_path / "net.safetensors"
    tensors, config = load_file(net.files[0]), dict(net.config)
    if change == "missing":
        del tensors["conv_in.bias"]
    elif change == "unknown":
        tensors["more"] = torch.zeros(1)
    elif change == "shape":
        tensors["conv_in.bias"] = torch.zeros(9)
    elif change == "channels":
        config["in_channels"] = 16
    elif change == "factor":
        config["conditioning_embedding_out_channels"] = [8, 16, 16]
    save_file(tensors, file)
    if change == "damaged":
        file.write_bytes(file.read_bytes()[:-100])
    broken = replace(net, path=file, files=(file,), config=config)
    request = request_for("txt2img", models["sd1"])
    with pytest.raises((ModelUnavailableError, InputFileError), match=message):
        controlled(request, tiny_controls.control(broken))
    assert controlled(request, tiny_controls.control(net)).image.size == (32, 32)


def test_combinations_without_a_pipeline_are_refused(models: dict[str, Path], net: ControlNet, tmp_path: Path) -> None:
    sd3 = tiny_controls.net_of(tiny_controls.save("sd3", tmp_path / "sd3", models["sd3"]), "sd3")
    adapter = tiny_controls.net_of(tiny_controls.save("adapter", tmp_path / "adapter", models["sd1"]), "sd1")
    for model, each, task in (
        (models["sd3"], sd3, "img2img"),
        (models["sd3"], sd3, "inpaint"),
        (models["sd1"], adapter, "img2img"),
    ):
        with pytest.raises(ModelUnavailableError, match="diffusers does not have the pipeline"):
            controlled(request_for(task, model), tiny_controls.control(each))
    with pytest.raises(ModelUnavailableError, match="diffusers does not have the pipeline"):
        controlled(request_for("img2img", models["sd1"], pag_scale=2.0), tiny_controls.control(net))
    inpaint = replace(net, is_inpaint=True)
    with pytest.raises(UsageError, match="needs a mask"):
        controlled(request_for("txt2img", models["sd1"]), tiny_controls.control(inpaint))
    union = tiny_controls.net_of(tiny_controls.save("union", tmp_path / "union", models["sdxl"]), "sdxl")
    with pytest.raises(UsageError, match="needs the kind of the control map"):
        controlled(request_for("txt2img", models["sdxl"]), tiny_controls.control(union, "raw=map.png"))
    with pytest.raises(UsageError, match="Cannot use --control-guess"):
        controlled(request_for("txt2img", models["sdxl"]), tiny_controls.control(union), guess=True)


def test_no_optimization_is_selected_with_control(models: dict[str, Path], net: ControlNet) -> None:
    job = prepare_jobs([request_for("txt2img", models["sd1"], steps=20)])[0]
    assert isinstance(job, GenerationJob)
    pipe = plain.load("StableDiffusionPipeline", models["sd1"])
    device_config = DeviceConfig("cuda", "fp16")
    settings = MemorySettings(1, vae_tiling=False, offload=None)
    job = replace(job, request=job.request.replace(acceleration="full"))
    for controls, is_used in (((), True), ((tiny_controls.control(net),), False)):
        plan = plan_optimizations(pipe, [replace(job, controls=controls)], device_config, settings, no_op, 1000.0)
        assert bool(plan.cuda_graph or plan.inexact_optimizations) == is_used
    notes = plain.EventLog()
    job = replace(job, request=job.request.replace(acceleration="openvino"), controls=(tiny_controls.control(net),))
    assert not plan_optimizations(pipe, [job], DeviceConfig("cpu", "fp32"), settings, notes, 0.0).openvino
    assert "OpenVINO" in notes.notes[0]
