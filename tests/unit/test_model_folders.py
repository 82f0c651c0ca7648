"""Test the lookup of models, LoRAs, VAEs and embeddings by name in folders of A1111, ComfyUI and artgen."""

import json
import os
import shutil
from pathlib import Path

import pytest
from command_line import run
from safetensors_files import SD1_SHAPES, zero_file

from artgen import registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.registry import lora as lora_files
from artgen.registry import model_folders
from artgen.registry.connected_prior import combined_folder
from artgen.registry.lora.find import find_recorded
from artgen.spec import config, config_values

LORA_KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k"
LORA = {f"{LORA_KEY}.lora_down.weight": (4, 320), f"{LORA_KEY}.lora_up.weight": (320, 4), f"{LORA_KEY}.alpha": ()}

A1111 = {
    "models/Stable-diffusion/dreamshaper_8.safetensors": "model",
    "models/Stable-diffusion/anime/mix.v2.1.safetensors": "model",
    "models/Stable-diffusion/old.ckpt": "model",
    "models/Lora/detail.safetensors": "lora",
    "models/LyCORIS/loha.safetensors": "lora",
    "models/VAE/vae-ft-mse.safetensors": "vae",
    "models/ControlNet/canny.safetensors": "controlnet",
    "models/ESRGAN/4x_sharp.safetensors": "upscaler",
    "models/RealESRGAN/RealESRGAN_x4plus.pth": "upscaler",
    "embeddings/bad-hands.safetensors": "embedding",
}
COMFYUI = {
    "models/checkpoints/dreamshaper_8.safetensors": "model",
    "models/checkpoints/SDXL/nebula.safetensors": "model",
    "models/diffusion_models/flux.safetensors": "model",
    "models/unet/wan.gguf": "model",
    "models/loras/style.safetensors": "lora",
    "models/vae/ae.sft": "vae",
    "models/embeddings/easy.pt": "embedding",
    "models/text_encoders/t5.safetensors": "text_encoder",
    "models/clip/clip_l.safetensors": "text_encoder",
    "models/controlnet/depth.safetensors": "controlnet",
    "models/upscale_models/4x_soft.safetensors": "upscaler",
}


def write_tree(root: Path, names: dict[str, str]) -> Path:
    """Write a tree of files. Checkpoints and LoRAs have valid headers."""
    for name, kind in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors" and kind in ("model", "lora"):
            zero_file(path, SD1_SHAPES if kind == "model" else LORA)
        else:
            path.write_bytes(b"x")
    return root


def use(*folders: Path | str) -> None:
    config_values.set_value("model_folders", ",".join(map(str, folders)), config.user_config_file())


@pytest.mark.parametrize("names", [A1111, COMFYUI], ids=["a1111", "comfyui"])
@pytest.mark.parametrize("root", ["", "models"])
def test_files_are_found_by_the_kind_of_their_folder(tmp_path: Path, names: dict[str, str], root: str) -> None:
    tree = write_tree(tmp_path / "ui", names)
    use(tree / root)
    for name, kind in names.items():
        path = tree / name
        if not path.is_relative_to(tree / root):
            continue
        found = {each: [file.path for file in model_folders.iter_files(each)] for each in model_folders.FOLDER_NAMES}
        assert [each for each, paths in found.items() if path in paths] == [kind]
        if path.suffix in (".ckpt", ".pt", ".pth"):
            with pytest.raises(RefusedError, match="pickle"):
                model_folders.find(found_kind(kind), path.stem)
            continue
        subfolder_name = path.relative_to(tree / name.split(path.name)[0].rstrip("/")).as_posix()
        for typed in (path.name, path.stem, path.stem.upper(), subfolder_name):
            assert model_folders.find(found_kind(kind), typed) == path, typed


def found_kind(kind: str) -> model_folders.Kind:
    return next(each for each in model_folders.FOLDER_NAMES if each == kind)


def test_a_kind_folder_and_a_plain_folder_can_be_configured(tmp_path: Path) -> None:
    write_tree(tmp_path, {"Lora/a.safetensors": "lora", "mine/b.safetensors": "model", "mine/c/d.safetensors": "lora"})
    use(tmp_path / "Lora", tmp_path / "mine")
    assert model_folders.find("lora", "a") == tmp_path / "Lora/a.safetensors"
    assert model_folders.find("model", "a") is None
    assert model_folders.find("model", "b") == tmp_path / "mine/b.safetensors"
    assert model_folders.find("lora", "c/d") == model_folders.find("lora", "c\\D.safetensors")


