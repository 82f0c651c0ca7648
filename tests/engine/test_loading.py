"""Loading: once, shared between tasks, complete or not at all, and without running code that a model brings."""

import json
import shutil
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
from safetensors.torch import load_file, save_file

from artgen import Img2Img, Inpaint, Txt2Img, generate, registry
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.events import Loading, no_op

FAST: dict[str, Any] = {"prompt": "a fox", "seed": 1, "steps": 1, "guidance_scale": 1.0}


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the tiny sd1 model that a test may spoil."""
    return Path(shutil.copytree(models["sd1"], tmp_path / "copy"))


def spoil_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_second_request_reads_no_weights(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = plain.Heard(), plain.Heard()
    pipeline_cache.clear_cache()
    request = Txt2Img(model=str(models["sd1"]), **FAST)
    before = generate(request, listener=first).image
    assert {event.component for event in first.events if isinstance(event, Loading)} == {"unet", "vae", "text_encoder"}
    monkeypatch.setattr(pipeline_cache, "_read_pipeline", lambda *_: pytest.fail("the model was read again"))
    for changed in ({}, {"vae_tiling": True}, {"scheduler": "euler"}, {"width": 40}):
        generate(request.replace(**changed), listener=second)
    assert plain.same(generate(request, listener=second).image, before)
    assert not [event for event in second.events if isinstance(event, Loading)]


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
def test_tasks_share_the_very_same_components(
    models: dict[str, Path], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    seen: list[dict[str, Any]] = []
    original = pipeline_cache.pipeline_for_task

    def spy(*arguments: Any) -> Any:
        pipe = original(*arguments)
        seen.append({name: id(part) for name, part in pipe.components.items() if part and name != "scheduler"})
        return pipe

    monkeypatch.setattr(pipeline_cache, "pipeline_for_task", spy)
    generate(Txt2Img(model=str(models[kind]), **FAST))
    monkeypatch.setattr(pipeline_cache, "_read_pipeline", lambda *_: pytest.fail("the model was read again"))
    generate(Img2Img(model=str(models[kind]), image=image, strength=1.0, **FAST))
    generate(Inpaint(model=str(models[kind]), image=image, mask=mask, **FAST))
    assert len(seen) == 3
    assert len(seen[0]) >= 4
    assert seen[0] == seen[1] == seen[2]


def test_another_precision_or_model_takes_the_place_of_the_kept_one(models: dict[str, Path]) -> None:
    generate(Txt2Img(model=str(models["sd1"]), **FAST))
    generate(Txt2Img(model=str(models["sd1"]), dtype="bf16", device="cpu", **FAST))
    generate(Txt2Img(model=str(models["sd3"]), **FAST))
    assert len(pipeline_cache._cache) == 1


def test_a_scheduler_does_not_stick(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), **{**FAST, "steps": 3})
    before = generate(request).image
    for scheduler in ("dpm++2s", "euler-a", "lcm"):
        assert not plain.same(generate(request.replace(scheduler=scheduler, sigmas=None)).image, before)
    assert plain.same(generate(request).image, before)


@pytest.mark.parametrize(
    ("component", "file"),
    [
        ("unet", "diffusion_pytorch_model.safetensors"),
        ("vae", "diffusion_pytorch_model.safetensors"),
        ("text_encoder", "model.safetensors"),
    ],
)
def test_weights_that_lack_a_tensor_are_never_filled_with_chance(copy: Path, component: str, file: str) -> None:
    path = copy / component / file
    tensors = load_file(path)
    lost = next(name for name in sorted(tensors) if name.endswith("weight") and tensors[name].ndim > 1)
    del tensors[lost]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match="lacks") as raised:
        generate(Txt2Img(model=str(copy), **FAST))
    assert component in raised.value.message
    assert lost in raised.value.message
    assert raised.value.hint
    assert not pipeline_cache._cache


def test_truncated_weights_are_refused_before_anything_loads(copy: Path) -> None:
    path = copy / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    heard = plain.Heard()
    with pytest.raises(ModelUnavailableError, match=r"diffusion_pytorch_model\.safetensors"):
        generate(Txt2Img(model=str(copy), **FAST), listener=heard)
    assert heard.events == []


def test_a_tensor_of_another_shape_is_refused(copy: Path) -> None:
    path = copy / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["decoder.conv_out.weight"] = tensors["decoder.conv_out.weight"][:, :4].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailableError, match="cannot be loaded"):
        generate(Txt2Img(model=str(copy), **FAST))


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match="vae"):
        generate(Txt2Img(model=str(copy), **FAST))


@pytest.mark.parametrize("trap", ["pipeline", "component", "file"])
def test_code_that_a_model_brings_never_runs(copy: Path, trap: str) -> None:
    code = f"from pathlib import Path\nPath({str(copy / 'ran')!r}).write_text('ran')\nclass Mine: pass\n"
    index = copy / "model_index.json"
    if trap == "pipeline":
        (copy / "mine.py").write_text(code)
        spoil_json(index, _class_name=["mine", "Mine"])
    else:
        (copy / "unet" / ("mine.py" if trap == "component" else "unet.py")).write_text(code)
        spoil_json(index, unet=["mine" if trap == "component" else "diffusers", "UNet2DConditionModel"])
    with pytest.raises(RefusedError) as raised:
        generate(Txt2Img(model=str(copy), **FAST))
    assert raised.value.exit_code == 5
    assert not (copy / "ran").exists()
    if trap != "file":  # with the check out of the way the engine itself does not run it either
        model = registry.resolve_model(str(copy))
        with pytest.raises(ModelUnavailableError):
            pipeline_cache.load_pipeline(
                model, DeviceConfig("cpu", "fp32"), offload=None, vae_tiling=False, safety_checker=True, listener=no_op
            )
        assert not (copy / "ran").exists()


def test_pickled_weights_are_refused_unread(copy: Path) -> None:
    weights = copy / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    (copy / "unet" / "diffusion_pytorch_model.bin").write_bytes(
        b"cposix\nsystem\n(S'touch " + str(copy / "ran").encode() + b"'\ntR."
    )
    with pytest.raises(RefusedError, match="pickle"):
        generate(Txt2Img(model=str(copy), **FAST))
    assert not (copy / "ran").exists()


def test_an_inpainting_model_is_for_inpainting(models: dict[str, Path]) -> None:
    with pytest.raises(ModelUnavailableError, match="inpaint"):
        generate(Txt2Img(model=str(models["sd1-inpaint"]), **FAST))
    with pytest.raises(ModelUnavailableError, match="inpaint"):
        generate(Img2Img(model=str(models["sd1-inpaint"]), image=plain.photo(Path("photo.png")), **FAST))


@pytest.mark.parametrize(("kind", "scheduler"), [("sd1", "flow-euler"), ("sdxl", "flow-heun"), ("sd3", "euler")])
def test_schedulers_of_the_other_kind_are_refused(models: dict[str, Path], kind: str, scheduler: str) -> None:
    heard = plain.Heard()
    with pytest.raises(UsageError, match=f"{scheduler} does not fit") as raised:
        generate(Txt2Img(model=str(models[kind]), scheduler=scheduler, **FAST), listener=heard)
    assert ("flow-euler" in raised.value.hint) == (kind == "sd3")
    assert heard.events == []


def test_the_libraries_keep_quiet_and_keep_their_settings(
    models: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    import diffusers

    pipeline_cache.clear_cache()
    level, bars = diffusers.logging.get_verbosity(), diffusers.logging.is_progress_bar_enabled()
    generate(Txt2Img(model=str(models["sd1"]), **{**FAST, "prompt": "a fox " * 60}))
    image, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    generate(Inpaint(model=str(models["sd1"]), image=image, mask=mask, **FAST))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert (diffusers.logging.get_verbosity(), diffusers.logging.is_progress_bar_enabled()) == (level, bars)
