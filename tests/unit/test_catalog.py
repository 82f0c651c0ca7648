"""Test each entry of the catalog, `assets/models.json`, without torch."""

import json
from collections import Counter
from pathlib import Path

import hub_server
import pytest
from safetensors_files import filled_bytes

from artgen import registry
from artgen.registry import catalog, hub_snapshots, pipelines
from artgen.registry.catalog import ModelInfo
from artgen.registry.hub.names import HUB_ID_PATTERN
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.spec import schedulers

MODELS = catalog.builtin_models()
DOWNLOADED = [info for info in MODELS.values() if not info.bundled_folder]
MAX_DESCRIPTION_LETTERS = 120
DISTILLED_STEPS = 8
MAX_DISTILLED_GUIDANCE_SCALE = 3.0
MAX_BYTES_PER_PARAMETER = 5.5
"""fp32 weights, and components that artgen downloads but does not need."""


def entry_of(info: ModelInfo) -> PipelineEntry:
    assert info.family is not None
    return pipelines.pipeline_entries()[info.family]


def test_the_catalog_contains_the_models_that_people_use() -> None:
    assert len(MODELS) >= 60
    assert {
        *("tiny", "sd15", "sdxl", "sdxl-turbo", "sdxl-lightning", "sdxl-refiner", "sd35-medium", "flux-dev"),
        *("flux-schnell", "flux2-klein", "flux-kontext", "flux-fill", "chroma", "z-image-turbo", "z-image"),
        *("qwen-image", "qwen-image-edit", "pixart", "sana", "lumina2", "auraflow", "hunyuandit", "kolors"),
        *("cogview4", "kandinsky3", "kandinsky5", "playground", "ssd-1b", "realvisxl", "juggernaut-xl"),
        *("animagine-xl", "dreamshaper-xl", "openjourney", "hidream", "ernie-image", "krea2", "lcm-dreamshaper"),
        *("ddpm-church", "dit-256", "consistency-imagenet64"),
    } <= MODELS.keys()  # fmt: skip


def test_no_key_of_the_file_is_repeated() -> None:
    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        repeated = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        assert not repeated
        return dict(pairs)

    text = (catalog.ASSETS_FOLDER / "models.json").read_text(encoding="utf-8")
    json.loads(text, object_pairs_hook=unique)


def test_names_and_aliases_are_unique() -> None:
    names = [name for info in MODELS.values() for name in (info.name, *info.aliases)]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [name for name in names if not catalog.ALIAS_PATTERN.fullmatch(name) or name != name.lower()] == []
    sources = Counter((info.source, info.file) for info in MODELS.values())
    assert [source for source, count in sources.items() if count > 1] == []


@pytest.mark.parametrize("info", MODELS.values(), ids=MODELS)
def test_entry_has_a_license_and_a_line_about_its_use(info: ModelInfo) -> None:
    assert info.license != "unknown"
    assert info.description.endswith(".")
    assert 20 <= len(info.description) <= MAX_DESCRIPTION_LETTERS
    assert info.family in pipelines.pipeline_entries()


@pytest.mark.parametrize("info", DOWNLOADED, ids=lambda info: info.name)
def test_entry_describes_a_repository_of_its_family(info: ModelInfo) -> None:
    entry = entry_of(info)
    assert HUB_ID_PATTERN.fullmatch(info.source)
    assert info.file is None or info.file.endswith(".safetensors")
    assert entry.denoiser in info.parameters or entry.name == "glm-image"
    priors = ("prior_prior", "prior_image_encoder")
    known = {
        entry.denoiser,
        entry.vae,
        "vision_language_encoder",
        *priors,
        *(each.component for each in entry.encoders),
    }
    assert info.parameters.keys() <= known
    total = sum(info.parameters.values())
    assert 10**7 < total < 10**11
    assert info.download_size is not None
    assert 1.9 * total <= info.download_size <= MAX_BYTES_PER_PARAMETER * total


@pytest.mark.parametrize("info", DOWNLOADED, ids=lambda info: info.name)
def test_defaults_fit_the_family_and_the_variant(info: ModelInfo) -> None:
    entry = entry_of(info)
    assert info.width
    assert info.height
    assert info.width % entry.size_multiple(entry.vae_factor or 8, entry.patch or 2) == 0
    assert info.height % entry.size_multiple(entry.vae_factor or 8, entry.patch or 2) == 0
    assert min(info.width, info.height) >= 32
    assert max(info.width, info.height) <= 2048
    assert info.steps is not None
    assert 1 <= info.steps <= 1000
    assert info.guidance_scale is not None
    assert 0 <= info.guidance_scale <= 30
    if entry.guidance == "none":
        assert info.guidance_scale <= entry.guidance_off
    if info.steps <= DISTILLED_STEPS and entry.guidance != "embedded":
        assert info.guidance_scale <= MAX_DISTILLED_GUIDANCE_SCALE, "a distilled model needs little guidance"
    if info.scheduler:
        scheduler = schedulers.find_scheduler(info.scheduler)
        assert scheduler.name == info.scheduler
        assert not scheduler.is_flow_matching
        assert info.architecture in ("sd1", "sd2", "sdxl")


@pytest.mark.parametrize(
    ("typed", "name"),
    [("flux", "flux-dev"), ("schnell", "flux-schnell"), ("klein", "flux2-klein"), ("qwen", "qwen-image")],
)
def test_alias_means_the_model_and_is_recorded_by_its_name(typed: str, name: str) -> None:
    reference = registry.parse_reference(typed)
    assert reference.name == name
    assert reference.target == MODELS[name].source


def test_hub_id_has_the_properties_of_the_catalog() -> None:
    info = registry.parse_reference("black-forest-labs/flux.1-SCHNELL").info
    assert info is not None
    assert (info.name, info.steps, info.guidance_scale) == ("flux-schnell", 4, 0.0)


def test_checkpoint_of_a_repository_without_diffusers_layout_is_downloaded_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    info = MODELS["sdxl-lightning"]
    assert info.file is not None
    files = {info.file: filled_bytes({"a": (10,)}), "sdxl_lightning_2step.safetensors": b"x" * 9, "README.md": b"#"}
    with hub_server.serve(hub_server.Hub(files, repo=info.source)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        folder = registry.hub.pull(info.source, file=info.file)
        assert [path.name for path in folder.iterdir()] == [info.file]
        reference = registry.parse_reference("sdxl-lightning")
        assert hub_snapshots.complete_snapshot(reference) == folder
        assert [check.ok for check in registry.verify_model_files("sdxl-lightning")] == [True]
        (folder / info.file).unlink()
        assert hub_snapshots.complete_snapshot(reference) is None
        assert [check.detail for check in registry.verify_model_files("sdxl-lightning")] == ["missing"]