def test_models_and_loras_are_resolved_by_name(tmp_path: Path, models: dict[str, Path]) -> None:
    write_tree(tmp_path / "a", A1111)
    write_tree(tmp_path / "c", COMFYUI)
    shutil.copytree(models["sd1"], tmp_path / "c/models/diffusers/tiny-folder")
    use(tmp_path / "a", tmp_path / "c")
    model = registry.resolve_model("nebula", offline=True)
    assert model.path == tmp_path / "c/models/checkpoints/SDXL/nebula.safetensors"
    assert registry.resolve_model("SDXL/nebula", offline=True).path == model.path, "precedence over hub ids"
    assert registry.resolve_model("mix.v2.1", offline=True).path.name == "mix.v2.1.safetensors"
    assert registry.resolve_model("tiny-folder", offline=True).path == tmp_path / "c/models/diffusers/tiny-folder"
    assert lora_files.find_lora("style") == tmp_path / "c/models/loras/style.safetensors"
    with pytest.raises(ModelUnavailableError) as caught:
        registry.resolve_model("dreamshaper_8", offline=True)
    assert all(f"'{tmp_path / tree}" in caught.value.message for tree in ("a/models/Stable", "c/models/checkpoints"))
    with pytest.raises(ModelUnavailableError) as caught:
        registry.resolve_model("style", offline=True)
    assert "Pass it with --lora style" in caught.value.hint
    with pytest.raises(InputFileError) as lora_error:
        lora_files.find_lora("nebula")
    assert "model" in lora_error.value.hint
    with pytest.raises(ModelUnavailableError) as caught:
        registry.resolve_model("nebulla", offline=True)
    assert "nebula" in caught.value.hint


def test_aliases_and_paths_have_precedence(tmp_path: Path) -> None:
    write_tree(tmp_path / "c", {"checkpoints/x.safetensors": "model", "checkpoints/tiny.safetensors": "model"})
    use(tmp_path / "c")
    assert registry.parse_reference("tiny").kind == "bundled"
    assert registry.parse_reference("x.safetensors").target == str(tmp_path / "c/checkpoints/x.safetensors")
    zero_file(Path("x.safetensors"), SD1_SHAPES)
    assert registry.parse_reference("x.safetensors").target == "x.safetensors"
    registry.set_alias("x", "tiny")
    assert registry.parse_reference("x").kind == "bundled"


@pytest.mark.parametrize("name", ["../secret", "../secret.safetensors", "/etc/passwd", "*", "", ".", "..", "a" * 5000])
def test_names_do_not_leave_the_folders(tmp_path: Path, name: str) -> None:
    write_tree(tmp_path, {"ui/checkpoints/a.safetensors": "model", "ui/secret.safetensors": "model"})
    use(tmp_path / "ui")
    assert model_folders.find("model", name) is None


def test_links_are_followed_and_count_once(tmp_path: Path) -> None:
    write_tree(tmp_path / "a", {"models/Stable-diffusion/one.safetensors": "model"})
    checkpoints = tmp_path / "c/models/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "linked").symlink_to(tmp_path / "a/models/Stable-diffusion")
    (checkpoints / "linked/loop").symlink_to(checkpoints)
    (checkpoints / "two.safetensors").symlink_to(tmp_path / "a/models/Stable-diffusion/one.safetensors")
    (checkpoints / "broken.safetensors").symlink_to(tmp_path / "nowhere")
    os.mkfifo(checkpoints / "pipe.safetensors")
    use(tmp_path / "a", tmp_path / "c")
    assert model_folders.find("model", "one") == tmp_path / "a/models/Stable-diffusion/one.safetensors"
    assert len(list(model_folders.iter_files("model"))) == 1
    assert model_folders.find("model", "broken") is None
    assert model_folders.find("model", "pipe") is None


def test_files_of_artgens_own_folder_are_found() -> None:
    path = model_folders.own_folder("lora") / "pulled.safetensors"
    path.parent.mkdir(parents=True)
    zero_file(path, LORA)
    assert lora_files.find_lora("pulled") == path


