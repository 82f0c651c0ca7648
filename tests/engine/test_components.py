"""Test the components that replace components of a model: --vae and --text-encoder-3 none."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command_line
import diffusers
import hub_server
import plain_scripts
import pytest
import sample_images
import tiny_models
import torch
from original_layout import to_original_vae
from PIL import Image
from safetensors.torch import load_file, save_file

from artgen import Img2Img, Inpaint, Txt2Img, generate, generate_all, outputs, replay
from artgen.engine.loading import pipeline_cache
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, UsageError
from artgen.registry import resolve_model, resolve_vae
from artgen.spec.settings import OutputSettings

CALL: dict[str, Any] = {"prompt": "a red fox", "guidance_scale": 4.0}
PIPELINES = {"sd1": "StableDiffusion", "sdxl": "StableDiffusionXL", "sd3": "StableDiffusion3"}


@pytest.fixture(scope="module")
def vaes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Save VAEs in all supported forms: folders, and files with the names of diffusers and of the original code."""
    root = tmp_path_factory.mktemp("vaes")
    folders = {
        "sd1": tiny_models.vae(root / "sd1"),
        "sd3": tiny_models.vae(root / "sd3", latent_channels=16, shift_factor=0.06, scaling_factor=1.5),
        "other scale": tiny_models.vae(root / "other-scale", scaling_factor=0.13025),
        "other shift": tiny_models.vae(root / "shift", latent_channels=16, shift_factor=0.1, scaling_factor=1.5),
    }
    state = load_file(folders["sd1"] / "diffusion_pytorch_model.safetensors")
    for name, tensors in {
        "diffusers": state,
        "original": to_original_vae(state),
        "prefixed": to_original_vae(state, "first_stage_model."),
    }.items():
        folders[name] = root / f"{name}.safetensors"
        save_file(tensors, folders[name], metadata={"format": "pt"})
    folders["model"] = tiny_models.sd1(root / "model", seed=5)
    shutil.rmtree(folders["model"] / "vae")
    shutil.copytree(folders["sd1"], folders["model"] / "vae")
    return folders


def plain(architecture: str, model: Path, vae: Path, task: str = "", **kwargs: Any) -> Image.Image:
    """Generate with plain diffusers and another VAE."""
    with plain_scripts.quiet():
        pipe = plain_scripts.load(f"{PIPELINES[architecture]}{task}Pipeline", model)
        pipe.vae = diffusers.AutoencoderKL.from_pretrained(vae)
    image: Image.Image = plain_scripts.run(pipe, seed=7, num_inference_steps=2, **CALL, **kwargs)
    return image


def request(model: Path | str, **settings: Any) -> Txt2Img:
    return Txt2Img(**{"model": str(model), "seed": 7, "steps": 2, "width": 32, "height": 32, **CALL, **settings})


@pytest.mark.parametrize("architecture", ["sd1", "sdxl", "sd3"])
def test_another_vae_gives_the_image_of_diffusers(
    architecture: str, models: dict[str, Path], vaes: dict[str, Path]
) -> None:
    vae = vaes["sd3" if architecture == "sd3" else "sd1"]
    expected = plain(architecture, models[architecture], vae, width=32, height=32)
    result = generate(request(models[architecture], vae=str(vae)))
    assert result.image == expected
    assert result.image != generate(request(models[architecture])).image
    assert (result.record["vae"], result.record["vae_source"]) == (vae.name, "local")


@pytest.mark.parametrize("form", ["diffusers", "original", "prefixed", "model"])
def test_all_forms_of_a_vae_give_the_same_image(form: str, models: dict[str, Path], vaes: dict[str, Path]) -> None:
    expected = generate(request(models["sd1"], vae=str(vaes["sd1"]))).image
    assert generate(request(models["sd1"], vae=str(vaes[form]))).image == expected


