"""Test the preprocessors of control images with real classes at tiny sizes, without torchvision."""

import importlib
import importlib.util
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_controls
import tiny_preprocessors
import transformers
from command_line import run
from PIL import Image, ImageDraw

from artgen import metadata
from artgen.engine.control_maps import pose, seg, sketch
from artgen.engine.control_maps.maps import MapModels, control_map
from artgen.engine.control_maps.models import CLASSES
from artgen.events import Notice, no_op
from artgen.registry.hub import cache
from artgen.registry.preprocessors import Preprocessor, preprocessor_entries
from artgen.spec.control import CONTROL_KINDS


def photo() -> Image.Image:
    """Return an image with a bright square on a dark, colored ground."""
    image = Image.new("RGB", (90, 64), (30, 60, 120))
    ImageDraw.Draw(image).rectangle((20, 15, 60, 45), fill=(220, 180, 90))
    return image


@pytest.fixture(scope="module")
def preprocessors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Preprocessor]:
    """Return a tiny model with random weights for each preprocessor."""
    folder = tmp_path_factory.mktemp("preprocessors")
    return {
        name: Preprocessor(name, entry, tiny_preprocessors.save(entry.model_types[0], folder / name))
        for name, entry in preprocessor_entries().items()
    }


@pytest.mark.parametrize("kind", CONTROL_KINDS)
def test_maps_have_the_size_of_the_image(kind: str, preprocessors: dict[str, Preprocessor]) -> None:
    needed = [each for each in preprocessors.values() if each.entry.kind == kind]
    image = photo()
    found = control_map(kind, image, MapModels(needed), no_op)
    assert (found.mode, found.size) == ("RGB", image.size)
    values = np.asarray(found)
    assert values.std() > 1, "the map is constant"
    if kind in ("canny", "lineart"):
        assert set(np.unique(values)) == {0, 255}
    if kind in ("tile", "raw"):
        assert found.tobytes() == image.tobytes()
    if kind == "depth":
        assert (values.min(), values.max()) == (0, 255)
    if kind == "seg":
        assert set(map(tuple, values.reshape(-1, 3).tolist())) <= set(seg.ADE_PALETTE)
    if kind == "pose":
        full = {tuple(value) for value in values.reshape(-1, 3).tolist()}
        assert full & set(pose.COLORS)


def test_canny_finds_the_outline() -> None:
    lines = np.asarray(control_map("canny", photo(), MapModels(), no_op))[:, :, 0] > 0
    ys, xs = np.nonzero(lines)
    assert (abs(xs.min() - 20) <= 1, abs(xs.max() - 60) <= 1) == (True, True)
    assert (abs(ys.min() - 15) <= 1, abs(ys.max() - 45) <= 1) == (True, True)


def test_a_sketch_becomes_white_lines_on_black() -> None:
    dark = Image.new("RGB", (64, 64), (250, 250, 248))
    ImageDraw.Draw(dark).ellipse((10, 10, 50, 50), outline=(10, 10, 10), width=2)
    inverted = Image.eval(dark, lambda value: 255 - value)
    for image, word in ((dark, "inverted"), (inverted, "unchanged"), (photo(), "edges")):
        events: list[object] = []
        found = control_map("scribble", image, MapModels(), events.append)
        assert [word in event.text for event in events if isinstance(event, Notice)] == [True]
        assert np.asarray(found).mean() < 128
    assert control_map("lineart", dark, MapModels(), no_op).tobytes() == inverted.tobytes()
    assert sketch.sketch_paper(Image.new("RGB", (64, 64), "white")) is None, "an empty page has no lines"


