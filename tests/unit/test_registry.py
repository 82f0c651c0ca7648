"""Test the resolution of model names, aliases, defaults of folders, and the checks of model files."""

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artgen import registry
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.registry import catalog, config_checks, hashes

REPOSITORY = Path(registry.__file__).parents[2]


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies a tiny model, so that a test can damage it."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(models[name], tmp_path / "work" / f"my-{name}"))

    return make


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- built-in models ---


def test_names_are_parsed_without_heavy_imports() -> None:
    script = (
        "import sys; from artgen import registry; registry.known_models(); registry.parse_reference('sd15')\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'numpy', 'huggingface_hub', 'safetensors', 'PIL'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "[]"


# --- names ---


@pytest.mark.parametrize(
    ("name", "kind", "target", "revision"),
    [
        ("sd15", "hub", "stable-diffusion-v1-5/stable-diffusion-v1-5", None),
        ("sd15@abc1234", "hub", "stable-diffusion-v1-5/stable-diffusion-v1-5", "abc1234"),
        ("owner/name", "hub", "owner/name", None),
        ("owner/name@refs/pr/1", "hub", "owner/name", "refs/pr/1"),
        (" owner/name ", "hub", "owner/name", None),
    ],
)
def test_hub_models_are_parsed(name: str, kind: str, target: str, revision: str | None) -> None:
    found = registry.parse_reference(name)
    assert (found.kind, found.target, found.revision) == (kind, target, revision)


def test_a_hub_id_has_the_facts_of_its_alias() -> None:
    found = registry.parse_reference("stabilityai/SDXL-turbo")
    assert found.info is not None
    assert (found.name, found.info.guidance_scale) == ("stabilityai/SDXL-turbo", 0.0)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sdlx", "Did you mean sdxl"),
        ("SD15x", "sd15"),
        ("dreamshaper8", "dreamshaper"),
        ("", "artgen models list"),
        ("a\nb", "artgen models list"),
        ("./nowhere", "artgen models list"),
        ("gone.safetensors", "artgen models list"),
        ("a/b/c", "artgen models list"),
        ("n" * 5000, "artgen models list"),
        ("./" + "n" * 5000 + ".safetensors", "artgen models list"),
    ],
)
def test_unknown_names_are_rejected_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        registry.parse_reference(name)
    assert caught.value.exit_code == 4
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["m\udcff", "./m\udcff", "m\udcff.safetensors", "owner/m\udcff", "\ud800"])
def test_undecodable_names_are_rejected_unless_a_file_has_the_name(name: str, copy: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match="not valid UTF-8") as caught:
        registry.parse_reference(name)
    assert str(caught.value).encode()
    if name.endswith("m\udcff"):
        Path("owner").mkdir()
        copy("sd1").rename(name)
        assert registry.resolve_model(name).architecture == "sd1"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=60))
def test_every_name_is_parsed_or_raises_an_artgen_error(name: str) -> None:
    try:
        found = registry.parse_reference(name)
    except ArtgenError as error:
        code, text = error.exit_code, error.hint
    else:
        code, text = 4, found.name
    assert code in (4, 5)
    assert text


def test_a_misspelled_hub_id_gets_a_hint_offline() -> None:
    with pytest.raises(ModelUnavailableError, match="not on this computer") as caught:
        registry.resolve_model("stabilityai/sdxl-trubo", offline=True)
    assert "Did you mean stabilityai/sdxl-turbo" in caught.value.hint


def test_an_alias_has_precedence_over_a_folder(copy: Callable[[str], Path]) -> None:
    copy("sd1").rename("sd15")
    assert registry.parse_reference("sd15").kind == "hub"
    assert registry.parse_reference("./sd15").kind == "folder"
    assert registry.resolve_model("./sd15").architecture == "sd1"


# --- the user's aliases ---


