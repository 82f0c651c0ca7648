"""Run each model of preprocessors and text masks through its command, as files of the hub and without torchvision."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_mask_models
import tiny_preprocessors
import torch
import transformers
from command_line import run
from PIL import Image, ImageDraw

from artgen.engine.control_maps.models import CLASSES as MAP_CLASSES
from artgen.engine.loading.transformers_models import ModelWithProcessor
from artgen.engine.text_masks.models import CLASSES as MASK_CLASSES
from artgen.registry.hub import cache
from artgen.registry.mask_models import mask_model_entries
from artgen.registry.model_configs import read_config
from artgen.registry.preprocessors import preprocessor_entries
from artgen.registry.transformers_models import ListedModel

MAPS = {
    "depth": (("depth_anything",), ("dpt",)),
    "pose": (("rt_detr", "vitpose"),),
    "seg": (("upernet",), ("segformer",), ("mask2former",)),
}
"""Models of each kind of control maps; the models of the first item are the default models."""

MASKS = {"clipseg": ("clipseg", 0.45), "groundingdino": ("grounding_dino", 0.5), "owlv2": ("owlv2", 0.01)}
"""Builder of each mask model, and a threshold between the scores of its random weights."""


@pytest.fixture(autouse=True)
def _photo() -> None:
    image = Image.new("RGB", (90, 64), (30, 60, 120))
    ImageDraw.Draw(image).rectangle((20, 15, 60, 45), fill=(220, 180, 90))
    image.save("photo.png")


def _install(entry: ListedModel, folder: Path) -> str:
    """Copy the files that artgen downloads into the cache of the hub; return the hub id with the commit."""
    commit = entry.revisions[0] if entry.revisions != ("main",) else "01" * 20
    root = cache.repository_folder(entry.source)
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("01" * 20)
    snapshot = root / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in entry.files:
        shutil.copy(folder / name, snapshot / name)
    return f"{entry.source}@{commit}"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "model_types"), [(kind, each) for kind, all_ in MAPS.items() for each in all_])
def test_preprocessor_computes_a_map(kind: str, model_types: tuple[str, ...], tmp_path: Path) -> None:
    folders = [tiny_preprocessors.save(model_type, tmp_path / model_type) for model_type in model_types]
    local = "+".join(map(str, folders))
    record = json.loads(run("control", kind, "photo.png", "-o", "local.png", "--preprocessor", local, "--json").stdout)
    assert record["preprocessors"] == ["local"] * len(folders)
    with Image.open("local.png") as image:
        assert (image.mode, image.size) == ("RGB", (90, 64))
        pixels = np.asarray(image)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 2, "the map is constant"
    entries = [entry for entry in preprocessor_entries().values() if entry.kind == kind]
    addresses = [_install(entry, folder) for entry, folder in zip(entries, folders, strict=True)]
    record = json.loads(run("control", kind, "photo.png", "-o", "hub.png", "--offline", "--json").stdout)
    assert record["preprocessors"] == addresses
    with Image.open("hub.png") as image:
        assert (np.asarray(image) == pixels).all()
    assert "torchvision" not in sys.modules


@pytest.mark.slow
@pytest.mark.parametrize("name", MASKS)
def test_mask_model_selects_pixels(name: str, tmp_path: Path) -> None:
    builder, threshold = MASKS[name]
    entries = mask_model_entries()
    parts = [getattr(tiny_mask_models, builder)(tmp_path / builder)]
    if entries[name].segmenter:
        parts.append(tiny_mask_models.sam(tmp_path / "sam"))
    for part in parts:
        tiny_mask_models.use_hub_layout(part)
    options = ("mask", "photo.png", "a fox", "--mask-threshold", str(threshold), "--json")
    local = json.loads(run(*options, "--mask-model", "+".join(map(str, parts)), "-o", "local.png").stdout)
    assert 0 < local["share"] < 1
    for key, part in zip((name, entries[name].segmenter), parts, strict=False):
        _install(entries[key], part)
    found = json.loads(run(*options, "--mask-model", name, "--offline", "-o", "hub.png").stdout)
    assert (found["share"], found["highest"], found["mask_model"]) == (local["share"], local["highest"], name)
    assert Image.open("hub.png").tobytes() == Image.open("local.png").tobytes()
    assert "torchvision" not in sys.modules


def test_out_of_memory_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    depth = tiny_preprocessors.save("dpt", tmp_path / "dpt")
    clipseg = tiny_mask_models.clipseg(tmp_path / "clipseg")

    def run_out_of_memory(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(ModelWithProcessor, "run", run_out_of_memory)
    result = run("control", "depth", "photo.png", "--preprocessor", str(depth), code=6)
    assert "Cannot compute the depth map of 90x64: out of memory." in result.stderr
    result = run("mask", "photo.png", "a fox", "--mask-model", str(clipseg), "-o", "mask.png", code=6)
    assert "Cannot compute the mask of 90x64: out of memory." in result.stderr
    assert not Path("outputs").exists()
    assert not Path("mask.png").exists()


def test_each_class_of_the_tables_is_tested() -> None:
    in_tables = {model_type for entry in preprocessor_entries().values() for model_type in entry.model_types}
    tested = {model_type for groups in MAPS.values() for group in groups for model_type in group}
    assert in_tables == tested == set(MAP_CLASSES) == set(tiny_preprocessors.BUILDERS)
    for kind, groups in MAPS.items():
        entries = [entry for entry in preprocessor_entries().values() if entry.kind == kind]
        assert groups[0] == tuple(entry.model_types[0] for entry in entries)
    masks = mask_model_entries()
    assert {entry.model_type for entry in masks.values()} == set(MASK_CLASSES)
    assert {*MASKS, *(entry.segmenter for entry in masks.values() if entry.segmenter)} == set(masks)


def test_configurations_of_full_size_models_are_accepted(tmp_path: Path) -> None:
    for model_type, (model_class, _) in {**MAP_CLASSES, **MASK_CLASSES}.items():
        getattr(transformers, model_class).config_class().save_pretrained(tmp_path / model_type)
        assert read_config(tmp_path / model_type / "config.json")["model_type"] == model_type


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("canny", "photo.png", "--preprocessor", "folder"), 2, "The kind canny needs no preprocessor."),
        (("pose", "photo.png", "--preprocessor", "folder"), 2, "The kind pose needs 2 models, not 1."),
        (("seg", "photo.png", "--preprocessor", "missing"), 2, "must be a folder, not 'missing'"),
        (("seg", "photo.png", "--preprocessor", "folder"), 4, "Supported types: upernet, segformer, mask2former."),
        (("depth", "photo.png", "--preprocessor", "folder"), 5, "pickle"),
        (("depth", "photo.png", "--preprocessor", "."), 4, "it has no config.json"),
    ],
)
def test_unsuitable_preprocessor_is_refused(arguments: tuple[str, ...], code: int, message: str) -> None:
    Path("folder").mkdir()
    Path("folder/config.json").write_text('{"model_type": "dpt"}')
    weights = "pytorch_model.bin" if arguments[0] == "depth" else "model.safetensors"
    Path("folder", weights).write_bytes(b"\x80\x02")
    assert message in run("control", *arguments, code=code).stderr
    assert not Path("outputs").exists()