@pytest.mark.parametrize("task", ["Img2Img", "Inpaint"])
def test_another_vae_encodes_input_images(task: str, models: dict[str, Path], vaes: dict[str, Path]) -> None:
    image, mask = sample_images.photo(Path("in.png"), 32, 32), sample_images.mask(Path("mask.png"), 32, 32)
    settings = {"model": str(models["sd1"]), "vae": str(vaes["sd1"]), "seed": 7, "steps": 2, "strength": 1.0, **CALL}
    inputs: dict[str, Any] = {"image": Image.open(image).convert("RGB"), "strength": 1.0}
    if task == "Img2Img":
        found = generate(Img2Img(image=image, **settings)).image
    else:
        inputs["mask_image"] = Image.open(mask)
        found = generate(Inpaint(image=image, mask=mask, keep_original=False, **settings)).image
    assert found == plain("sd1", models["sd1"], vaes["sd1"], task, **inputs)


def test_the_cached_pipeline_follows_the_vae(models: dict[str, Path], vaes: dict[str, Path]) -> None:
    model = models["sd1"]
    requests = [request(model, vae=vae) for vae in (None, str(vaes["sd1"]), None, str(vaes["original"]))]
    pipeline_cache.clear_cache()
    images = [result.image for result in generate_all(requests)]
    assert images[0] == images[2] != images[1] == images[3]