def test_pose_points_and_skeleton() -> None:
    coco = [(float(i * 10), float(i * 20)) for i in range(17)]
    person = pose.openpose_points(coco, [0.9] * 15 + [0.1] * 2)
    assert person[0] == coco[0]
    assert person[1] == (55.0, 110.0), "the neck is the mean of the shoulders 5 and 6"
    assert (person[2], person[5], person[14], person[17]) == (coco[6], coco[5], coco[2], coco[3])
    assert (person[10], person[13]) == (None, None), "ankles have a low score"
    without_shoulder = pose.openpose_points(coco, [0.9] * 5 + [0.1] + [0.9] * 11)
    assert without_shoulder[1] is None
    points: list[Any] = [None] * 18
    points[1], points[2] = (100.0, 100.0), (200.0, 100.0)
    image = pose.render_pose([tuple(points)], (512, 512))
    assert image.getpixel((100, 100)) == pose.COLORS[1]
    assert image.getpixel((200, 100)) == pose.COLORS[2]
    assert image.getpixel((150, 100)) == (153, 0, 0), "limb 0 is 60 % of color 0"
    assert image.getpixel((150, 110)) == (0, 0, 0)
    assert image.getbbox() == (96, 96, 205, 105)


def test_palette_has_150_classes() -> None:
    assert len(seg.ADE_PALETTE) == 150
    assert len(set(seg.ADE_PALETTE)) == 149, "two classes of ADE20K have the same color in ControlNet's palette"


def test_torchvision_is_neither_installed_nor_imported() -> None:
    assert importlib.util.find_spec("torchvision") is None
    for name in ("canny", "depth", "maps", "models", "pose", "seg", "sketch"):
        importlib.import_module(f"artgen.engine.control_maps.{name}")
    for names in CLASSES.values():
        assert all(hasattr(transformers, name) for name in names)
    assert [name for name in sys.modules if name.split(".")[0] == "torchvision"] == []


def test_damaged_preprocessor_is_refused(preprocessors: dict[str, Preprocessor], tmp_path: Path) -> None:
    from artgen.errors import ModelUnavailableError

    source = preprocessors["depth"].folder
    assert source is not None
    for name in ("config.json", "preprocessor_config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((source / name).read_bytes()[: 100 if "safetensors" in name else None])
    broken = Preprocessor("depth", preprocessors["depth"].entry, tmp_path)
    with pytest.raises(ModelUnavailableError, match="Cannot load the preprocessor"):
        control_map("depth", photo(), MapModels([broken]), no_op)


def test_generation_uses_the_map_of_artgen_control(preprocessors: dict[str, Preprocessor], sd1: str) -> None:
    source, entry = preprocessors["depth"].folder, preprocessors["depth"].entry
    assert source is not None
    snapshot = cache.repository_folder(entry.source) / "snapshots" / ("01" * 20)
    shutil.copytree(source, snapshot)
    refs = snapshot.parent.parent / "refs"
    refs.mkdir()
    (refs / "main").write_text(snapshot.name)
    net = tiny_controls.save("sd1", Path("net"), Path(sd1))
    photo().resize((32, 32)).save("photo.png")
    assert run("control", "depth", "photo.png", "-o", "map.png", "--offline").stdout == "map.png\n"
    arguments = ("txt2img", "a fox", "-m", sd1, "--size", "32x32", "--seed", "3", "--steps", "2", "--count", "2")
    run(*arguments, "--control", f"depth=photo.png,model={net}", "-o", "a.png", "--offline")
    run(*arguments, "--control", f"raw=map.png,model={net}", "-o", "b.png")
    run(*arguments, "--control", f"raw=photo.png,model={net}", "-o", "c.png")
    for number in (1, 2):
        a, b, c = (Image.open(f"{name}-{number}.png") for name in "abc")
        assert a.tobytes() == b.tobytes()
        assert a.tobytes() != c.tobytes()
    record = metadata.read_metadata(Path("a-1.png")).record
    assert record is not None
    assert record["control_preprocessor"] == [f"{entry.source}@{snapshot.name}"]
    run("replay", "a-1.png", "-o", "again.png", "--offline")
    assert Image.open("again.png").tobytes() == Image.open("a-1.png").tobytes()
