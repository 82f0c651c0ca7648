"""Test `artgen control` and `artgen.control_map`."""

import json
from pathlib import Path

import pytest
from command_line import run
from PIL import Image, ImageDraw

import artgen
from artgen.registry.preprocessors import preprocessor_entries


@pytest.fixture(autouse=True)
def _inputs() -> None:
    Path("photos/sub").mkdir(parents=True)
    image = Image.new("RGB", (90, 64), (30, 60, 120))
    ImageDraw.Draw(image).rectangle((20, 15, 60, 45), fill=(220, 180, 90))
    image.save("photos/a.png")
    image.rotate(90, expand=True).save("photos/sub/b.png")


def test_maps_are_written_and_never_overwritten() -> None:
    assert run("control", "canny", "photos/a.png", "-o", "map.png").stdout == "map.png\n"
    assert "exists already" in run("control", "gray", "photos/a.png", "-o", "map.png", code=74).stderr
    with Image.open("map.png") as image:
        found = artgen.control_map("canny", "photos/a.png")
        assert isinstance(found, artgen.ControlMap)
        assert (image.size, image.tobytes()) == ((90, 64), found.image.tobytes())
    run("control", "gray", "photos/a.png", "-o", "map.png", "--overwrite")
    with Image.open("map.png") as image:
        assert image.tobytes() != found.image.tobytes()
    lines = run("control", "tile", "photos", "--json").stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert [(each["file"], each["width"], each["height"]) for each in records] == [
        ("outputs/a-tile.png", 90, 64),
        ("outputs/b-tile.png", 64, 90),
    ]
    data = Path("photos/a.png").read_bytes()
    assert run("control", "gray", "-", "-o", "-", input=data).stdout_bytes.startswith(b"\x89PNG")
    with pytest.raises(artgen.UsageError, match=r"not 'map.gif'") as caught:
        found.save("map.gif")
    assert caught.value.hint == "Use 'map.png'."
    several = artgen.control_map("gray", "photos")
    assert isinstance(several, list)
    assert [each.image.size for each in several] == [(90, 64), (64, 90)]


def test_downloads_are_printed_and_refused_without_a_network() -> None:
    for kind in ("depth", "pose", "seg"):
        result = run("control", kind, "photos/a.png", "--dry-run")
        for entry in preprocessor_entries().values():
            assert (f"'{entry.source}' ({entry.license}) is not downloaded" in result.stderr) == (entry.kind == kind)
        assert "is not on this computer" in run("control", kind, "photos/a.png", "--offline", code=4).stderr
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("cany", "photos/a.png"), 2, "Did you mean canny?"),
        (("photos/a.png", "canny"), 2, "artgen control canny photo.png"),
        (("canny", "missing.png"), 3, "missing.png"),
        (("canny", "photos/a.png", "--device", "tpu"), 2, "tpu"),
    ],
)
def test_invalid_input_is_refused(arguments: tuple[str, ...], code: int, message: str) -> None:
    result = run("control", *arguments, code=code)
    assert message in result.stderr
    assert not Path("outputs").exists()