def test_aliases_are_saved_used_and_removed(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    registry.set_alias("mine", folder.name)
    registry.set_alias("fast", "sdxl-turbo")
    registry.set_alias("pinned", "owner/name@v2")
    found = registry.resolve_model("mine")
    assert (found.name, found.path, found.source) == ("mine", folder, folder.name)
    assert registry.known_models()["fast"].guidance_scale == 0.0
    pinned = registry.parse_reference("pinned")
    assert (pinned.name, pinned.target, pinned.revision) == ("pinned", "owner/name", "v2")
    registry.remove_alias("mine")
    with pytest.raises(ModelUnavailableError):
        registry.parse_reference("mine")
    assert registry.parse_reference("fast").target == "stabilityai/sdxl-turbo"


def test_user_aliases_override_built_in_models(copy: Callable[[str], Path]) -> None:
    registry.set_alias("sd15", str(copy("sd1")))
    assert registry.parse_reference("sd15").kind == "folder"
    registry.remove_alias("sd15")
    assert registry.parse_reference("sd15").kind == "hub"


def test_invalid_aliases_are_rejected() -> None:
    for name, target in [("a/b", "sd15"), ("", "sd15"), ("-x", "sd15"), ("x", "x"), ("x" * 65, "sd15")]:
        with pytest.raises(UsageError):
            registry.set_alias(name, target)
    with pytest.raises(RefusedError):
        registry.set_alias("x", "model.ckpt")
    with pytest.raises(ModelUnavailableError):
        registry.set_alias("x", "nothing-like-this")
    with pytest.raises(UsageError, match="built in"):
        registry.remove_alias("sd15")
    registry.set_alias("a", "sd15")
    registry.set_alias("b", "a")
    with pytest.raises(UsageError, match="itself"):
        registry.set_alias("a", "b")
    assert registry.known_models()["b"].source == registry.known_models()["sd15"].source


@pytest.mark.parametrize(
    ("text", "line"),
    [('{"a": "b/c",\n "d": \n}', 3), ("[]", 1), ('{"a": "b/c",\n "d": 7}', 2), ('{"a": "b/c",\n\n "x/y": "b/c"}', 3)],
)
def test_an_invalid_alias_file_is_reported_and_unchanged(text: str, line: int) -> None:
    path = registry.user_aliases_path()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for action in (registry.known_models, lambda: registry.set_alias("x", "sd15"), lambda: registry.remove_alias("a")):
        with pytest.raises(InputFileError, match=rf"aliases\.json'.* line {line}\b"):
            action()
    assert path.read_text() == text


# --- folders ---


def test_folders_are_described(models: dict[str, Path]) -> None:
    expected = {
        "sd1": ("sd1", "StableDiffusionPipeline", 4, False, (30, 7.5)),
        "sd1-inpaint": ("sd1", "StableDiffusionInpaintPipeline", 9, False, (30, 7.5)),
        "sdxl": ("sdxl", "StableDiffusionXLPipeline", 4, False, (30, 5.0)),
        "sd3": ("sd3", "StableDiffusion3Pipeline", 16, True, (28, 4.5)),
    }
    for name, (architecture, pipeline, channels, is_flow_matching, sampling) in expected.items():
        found = registry.resolve_model(str(models[name]))
        registry.check_model_files(found)
        assert (found.architecture, found.pipeline) == (architecture, pipeline)
        assert found.is_flow_matching == is_flow_matching
        assert (found.steps, found.guidance_scale) == sampling
        if architecture != "sd3":
            assert found.unet_channels == channels
        assert found.is_inpainting == (name == "sd1-inpaint")
        assert found.native_size == (32, 32)
        assert found.native_size[0] % found.size_multiple == 0
        assert found.variant is None
        assert found.max_prompt_tokens == 77


def test_artgen_json_sets_the_defaults_of_a_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    defaults = {"steps": 9, "guidance_scale": 3, "scheduler": "dpm++2m", "sigmas": "karras", "width": 64, "height": 96}
    more = {"license": "MIT", "description": "Mine.", "other": [1]}
    (folder / "artgen.json").write_text(json.dumps({**defaults, **more}))
    found = registry.resolve_model(str(folder))
    assert (found.steps, found.guidance_scale, found.scheduler, found.sigmas) == (9, 3, "dpm++2m", "karras")
    assert (found.native_size, found.license, found.description) == ((64, 96), "MIT", "Mine.")
    (folder / "artgen.json").write_text('{"licence": "CC0-1.0"}')
    assert registry.resolve_model(str(folder)).license == "CC0-1.0", "the key of earlier versions"
    for bad in ('{"steps": "many"}', '{"width": -8}', '{"steps": true}', '{"steps": 4', "[]"):
        (folder / "artgen.json").write_text(bad)
        with pytest.raises(InputFileError, match=r"artgen.json"):
            registry.resolve_model(str(folder))


def test_distilled_models_are_detected_by_their_schedulers(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    scheduler = folder / "scheduler/scheduler_config.json"
    edit(scheduler, _class_name="LCMScheduler")
    assert registry.resolve_model(str(folder)).scheduler == "lcm"
    edit(scheduler, _class_name="EulerDiscreteScheduler", timestep_spacing="trailing")
    found = registry.resolve_model(str(folder))
    assert (found.steps, found.guidance_scale) == (4, 0.0)
    edit(scheduler, prediction_type="v_prediction")
    found = registry.resolve_model(str(folder))
    assert (found.steps, found.guidance_scale, found.prediction) == (30, 7.5, "v_prediction")


def test_fp16_only_weights_select_the_fp16_variant(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    fp16 = weights.with_name("diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(weights, fp16)
    assert registry.resolve_model(str(folder)).variant is None
    weights.unlink()
    found = registry.resolve_model(str(folder))
    registry.check_model_files(found)
    assert (found.variant, found.weight_files()) == ("fp16", (fp16,))


def test_the_model_hash_is_that_of_the_denoiser_and_is_cached(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy("sd1")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    found = registry.resolve_model(str(folder))
    first = found.model_hash()
    assert first == hashes.compute_sha256(weights)
    assert found.provenance()["model_hash"] == first
    hashed: list[Path] = []
    compute = hashes.compute_sha256
    monkeypatch.setattr(hashes, "compute_sha256", lambda path, **more: hashed.append(path) or compute(path, **more))
    assert found.model_hash() == first
    assert hashed == []
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert found.model_hash() != first
    assert hashed == [weights.resolve()]


def test_the_bundled_model_is_verified(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: dict[str, Path]
) -> None:
    """Resolve `tiny` from artgen's assets, compare it with its SHA256SUMS, and report a missing model."""
    monkeypatch.setattr(catalog, "ASSETS_FOLDER", tmp_path)
    monkeypatch.setattr(hashes, "ASSETS_FOLDER", tmp_path)
    with pytest.raises(ModelUnavailableError, match="not part of this installation"):
        registry.resolve_model("tiny")
    folder = Path(shutil.copytree(models["sd1"], tmp_path / "tiny"))
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{hashes.compute_sha256(path)}  {path.relative_to(folder).as_posix()}" for path in files]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    found = registry.resolve_model("tiny")
    assert (found.name, found.source) == ("tiny", "bundled:tiny")
    assert found.model_hash() == hashes.compute_sha256(folder / "unet/diffusion_pytorch_model.safetensors")
    assert all(check.ok for check in registry.verify_model_files("tiny"))
    vocabulary = folder / "tokenizer/tokenizer_config.json"
    vocabulary.write_text(vocabulary.read_text() + " ")
    (folder / "vae/config.json").unlink()
    bad = {check.file: check.detail for check in registry.verify_model_files("tiny") if not check.ok}
    assert "instead of" in bad["tokenizer/tokenizer_config.json"]
    assert bad["vae/config.json"] == "missing"


# --- damaged and unsafe files ---


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: truncate(f / "unet/diffusion_pytorch_model.safetensors"), r"unet.*is truncated"),
        (lambda f: (f / "vae/diffusion_pytorch_model.safetensors").write_bytes(b""), r"vae.*is empty"),
        (lambda f: (f / "vae/diffusion_pytorch_model.safetensors").unlink(), r"lacks vae/\*\.safetensors"),
        (lambda f: (f / "text_encoder/config.json").unlink(), r"lacks text_encoder/config\.json"),
        (lambda f: shutil.rmtree(f / "tokenizer"), r"lacks tokenizer/"),
        (lambda f: (f / "vae/config.json").write_text("{"), r"vae/config\.json'.*line 1"),
        (lambda f: edit(f / "unet/config.json", in_channels=9), r"has 4 input channels instead of 9"),
    ],
)
def test_damaged_files_are_detected_before_loading(
    copy: Callable[[str], Path], damage: Callable[[Path], None], message: str
) -> None:
    folder = copy("sd1")
    damage(folder)
    with pytest.raises((ModelUnavailableError, InputFileError), match=message) as caught:
        registry.check_model_files(registry.resolve_model(str(folder)))
    assert caught.value.exit_code in (3, 4)
    assert caught.value.hint


def test_shards_must_contain_all_tensors_of_the_index(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    shard = weights.with_name("diffusion_pytorch_model-00001-of-00001.safetensors")
    from artgen.registry.safetensors_header import read_header

    table = dict.fromkeys(read_header(weights).tensors, shard.name)
    weights.rename(shard)
    index = weights.with_name("diffusion_pytorch_model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": table}))
    registry.check_model_files(registry.resolve_model(str(folder)))
    index.write_text(json.dumps({"weight_map": {**table, "one.more": shard.name}}))
    with pytest.raises(ModelUnavailableError, match=r"lacks 1 of its tensors, first one\.more"):
        registry.check_model_files(registry.resolve_model(str(folder)))
    index.write_text(json.dumps({"weight_map": {**table, "x": "../../../etc/passwd"}}))
    with pytest.raises(RefusedError, match="passwd"):
        registry.check_model_files(registry.resolve_model(str(folder)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: edit(f / "model_index.json", unet=["my_module", "Evil"]),
        lambda f: edit(f / "model_index.json", _class_name=["pipeline", "Evil"]),
        lambda f: edit(f / "text_encoder/config.json", auto_map={"AutoModel": "code.Evil"}),
        lambda f: (f / "unet/diffusers.py").write_text("raise SystemExit"),
    ],
)
def test_models_with_code_are_rejected(copy: Callable[[str], Path], damage: Callable[[Path], None]) -> None:
    folder = copy("sd1")
    damage(folder)
    with pytest.raises(RefusedError, match="its own code") as caught:
        registry.check_model_files(registry.resolve_model(str(folder)))
    assert caught.value.exit_code == 5


def test_component_names_cannot_leave_the_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    edit(folder / "model_index.json", **{"../../evil": ["diffusers", "UNet2DConditionModel"]})
    with pytest.raises(RefusedError, match="not the name of a folder"):
        registry.resolve_model(str(folder))


def test_pickled_components_are_rejected(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(RefusedError, match=r"has only diffusion_pytorch_model\.bin"):
        registry.check_model_files(registry.resolve_model(str(folder)))


def test_a_folder_without_a_model_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"no model_index\.json"):
        registry.resolve_model(str(tmp_path))


# --- packages that artgen does not install ---


def test_processor_that_needs_a_missing_package_is_refused_by_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    index = {
        "_class_name": "Flux2Pipeline",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "tokenizer": ["transformers", "PixtralProcessor"],
    }
    installed = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torchvision" else installed(name))
    with pytest.raises(
        ModelUnavailableError, match=r"its tokenizer \(PixtralProcessor\) needs the package torchvision"
    ):
        config_checks.check_index("owner/name", index)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: installed("json" if name == "torchvision" else name))
    config_checks.check_index("owner/name", index)
