"""Names to models: aliases, folders, defaults, damage and danger."""

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
from artgen.registry import catalog, hashes
from artgen.spec import schedulers

REPOSITORY = Path(registry.__file__).parents[2]


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a tiny model to spoil."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(models[name], tmp_path / "work" / f"my-{name}"))

    return make


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- the table ---


def test_the_built_in_table_is_sound() -> None:
    table = catalog.builtin_models()
    assert {"tiny", "sd15", "sd15-inpaint", "sd21", "sdxl", "sdxl-turbo", "sd35-medium", "lcm-dreamshaper"} <= set(
        table
    )
    for name, card in table.items():
        assert catalog.ALIAS_PATTERN.fullmatch(name)
        assert card.license != "unknown"
        assert card.description.endswith(".")
        if card.bundled_folder:
            continue
        assert registry.parse_reference(card.source).kind == "hub"
        assert card.architecture in ("sd1", "sd2", "sdxl", "sd3", "flux")
        assert card.width
        assert card.width % 64 == 0
        assert card.steps
        assert card.guidance_scale is not None
        assert card.download_size
        if card.scheduler:
            assert schedulers.find_scheduler(card.scheduler).name == card.scheduler
            assert not schedulers.find_scheduler(card.scheduler).is_flow_matching or card.architecture in (
                "sd3",
                "flux",
            )
    assert len({card.source for card in table.values()}) == len(table)


def test_importing_the_registry_is_light() -> None:
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
def test_names_of_hub_models(name: str, kind: str, target: str, revision: str | None) -> None:
    found = registry.parse_reference(name)
    assert (found.kind, found.target, found.revision) == (kind, target, revision)


def test_a_hub_id_has_the_card_of_its_alias() -> None:
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
        ("owner/name@../../x", "branch, a tag"),
        ("n" * 5000, "artgen models list"),
        ("./" + "n" * 5000 + ".safetensors", "artgen models list"),
    ],
)
def test_unknown_names(name: str, hint: str) -> None:
    with pytest.raises(ModelUnavailableError) as caught:
        registry.parse_reference(name)
    assert caught.value.exit_code == 4
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["m\udcff", "./m\udcff", "m\udcff.safetensors", "owner/m\udcff", "\ud800"])
def test_a_name_that_is_no_text_is_a_mistake_of_usage_unless_a_file_has_it(
    name: str, copy: Callable[[str], Path]
) -> None:
    with pytest.raises(UsageError, match="not valid UTF-8") as caught:
        registry.parse_reference(name)
    assert str(caught.value).encode()
    if name.endswith("m\udcff"):
        Path("owner").mkdir()
        copy("sd1").rename(name)
        assert registry.resolve_model(name).architecture == "sd1"


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=60))
def test_no_name_breaks_the_parser(name: str) -> None:
    try:
        found = registry.parse_reference(name)
    except ArtgenError as error:
        code, text = error.exit_code, error.hint
    else:
        code, text = 4, found.name
    assert code in (4, 5)
    assert text


def test_a_misspelt_hub_id_offline() -> None:
    with pytest.raises(ModelUnavailableError, match="not on this computer") as caught:
        registry.resolve_model("stabilityai/sdxl-trubo", offline=True)
    assert "Did you mean stabilityai/sdxl-turbo" in caught.value.hint


def test_an_alias_wins_over_a_folder(copy: Callable[[str], Path]) -> None:
    copy("sd1").rename("sd15")
    assert registry.parse_reference("sd15").kind == "hub"
    assert registry.parse_reference("./sd15").kind == "folder"
    assert registry.resolve_model("./sd15").architecture == "sd1"


# --- the user's aliases ---


def test_aliases_are_set_used_and_removed(copy: Callable[[str], Path]) -> None:
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


def test_the_users_alias_wins_over_the_built_in(copy: Callable[[str], Path]) -> None:
    registry.set_alias("sd15", str(copy("sd1")))
    assert registry.parse_reference("sd15").kind == "folder"
    registry.remove_alias("sd15")
    assert registry.parse_reference("sd15").kind == "hub"


