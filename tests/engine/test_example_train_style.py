"""Test the style training example: training images, classifier and prompts."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from artgen.dataset.read import read_dataset
from artgen.spec.settings import DatasetSettings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SCRIPTS = [str(ROOT / "examples" / name) for name in ("train_style", "train_tiny")]
NAMES = ("shapes", "linocuts", "generated_images", "style_classifier", "measure_style", "concepts", "sources")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules of the example importable during a test."""
    monkeypatch.setattr(sys, "path", [*SCRIPTS, *sys.path])
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


def generated_images() -> list[Image.Image]:
    """Return the 64 images of the bundled model's contact sheet."""
    sheet = Image.open(ROOT / "artgen" / "assets" / "tiny" / "contact_sheet.png").convert("RGB")
    side = sheet.width // 8
    return [sheet.crop((x, y, x + side, y + side)) for y in range(0, 8 * side, side) for x in range(0, 8 * side, side)]


def test_training_images_have_captions_and_licenses() -> None:
    import linocuts
    from shapes import HELD_OUT, TRAINING_SHAPES

    linocuts.write_images(TRAINING_SHAPES, Path("data/linoprint"), 0)
    linocuts.write_images(HELD_OUT, Path("held-out"), len(TRAINING_SHAPES))
    dataset = read_dataset(
        DatasetSettings(
            folder=Path("data"), resolution=128, licenses="CC0-1.0", duplicates="refuse", on_bad_image="refuse"
        )
    )
    assert len(dataset.images) == 16
    assert {each.caption for each in dataset.images} >= {"linoprint, a house", "linoprint, an umbrella"}
    assert not set(TRAINING_SHAPES) & set(HELD_OUT)


def test_style_classifier_generalizes_to_new_images() -> None:
    import linocuts
    from shapes import HELD_OUT, TRAINING_SHAPES
    from style_classifier import StyleClassifier

    linocut_images = [linocuts.render_linocut(shapes, seed) for seed, shapes in enumerate(TRAINING_SHAPES.values())]
    held_out = [linocuts.render_linocut(shapes, seed) for seed, shapes in enumerate(HELD_OUT.values(), 16)]
    images = generated_images()
    classifier = StyleClassifier.from_images(linocut_images, images[::2])
    assert classifier.recognized(held_out).all()
    assert not classifier.recognized(images[1::2]).any()


def test_evaluation_nouns_are_not_in_the_training_images() -> None:
    from generated_images import nouns
    from shapes import TRAINING_SHAPES

    evaluated = nouns(50)
    assert len(set(evaluated)) == 50
    assert not {f"{article} {noun}" for noun in evaluated for article in ("a", "an", "the")} & set(TRAINING_SHAPES)
