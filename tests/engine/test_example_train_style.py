"""The example that teaches a style: its pictures, its judge, its prompts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from artgen.dataset.read import read_dataset
from artgen.spec.settings import DatasetSettings

ROOT = Path(__file__).parents[2]
SCRIPTS = [str(ROOT / "examples" / name) for name in ("train_style", "train_tiny")]
NAMES = ("things", "linocuts", "own_drawings", "style_judge", "measure_style", "concepts", "sources")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The recipe's modules, found while a test runs and forgotten after it."""
    monkeypatch.setattr(sys, "path", [*SCRIPTS, *sys.path])
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def own_drawings() -> list[Image.Image]:
    """The 64 drawings on the bundled model's contact sheet."""
    sheet = Image.open(ROOT / "artgen" / "assets" / "tiny" / "contact_sheet.png").convert("RGB")
    side = sheet.width // 8
    return [sheet.crop((x, y, x + side, y + side)) for y in range(0, 8 * side, side) for x in range(0, 8 * side, side)]


def test_the_pictures_are_read_with_captions_and_sources() -> None:
    import linocuts
    from things import HELD_OUT, SHOWN

    linocuts.write(SHOWN, Path("data/linoprint"), 0)
    linocuts.write(HELD_OUT, Path("held-out"), len(SHOWN))
    found = read_dataset(
        DatasetSettings(
            folder=Path("data"), resolution=128, licenses="CC0-1.0", duplicates="refuse", on_bad_image="refuse"
        )
    )
    assert len(found.images) == 16
    assert {each.caption for each in found.images} >= {"linoprint, a house", "linoprint, an umbrella"}
    assert not set(SHOWN) & set(HELD_OUT)


def test_the_judge_knows_linocuts_and_drawings_that_it_never_saw() -> None:
    import linocuts
    from style_judge import StyleJudge
    from things import HELD_OUT, SHOWN

    cuts = [linocuts.linocut(shapes, seed) for seed, shapes in enumerate(SHOWN.values())]
    others = [linocuts.linocut(shapes, seed) for seed, shapes in enumerate(HELD_OUT.values(), 16)]
    drawings = own_drawings()
    judge = StyleJudge.of(cuts, drawings[::2])
    assert judge.recognised(others).all()
    assert not judge.recognised(drawings[1::2]).any()


def test_what_is_measured_was_not_learnt() -> None:
    from own_drawings import nouns
    from things import SHOWN

    asked = nouns(50)
    assert len(set(asked)) == 50
    assert not {f"{article} {noun}" for noun in asked for article in ("a", "an", "the")} & set(SHOWN)