def test_bad_aliases_are_refused() -> None:
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
def test_a_spoilt_alias_file_is_named_and_kept(text: str, line: int) -> None:
    path = registry.user_aliases_path()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for action in (registry.known_models, lambda: registry.set_alias("x", "sd15"), lambda: registry.remove_alias("a")):
        with pytest.raises(InputFileError, match=rf"aliases.json, line {line}:"):
            action()
    assert path.read_text() == text


# --- folders ---


def test_folders_describe_themselves(models: dict[str, Path]) -> None:
    expected = {
        "sd1": ("sd1", "StableDiffusionPipeline", 4, False, (30, 7.5)),
        "sd1-inpaint": ("sd1", "StableDiffusionInpaintPipeline", 9, False, (30, 7.5)),
        "sdxl": ("sdxl", "StableDiffusionXLPipeline", 4, False, (30, 5.0)),
        "sd3": ("sd3", "StableDiffusion3Pipeline", 16, True, (28, 4.5)),
    }
    for name, (architecture, pipeline, channels, flow, sampling) in expected.items():
        found = registry.resolve_model(str(models[name]))
        registry.check_model_files(found)
        assert (found.architecture, found.pipeline, found.is_flow_matching) == (architecture, pipeline, flow)
        assert (found.steps, found.guidance_scale) == sampling
        if architecture != "sd3":
            assert found.unet_channels == channels
        assert found.is_inpainting == (name == "sd1-inpaint")
        assert found.native_size == (32, 32)
        assert found.native_size[0] % found.size_multiple == 0
        assert found.variant is None
        assert found.max_prompt_tokens == 77


