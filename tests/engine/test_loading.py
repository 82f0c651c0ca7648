"""Test loading: models are cached, shared between tasks and complete, and their code never runs."""

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import sample_images
from safetensors.torch import load_file, save_file

from artgen import Img2Img, Inpaint, Txt2Img, generate, registry
from artgen.engine.loading import components, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.events import Loading, no_op

FAST: dict[str, Any] = {"prompt": "a fox", "seed": 1, "steps": 1, "guidance_scale": 1.0}


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    """Copy the tiny sd1 model, for tests that damage it."""
    return Path(shutil.copytree(models["sd1"], tmp_path / "copy"))


def change_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def reject_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail the test if a model folder is loaded from now on."""
    monkeypatch.setattr(components, "load_folder_pipeline", lambda *_: pytest.fail("the model was loaded again"))


def test_second_request_loads_no_weights(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = plain.EventLog(), plain.EventLog()
    pipeline_cache.clear_cache()
    request = Txt2Img(model=str(models["sd1"]), **FAST)
    before = generate(request, listener=first).image
    assert {event.component for event in first.events if isinstance(event, Loading)} == {"unet", "vae", "text_encoder"}
    reject_loading(monkeypatch)
    for changed in ({}, {"vae_tiling": True}, {"scheduler": "euler"}, {"width": 40}):
        generate(request.replace(**changed), listener=second)
    assert sample_images.same(generate(request, listener=second).image, before)
    assert not [event for event in second.events if isinstance(event, Loading)]


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_tasks_share_components(models: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    component_ids: list[dict[str, Any]] = []
    original = pipeline_cache.pipeline_for_task

    def record_components(*args: Any, **options: Any) -> Any:
        pipe = original(*args, **options)
        component_ids.append({name: id(part) for name, part in pipe.components.items() if part and name != "scheduler"})
        return pipe

    monkeypatch.setattr(pipeline_cache, "pipeline_for_task", record_components)
    generate(Txt2Img(model=str(models[kind]), **FAST))
    reject_loading(monkeypatch)
    generate(Img2Img(model=str(models[kind]), image=image, strength=1.0, **FAST))
    generate(Inpaint(model=str(models[kind]), image=image, mask=mask, **FAST))
    assert len(component_ids) == 3
    assert len(component_ids[0]) >= 4
    assert component_ids[0] == component_ids[1] == component_ids[2]


def test_cache_contains_only_the_last_model_and_dtype(models: dict[str, Path]) -> None:
    requests = [
        Txt2Img(model=str(models["sd1"]), **FAST),
        Txt2Img(model=str(models["sd1"]), dtype="bf16", device="cpu", **FAST),
        Txt2Img(model=str(models["sd3"]), **FAST),
    ]
    pipeline_cache.clear_cache()
    for request in (*requests, requests[0]):
        events = plain.EventLog()
        generate(request, listener=events)
        assert [event for event in events.events if isinstance(event, Loading)]


def test_scheduler_does_not_affect_later_requests(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), **{**FAST, "steps": 3})
    before = generate(request).image
    for scheduler in ("dpm++2s", "euler-a", "lcm"):
        assert not sample_images.same(generate(request.replace(scheduler=scheduler, sigmas=None)).image, before)
    assert sample_images.same(generate(request).image, before)


@pytest.mark.parametrize(
    ("component", "file"),
    [
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
        ("text_encoder", "model.safetensors"),
    ],
)
def test_missing_tensor_is_an_error(copy: Path, component: str, file: str) -> None:
    path = copy / component / file
    tensors = load_file(path)
    missing = next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)
    del tensors[missing]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match="lacks") as raised:
        generate(Txt2Img(model=str(copy), **FAST))
    assert component in raised.value.message
    assert missing in raised.value.message
    assert raised.value.hint


def test_truncated_weights_are_rejected_before_loading(copy: Path) -> None:
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    events = plain.EventLog()
    with pytest.raises(ModelUnavailableError, match=r"diffusion_pytorch_model\.safetensors"):
        generate(Txt2Img(model=str(copy), **FAST), listener=events)
    assert events.events == []


def test_tensor_with_another_shape_is_an_error(copy: Path) -> None:
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["decoder.conv_out.weight"] = tensors["decoder.conv_out.weight"][:, :4].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match="Cannot load the vae"):
        generate(Txt2Img(model=str(copy), **FAST))


def test_error_names_the_component_of_a_missing_file(copy: Path) -> None:
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match="vae"):
        generate(Txt2Img(model=str(copy), **FAST))


@pytest.mark.parametrize("trap", ["pipeline", "component", "file"])
def test_code_of_a_model_never_runs(copy: Path, trap: str) -> None:
    code = f"from pathlib import Path\nPath({str(copy / 'ran')!r}).write_text('ran')\nclass Mine: pass\n"
    index = copy / "model_index.json"
    if trap == "pipeline":
        (copy / "mine.py").write_text(code)
        change_json(index, _class_name=["mine", "Mine"])
    else:
        (copy / "unet" / ("mine.py" if trap == "component" else "unet.py")).write_text(code)
        change_json(index, unet=["mine" if trap == "component" else "diffusers", "UNet2DConditionModel"])
    with pytest.raises(RefusedError) as raised:
        generate(Txt2Img(model=str(copy), **FAST))
    assert raised.value.exit_code == 5
    assert not (copy / "ran").exists()
    if trap != "file":  # Without the check, the engine does not run the code either.
        with pytest.raises((ModelUnavailableError, RefusedError)):
            pipeline_cache.load_pipeline(
                registry.resolve_model(str(copy)), DeviceConfig("cpu", "fp32"), offload=None, vae_tiling=False,
                safety_checker=True, listener=no_op,
            )  # fmt: skip
        assert not (copy / "ran").exists()


def test_pickled_weights_are_rejected_unread(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(
        b"cposix\nsystem\n(S'touch " + str(copy / "ran").encode() + b"'\ntR."
    )
    with pytest.raises(RefusedError, match="pickle"):
        generate(Txt2Img(model=str(copy), **FAST))
    assert not (copy / "ran").exists()


def test_inpainting_models_are_rejected_for_other_tasks(models: dict[str, Path]) -> None:
    with pytest.raises(ModelUnavailableError, match="inpaint"):
        generate(Txt2Img(model=str(models["sd1-inpaint"]), **FAST))
    with pytest.raises(ModelUnavailableError, match="inpaint"):
        generate(Img2Img(model=str(models["sd1-inpaint"]), image=sample_images.photo(Path("photo.png")), **FAST))


@pytest.mark.parametrize(("kind", "scheduler"), [("sd1", "flow-euler"), ("sdxl", "flow-heun"), ("sd3", "euler")])
def test_schedulers_of_the_other_prediction_type_are_rejected(
    models: dict[str, Path], kind: str, scheduler: str
) -> None:
    events = plain.EventLog()
    with pytest.raises(UsageError, match=f"{scheduler} does not support") as raised:
        generate(Txt2Img(model=str(models[kind]), scheduler=scheduler, **FAST), listener=events)
    assert ("flow-euler" in raised.value.hint) == (kind == "sd3")
    assert events.events == []


def test_libraries_print_nothing_and_keep_their_log_settings(
    models: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    import diffusers

    pipeline_cache.clear_cache()
    verbosity, progress_bars = diffusers.logging.get_verbosity(), diffusers.logging.is_progress_bar_enabled()
    generate(Txt2Img(model=str(models["sd1"]), **{**FAST, "prompt": "a fox " * 60}))
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    generate(Inpaint(model=str(models["sd1"]), image=image, mask=mask, **FAST))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert (diffusers.logging.get_verbosity(), diffusers.logging.is_progress_bar_enabled()) == (
        verbosity,
        progress_bars,
    )


@pytest.mark.parametrize(
    ("library", "class_name", "found"),
    [
        ("transformers", "CLIPFeatureExtractor", "CLIPImageProcessor"),
        ("transformers", "CLIPImageProcessorPil", "CLIPImageProcessorPil"),
        ("transformers", "SiglipImageProcessorPil", "SiglipImageProcessorPil"),
        ("transformers", "GemmaTokenizerFast", "GemmaTokenizer"),
        ("transformers", "PreTrainedTokenizerFast", "TokenizersBackend"),
        ("kolors", "ChatGLMModel", "ChatGLMModel"),
        ("stable_diffusion", "StableDiffusionSafetyChecker", "StableDiffusionSafetyChecker"),
        ("deepfloyd_if", "IFWatermarker", "IFWatermarker"),
        ("alt_diffusion", "RobertaSeriesModelWithTransformation", "RobertaSeriesModelWithTransformation"),
        ("stable_cascade", "StableCascadeUNet", None),
    ],
)
def test_class_names_are_resolved_as_diffusers_does(library: str, class_name: str, found: str | None) -> None:
    if found is None:
        with pytest.raises(ModelUnavailableError, match=class_name):
            components.find_class(library, class_name)
    else:
        assert components.find_class(library, class_name).__name__.startswith(found)


@pytest.mark.skipif(importlib.util.find_spec("sentencepiece") is not None, reason="the package is installed")
def test_a_class_that_needs_another_package_is_refused_by_name() -> None:
    with pytest.raises(ModelUnavailableError, match="needs the package sentencepiece") as caught:
        components.find_class("diffusers", "KolorsPipeline")
    assert caught.value.hint == "pip install sentencepiece"