def test_a_recorded_lora_is_found_by_its_hash(tmp_path: Path) -> None:
    use(write_tree(tmp_path / "a", A1111))
    digest = registry.file_hash(tmp_path / "a/models/Lora/detail.safetensors")
    found = find_recorded("detail", digest, [])
    assert found is not None
    assert found.path.name == "detail.safetensors"
    assert find_recorded("detail", "0" * 64, []) is None


def test_the_environment_has_precedence_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path, {"one/a.safetensors": "model", "two/b.safetensors": "model", "three/c.safetensors": "model"})
    use(tmp_path / "one")
    monkeypatch.setenv("ARTGEN_MODEL_FOLDERS", f"{tmp_path / 'two'},{tmp_path / 'three'}")
    assert [file.name for file in model_folders.iter_files("model")] == ["b.safetensors", "c.safetensors"]


def test_the_home_folder_is_expanded() -> None:
    write_tree(Path.home() / "ui", COMFYUI)
    use("~/ui")
    assert model_folders.find("vae", "ae") == Path.home() / "ui/models/vae/ae.sft"


@pytest.mark.parametrize(
    "text",
    ["model_folders = '~/ui'", "model_folders = [1]", "[img2img]\nmodel_folders = ['~/ui']", "model_folders = 3"],
)
def test_invalid_settings_are_rejected(text: str) -> None:
    Path("artgen.toml").write_text(text)
    with pytest.raises(InputFileError, match="model_folders"):
        config.read_config_file(Path("artgen.toml"))


def test_the_setting_applies_to_all_commands() -> None:
    with pytest.raises(UsageError, match="all commands"):
        config_values.set_value("txt2img.model_folders", "x", Path("artgen.toml"))


def test_a_missing_folder_is_noted_and_reported(tmp_path: Path) -> None:
    use(write_tree(tmp_path / "ui", COMFYUI), tmp_path / "gone")
    listed = run("models", "list")
    assert f"'{tmp_path / 'gone'}' of model_folders does not exist" in listed.stderr
    assert "SDXL/nebula" in listed.stdout
    assert "4 models, 1 LoRA, 1 VAE, 1 embedding" in run("doctor").stdout


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_folders, "MAX_ENTRIES", 5)
    use(write_tree(tmp_path / "ui" / "models" / "checkpoints", {f"{i}.safetensors": "model" for i in range(6)}))
    with pytest.raises(ArtgenError, match="more than 5 files"):
        model_folders.find("model", "1")


def test_config_set_saves_absolute_paths() -> None:
    write_tree(Path("ui"), COMFYUI)
    run("config", "set", "model_folders", "ui,~/other")
    assert config.model_folders() == [Path("ui").absolute(), Path.home() / "other"]
    run("config", "set", "model_folders", "")
    assert config.model_folders() == []


def test_replay_finds_a_model_of_a_model_folder_by_its_hash(tmp_path: Path) -> None:
    use(write_tree(tmp_path / "ui", COMFYUI))
    model = registry.resolve_model("nebula", offline=True)
    registry.save_location(model.model_hash(), model.path)
    config_values.set_value("model_folders", "", config.user_config_file())
    assert [found.path for found in registry.find_models_by_hash(model.model_hash())] == [model.path]


def test_a_record_selects_no_file_of_a_model_folder(tmp_path: Path) -> None:
    use(write_tree(tmp_path / "ui", COMFYUI))
    assert registry.recorded_model_name("nebula", None, None) is None
    assert registry.recorded_model_name("SDXL/nebula", "SDXL/nebula", None) is None


def test_only_components_are_linked_into_a_combined_folder(tmp_path: Path) -> None:
    index = {"_class_name": "KandinskyV22Pipeline", "unet": ["diffusers", "UNet2DConditionModel"], "../x": [1, 2]}
    for name in ("decoder", "prior"):
        (tmp_path / name / "unet").mkdir(parents=True)
        (tmp_path / name / "model_index.json").write_text(json.dumps(index))
    (tmp_path / "x").mkdir()
    folder = combined_folder(tmp_path / "decoder", tmp_path / "prior")
    assert sorted(path.name for path in folder.iterdir()) == ["model_index.json", "prior_unet", "unet"]
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