def test_multiples_are_those_diffusers_demands(models: dict[str, Path]) -> None:
    """The pipeline draws at `multiple` and refuses the half of it."""
    from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline

    absent = {"text_encoder_3": None, "tokenizer_3": None}
    for cls, name, without in ((StableDiffusionPipeline, "sd1", {}), (StableDiffusion3Pipeline, "sd3", absent)):
        pipe = cls.from_pretrained(models[name], local_files_only=True, **without)
        pipe.set_progress_bar_config(disable=True)
        step = registry.resolve_model(str(models[name])).size_multiple
        drawn = pipe("a fox", width=step * 3, height=step * 5, num_inference_steps=1, output_type="np").images
        assert drawn.shape[1:3] == (step * 5, step * 3)
        with pytest.raises(ValueError, match="divisible by"):
            pipe("a fox", width=step * 3 + step // 2 if name == "sd1" else step * 3 + 1, height=step * 5)


def test_a_folder_brings_its_own_defaults(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    own = {"steps": 9, "guidance_scale": 3, "scheduler": "dpm++2m", "sigmas": "karras", "width": 64, "height": 96}
    (folder / "artgen.json").write_text(json.dumps({**own, "licence": "MIT", "description": "Mine.", "other": [1]}))
    found = registry.resolve_model(str(folder))
    assert (found.steps, found.guidance_scale, found.scheduler, found.sigmas) == (9, 3, "dpm++2m", "karras")
    assert (found.native_size, found.license, found.description) == ((64, 96), "MIT", "Mine.")
    for bad in ('{"steps": "many"}', '{"width": -8}', '{"steps": true}', '{"steps": 4', "[]"):
        (folder / "artgen.json").write_text(bad)
        with pytest.raises(InputFileError, match=r"artgen.json"):
            registry.resolve_model(str(folder))


def test_few_step_models_are_known_by_their_schedulers(copy: Callable[[str], Path]) -> None:
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


def test_fp16_only_weights_ask_for_their_variant(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    half = weights.with_name("diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(weights, half)
    assert registry.resolve_model(str(folder)).variant is None
    weights.unlink()
    found = registry.resolve_model(str(folder))
    registry.check_model_files(found)
    assert (found.variant, found.weight_files()) == ("fp16", (half,))


def test_the_hash_is_that_of_the_denoiser_and_remembered(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy("sd1")
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    found = registry.resolve_model(str(folder))
    first = found.model_hash()
    assert first == hashes.compute_sha256(weights)
    assert found.provenance()["model_hash"] == first
    read: list[Path] = []
    original = hashes.compute_sha256
    monkeypatch.setattr(hashes, "compute_sha256", lambda path, **more: read.append(path) or original(path, **more))
    assert found.model_hash() == first
    assert read == []
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert found.model_hash() != first
    assert read == [weights.resolve()]


def test_the_bundled_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models: dict[str, Path]) -> None:
    """`tiny` is found in artgen's assets, checked against its sums, and missed with a message."""
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
    assert all(finding.ok for finding in registry.verify_model_files("tiny"))
    vocabulary = folder / "tokenizer/tokenizer_config.json"
    vocabulary.write_text(vocabulary.read_text() + " ")
    (folder / "vae/config.json").unlink()
    bad = {finding.file: finding.detail for finding in registry.verify_model_files("tiny") if not finding.ok}
    assert "should be" in bad["tokenizer/tokenizer_config.json"]
    assert bad["vae/config.json"] == "missing"


# --- damage and danger ---


def truncate(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: truncate(f / "unet/diffusion_pytorch_model.safetensors"), r"unet.*is truncated"),
        (lambda f: (f / "vae/diffusion_pytorch_model.safetensors").write_bytes(b""), r"vae.*is empty"),
        (lambda f: (f / "vae/diffusion_pytorch_model.safetensors").unlink(), r"lacks vae/\*\.safetensors"),
        (lambda f: (f / "text_encoder/config.json").unlink(), r"lacks text_encoder/config\.json"),
        (lambda f: shutil.rmtree(f / "tokenizer"), r"lacks tokenizer/"),
        (lambda f: (f / "vae/config.json").write_text("{"), r"vae/config\.json, line 1"),
        (lambda f: edit(f / "unet/config.json", in_channels=9), r"takes 4 channels .* says 9"),
    ],
)
def test_damage_is_found_before_anything_slow(
    copy: Callable[[str], Path], spoil: Callable[[Path], None], message: str
) -> None:
    folder = copy("sd1")
    spoil(folder)
    with pytest.raises((ModelUnavailableError, InputFileError), match=message) as caught:
        registry.check_model_files(registry.resolve_model(str(folder)))
    assert caught.value.exit_code in (3, 4)
    assert caught.value.hint


def test_a_shard_without_a_promised_tensor(copy: Callable[[str], Path]) -> None:
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
    "spoil",
    [
        lambda f: edit(f / "model_index.json", unet=["my_module", "Evil"]),
        lambda f: edit(f / "model_index.json", _class_name=["pipeline", "Evil"]),
        lambda f: edit(f / "text_encoder/config.json", auto_map={"AutoModel": "code.Evil"}),
        lambda f: (f / "unet/diffusers.py").write_text("raise SystemExit"),
    ],
)
def test_code_of_a_models_own_is_refused(copy: Callable[[str], Path], spoil: Callable[[Path], None]) -> None:
    folder = copy("sd1")
    spoil(folder)
    with pytest.raises(RefusedError, match="of its own") as caught:
        registry.check_model_files(registry.resolve_model(str(folder)))
    assert caught.value.exit_code == 5


def test_a_component_name_cannot_leave_the_folder(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    edit(folder / "model_index.json", **{"../../evil": ["diffusers", "UNet2DConditionModel"]})
    with pytest.raises(RefusedError, match="no folder name"):
        registry.resolve_model(str(folder))


def test_pickled_components_are_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("sd1")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")
    with pytest.raises(RefusedError, match=r"has only diffusion_pytorch_model\.bin"):
        registry.check_model_files(registry.resolve_model(str(folder)))


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match=r"no model_index\.json"):
        registry.resolve_model(str(tmp_path))
