"""Test the example that finds training images that are similar to a generated image."""

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_clip import clip
from PIL import Image, ImageDraw

SCRIPTS = Path(__file__).parents[2] / "examples" / "similar"
MODULES = (
    "similar",
    "search",
    "image_index",
    "alignment",
    "edge_descriptors",
    "planted_copies",
    "measure",
    "compare",
    "clip_features",
)


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules of the example importable during a test."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def draw_image(seed: int) -> Image.Image:
    """Return a random drawing of six shapes, 64x64."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (64, 64), tuple(rng.integers(150, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for number in range(6):
        x, y = rng.integers(0, 44, 2).tolist()
        width, height = rng.integers(8, 24, 2).tolist()
        color = tuple(rng.integers(0, 256, 3).tolist())
        (draw.ellipse if number % 2 else draw.rectangle)((x, y, x + width, y + height), color)
    return image


@pytest.fixture
def folder() -> Path:
    """Create 60 training images in two folders."""
    for number in range(60):
        path = Path(f"training/{number % 2}/{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_image(number).save(path)
    return Path("training")


def run(*arguments: object) -> int:
    import similar

    return similar.run(similar.parse_arguments([str(each) for each in (*arguments, "--cache", "cache")]))


def test_changed_copies_are_ranked_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plant a copy for each combination of crop, mirroring, recoloring and noise."""
    from planted_copies import KINDS, change

    for number, kinds in enumerate(KINDS):
        change(draw_image(number), kinds, np.random.default_rng(number)).save(f"{number}.png")
    copies = [f"{number}.png" for number in range(len(KINDS))]
    assert run(*copies, folder, "--json", "--baseline", 6, "--sheet", "pairs.png") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [f"{number % 2}/{number:02}.png" for number in range(len(KINDS))]
    assert [line["matches"][0]["name"] for line in lines] == expected
    assert [line["matches"][0]["is_mirrored"] for line in lines] == ["flip" in kinds for kinds in KINDS]
    assert all(line["baseline_share"] == 1 for line, kinds in zip(lines, KINDS, strict=True) if "noise" not in kinds)
    assert lines[KINDS.index(("flip",))]["matches"][0]["duplicate"] == "mirrors"
    left, top, width, height = lines[0]["matches"][0]["crop"]
    assert 0.6 < width < 0.99
    assert max(left + width, top + height) <= 1.001
    with Image.open("pairs.png") as sheet:
        assert sheet.height > len(KINDS) * 100


def test_index_is_updated_and_interrupted_runs_resume(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw_image(3).save("query.png")
    assert run("query.png", folder, "--top", 1, "--baseline", 3) == 0
    first = capsys.readouterr()
    assert "1.  1.000  1/03.png  same file" in first.out
    assert "read 60 of 60 images" in first.err
    index = next(Path("cache").glob("*.sqlite"))
    with sqlite3.connect(index) as database:
        database.execute("DELETE FROM image WHERE name < '0/50.png'")  # as after an interrupted run
    (folder / "1/05.png").unlink()
    draw_image(99).save(folder / "1/03.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "link.png").symlink_to("missing.png")
    assert run("query.png", folder, "--top", 1, "--baseline", 3) == 0
    second = capsys.readouterr()
    assert "read 28 of 28 images" in second.err
    assert "Skipped: " in second.err
    assert "broken.png" in second.err
    assert "same file" not in second.out
    assert run("query.png", folder, "--top", 1, "--baseline", 3) == 0
    third = capsys.readouterr()
    assert third.out == second.out
    assert "of 28 images" not in third.err


def test_image_of_one_color_is_not_a_copy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 64), "white").save("white.png")
    Image.new("RGB", (1, 1), "red").save("pixel.png")
    assert run("white.png", "pixel.png", folder, "--json", "--baseline", 0) == 0
    for line in capsys.readouterr().out.splitlines():
        assert all(abs(each["score"]) < 0.1 and not each["possible_copy"] for each in json.loads(line)["matches"])


def test_invalid_inputs_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from artgen.errors import InputFileError

    Path("text.png").write_text("text")
    draw_image(3).save("query.png")
    assert run("text.png", "query.png", folder, "--top", 1, "--baseline", 0) == 3
    output = capsys.readouterr()
    assert "text.png" in output.err
    assert "1/03.png" in output.out
    Path("empty").mkdir()
    Path("broken").mkdir()
    Path("broken/a.png").write_text("text")
    next(Path("cache").glob("*.sqlite")).write_text("not a database" * 100)
    cases = {
        "missing": "is not a folder",
        "query.png": "is not a folder",
        "empty": "contains no image",
        "broken": "no image that can be read",
        str(folder): "Cannot use the index",
    }
    for name, message in cases.items():
        with pytest.raises(InputFileError, match=message):
            run("query.png", name)
    for option in (("--top", "0"), ("--top", "99"), ("--baseline", "-1")):
        with pytest.raises(SystemExit, match="2"):
            run("query.png", folder, *option)


@pytest.mark.slow
def test_clip_adds_the_similarity_of_contents(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(Path("clip-model"))
    draw_image(3).save("query.png")
    for _ in range(2):
        assert run("query.png", "query.png", folder, "--clip=./clip-model", "--json", "--baseline", 0) == 0
        found = [json.loads(line)["matches"][0] for line in capsys.readouterr().out.splitlines()]
        assert [(each["name"], round(each["clip"], 4)) for each in found] == [("1/03.png", 1.0)] * 2
    with sqlite3.connect(next(Path("cache").glob("*.sqlite"))) as database:
        assert database.execute("SELECT count(*) FROM clip").fetchone() == (60,)


@pytest.mark.slow
def test_measurements_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import compare
    import measure

    Path("artworks.json").write_text(json.dumps({"0/00.png": "same", "1/01.png": "same"}))
    options = ["measure.py", str(folder), "--copies", "20", "--cache", "cache", "--out", "measurements.json"]
    monkeypatch.setattr(sys, "argv", [*options, "--artworks", "artworks.json"])
    measure.main()
    assert "| all | 20 | 100.0% |" in capsys.readouterr().out
    results = json.loads(Path("measurements.json").read_text())
    assert all(each["score"] > each["best_other"] for each in results)
    for name, seeds in (("generated", (0, 1)), ("held-out", (100, 101))):
        Path(name).mkdir()
        for seed in seeds:
            draw_image(seed).save(f"{name}/{seed}.png")
    monkeypatch.setattr(sys, "argv", ["compare.py", "generated", "held-out", str(folder), "--cache", "cache"])
    compare.main()
    found = json.loads(Path("data/similar/similarity.json").read_text())
    copies = [
        next(value for key, value in found[name].items() if "copies" in key) for name in ("generated", "held-out")
    ]
    assert copies == [2, 0]
    assert found["generated"]["score, maximum"] == 1 > found["held-out"]["score, maximum"]