def test_replay_finds_the_vae_by_its_hash(
    models: dict[str, Path], vaes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = shutil.copy(vaes["original"], "my vae.safetensors")
    result = generate(request(models["sd1"], vae=str(vae)))
    destination = outputs.parse_destination(OutputSettings(output=str(tmp_path / "a.png")))
    destination.save(result.image, result.record)
    assert result.record["vae"] == "my vae.safetensors"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert replay(tmp_path / "a.png").image == result.image
    Path(tmp_path / "work" / "my vae.safetensors").unlink()
    with pytest.raises(ModelUnavailableError, match=r"the VAE 'my vae\.safetensors' with SHA-256"):
        replay(tmp_path / "a.png")
    assert replay(tmp_path / "a.png", vae=str(vaes["sd1"])).image == result.image


@pytest.mark.parametrize("vae", ["/etc/passwd", "../my vae.safetensors"])
def test_replay_opens_no_recorded_path(vae: str, models: dict[str, Path], vaes: dict[str, Path]) -> None:
    record = generate(request(models["sd1"], vae=str(vaes["sd1"]))).record
    Path("a.json").write_text(json.dumps({**record, "vae": vae, "vae_hash": "0" * 64}))
    with pytest.raises(ArtgenError, match="paths from metadata are not opened"):
        replay(Path("a.json"))


@pytest.mark.parametrize(
    ("model", "vae", "error", "message"),
    [
        ("sd1", "other scale", ModelUnavailableError, r"its scaling_factor is 0.13025, .* has 0.18215"),
        ("sd3", "other shift", ModelUnavailableError, r"its shift_factor is 0.1, .* has 0.06"),
        ("sd3", "sd1", ModelUnavailableError, r"its latent_channels is 4, .* has 16"),
        ("sd3", "original", ModelUnavailableError, r"it has 4 latent channels, .* has 16"),
        ("sd1", "xl name", ModelUnavailableError, r"its name is that of a VAE of SDXL"),
        ("sd1", "lora", InputFileError, r"'lora.safetensors' as a VAE: it is a LoRA"),
        ("sd1", "unet", InputFileError, r"'unet.safetensors' as a VAE: it is a denoiser"),
        ("sd1", "cut", ModelUnavailableError, r"the vae of '.*': it lacks \d+ of its tensors"),
        ("sd1", "wide", ModelUnavailableError, r"the vae of '.*': .* has the shape"),
        ("sd1", "truncated", InputFileError, r"truncated"),
        ("sd1", "vae.pt", ArtgenError, r"pickle"),
        ("sd1", "tiny", ModelUnavailableError, r"its class is AutoencoderTiny, not AutoencoderKL"),
        ("sd1", "empty", ModelUnavailableError, r"has no complete .safetensors weights"),
        ("sd1", "no-such-vae", ModelUnavailableError, r"Cannot find the VAE 'no-such-vae'"),
        ("sd1", " ", ModelUnavailableError, r"Cannot find the VAE ' '"),
        ("sd1", "./missing.safetensors", ModelUnavailableError, r"Cannot find"),
    ],
)
def test_unusable_vaes_are_refused_before_loading(
    model: str, vae: str, error: type[ArtgenError], message: str, models: dict[str, Path], vaes: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    state = load_file(vaes["original"])
    save_file(state, "xl name.safetensors")
    shutil.move("xl name.safetensors", "sdxl_vae.safetensors")
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(2, 2)}, "lora.safetensors")
    shutil.copy(models["sd1"] / "unet" / "diffusion_pytorch_model.safetensors", "unet.safetensors")
    save_file(
        {**dict(list(state.items())[:-3]), "decoder.conv_in.weight": state["decoder.conv_in.weight"]},
        "cut.safetensors",
    )
    save_file({**state, "decoder.conv_out.weight": torch.zeros(3, 16, 3, 3)}, "wide.safetensors")
    Path("truncated.safetensors").write_bytes(vaes["original"].read_bytes()[:5000])
    Path("vae.pt").write_bytes(b"\x80\x04")
    Path("tiny").mkdir()
    Path("tiny/config.json").write_text('{"_class_name": "AutoencoderTiny"}')
    Path("empty").mkdir()
    shutil.copy(vaes["sd1"] / "config.json", "empty/config.json")
    paths = {
        "xl name": "sdxl_vae.safetensors",
        **{name: f"{name}.safetensors" for name in ("lora", "unet", "cut", "wide", "truncated")},
    }
    path = str(vaes[vae]) if vae in vaes else paths.get(vae, vae)
    monkeypatch.setattr(pipeline_cache, "cached", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(error, match=message) as raised:
        generate(request(models[model], vae=path))
    assert raised.value.hint


def test_vae_of_a_model_without_autoencoder_is_refused(tmp_path: Path, vaes: dict[str, Path]) -> None:
    command_line.run("txt2img", "x", "-m", "denoiser", "--vae", str(vaes["sd1"]), code=4)
    with pytest.raises(UsageError, match="has none: it has no VAE"):
        resolve_vae(str(vaes["sd1"]), resolve_model("denoiser"))


def test_vae_and_tiny_decoder_exclude_each_other(models: dict[str, Path], vaes: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="Cannot combine --vae with --fast tiny-decoder"):
        generate(request(models["sd1"], vae=str(vaes["sd1"]), fast="tiny-decoder"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Run a hub without files."""
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.mark.parametrize("prefix", ["", "vae/"])
def test_only_the_vae_of_a_hub_repository_is_downloaded(
    prefix: str, hub: hub_server.Hub, models: dict[str, Path], vaes: dict[str, Path]
) -> None:
    hub.fill(vaes["sd1"], prefix)
    hub.files |= {"README.md": b"x", "unet/config.json": b"{}", "other.safetensors": b"x"}
    expected = generate(request(models["sd1"], vae=str(vaes["sd1"]))).image
    result = generate(request(models["sd1"], vae=hub.repo))
    assert result.image == expected
    assert {Path(name).name for name in hub.downloads()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert (result.record["vae"], result.record["vae_source"]) == (hub.repo, hub.repo)
    assert result.record["vae_revision"] == hub_server.COMMIT
    hub.requests.clear()
    assert generate(request(models["sd1"], vae=hub.repo, offline=True)).image == expected
    Path("a.json").write_text(json.dumps(result.record))
    assert replay(Path("a.json")).image == expected
    assert not hub.requests


def test_an_unsuitable_vae_of_the_hub_is_refused_after_its_configuration(
    hub: hub_server.Hub, models: dict[str, Path], vaes: dict[str, Path]
) -> None:
    hub.fill(vaes["other scale"])
    with pytest.raises(ModelUnavailableError, match="scaling_factor"):
        generate(request(models["sd1"], vae=hub.repo))
    assert hub.downloads() == ["config.json"]


@pytest.fixture(scope="module")
def sd3_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.sd3(tmp_path_factory.mktemp("sd3-t5"), t5=True)


def test_sd3_without_t5_gives_the_image_of_diffusers(sd3_t5: Path) -> None:
    with plain_scripts.quiet():
        full = diffusers.StableDiffusion3Pipeline.from_pretrained(sd3_t5)
        without = diffusers.StableDiffusion3Pipeline.from_pretrained(sd3_t5, text_encoder_3=None, tokenizer_3=None)
    call = {"seed": 7, "num_inference_steps": 2, "width": 32, "height": 32, **CALL}
    images = [plain_scripts.run(pipe, **call) for pipe in (full, without)]
    assert generate(request(sd3_t5)).image == images[0]
    result = generate(request(sd3_t5, text_encoder_3="none"))
    assert result.image == images[1] != images[0]
    assert result.record["text_encoder_3"] == "none"
    Path("a.json").write_text(json.dumps({**result.record, "model_source": None, "model": "local"}))
    assert generate(request(sd3_t5, text_encoder_3="none", offload="text")).image == images[1]


def test_t5_is_neither_downloaded_nor_required(hub: hub_server.Hub, sd3_t5: Path) -> None:
    hub.fill(sd3_t5)
    expected = generate(request(sd3_t5, text_encoder_3="none")).image
    assert generate(request(hub.repo, text_encoder_3="none")).image == expected
    assert not [name for name in hub.downloads() if "_3/" in name]
    assert generate(request(hub.repo, text_encoder_3="none", offline=True)).image == expected
    with pytest.raises(ModelUnavailableError, match="incomplete on this computer"):
        generate(request(hub.repo, offline=True))
    assert generate(request(hub.repo)).image == generate(request(sd3_t5)).image
    assert [name for name in hub.downloads() if "_3/" in name]


def test_models_without_t5_refuse_the_option(hub: hub_server.Hub, models: dict[str, Path]) -> None:
    hub.fill(models["sd1"])
    for model in (str(models["sd1"]), hub.repo):
        with pytest.raises(UsageError, match="--text-encoder-3 works with Stable Diffusion 3") as raised:
            generate(request(model, text_encoder_3="none"))
        assert raised.value.settings == ("text_encoder_3",)
    assert hub.downloads() == ["model_index.json"]
    assert "text_encoder_3" not in generate(request(models["sd3"])).record


def test_a_batch_uses_and_resumes_with_the_vae(models: dict[str, Path], vaes: dict[str, Path]) -> None:
    vae, model = shutil.copy(vaes["sd1"] / "diffusion_pytorch_model.safetensors", "v.safetensors"), str(models["sd1"])
    line = {"prompt": "a red fox", "seed": 7, "width": 32, "height": 32, "output": "a.png"}
    Path("jobs.jsonl").write_text(
        json.dumps({**line, "vae": str(vae)}) + "\n" + json.dumps({**line, "output": "b.png"})
    )
    options = ("batch", "jobs.jsonl", "-o", "out/", "-m", model, "--steps", "2", "-g", "4", "--batch-size", "1")
    command_line.run(*options)
    images = [Image.open(f"out/{name}.png").tobytes() for name in "ab"]
    assert images == [generate(request(model, vae=each)).image.tobytes() for each in (str(vae), None)]
    assert "a.png" not in command_line.run(*options).stdout


def test_a_record_in_a_prompt_file_finds_the_vae_by_hash(models: dict[str, Path], vaes: dict[str, Path]) -> None:
    result = generate(request(models["sd1"], vae=str(vaes["sd1"])))
    for name, code in (("sd1", 0), ("../sd1", 5)):
        Path("jobs.jsonl").write_text(json.dumps({**result.record, "vae": name, "output": "a.png"}))
        command_line.run("batch", "jobs.jsonl", "-o", f"out{code}/", code=code)
    assert Image.open("out0/a.png").tobytes() == result.image.tobytes()


def test_a_vae_is_found_by_name_in_the_model_folders(
    models: dict[str, Path], vaes: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("comfy/models/vae").mkdir(parents=True)
    shutil.copy(vaes["original"], "comfy/models/vae/mine.safetensors")
    monkeypatch.setenv("ARTGEN_MODEL_FOLDERS", str(Path("comfy").absolute()))
    expected = generate(request(models["sd1"], vae=str(vaes["sd1"]))).image
    assert generate(request(models["sd1"], vae="mine")).image == expected
