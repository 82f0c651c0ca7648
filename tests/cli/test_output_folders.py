"""Test that an output option with a trailing slash, or the name of a folder, writes into the folder."""

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import FAST, run
from PIL import Image

TINY = ("-m", "tiny", *FAST)

OUTPUT_OPTIONS: dict[str, tuple[tuple[str, ...], str]] = {
    "txt2img": (("txt2img", "x", *TINY, "-o"), "*-x.png"),
    "img2img": (("img2img", "IMAGES", "x", *TINY, "-o"), "*0*.png"),
    "denoise": (("denoise", "IMAGES", "--method", "tv", "-o"), "*0*.png"),
    "denoise --compare": (("denoise", "ONE", "--method", "tv", "-o", "x.png", "--compare"), "0-comparison.png"),
    "denoise --frames": (("denoise", "ONE", *FAST[:2], "-o", "x.png", "--frames"), "0001.png"),
    "noise": (("noise", "ONE", "-o"), "0-noise.png"),
    "replay": (("replay", "ONE", "-o"), "*.png"),
    "sheet": (("sheet", "IMAGES", "-o"), "sheet.png"),
    "reconstruct": (("reconstruct", "IMAGES", "-m", "tiny", "-o"), "reconstruction.png"),
    "anomaly --map": (("anomaly", "IMAGES", "--map"), "0.png"),
    "anomaly --csv": (("anomaly", "IMAGES", "--csv"), "scores.csv"),
    "sweep": (("txt2img", "x", *TINY, "--sweep", "steps=1,2", "-o"), "sheet.png"),
}
"""Arguments before the value of an output option, and a pattern of the file in the folder."""


def _create_inputs() -> None:
    for name, count in (("one", 1), ("two", 2)):
        for number in range(count):
            path = Path(name, f"{number}.png")
            path.parent.mkdir(exist_ok=True)
            Image.effect_noise((64, 64), 50).convert("RGB").save(path)


def _with_slash(name: str) -> str:
    return f"{name}/"


def _existing(name: str) -> str:
    Path(name).mkdir()
    return name


@pytest.mark.parametrize("folder", [_with_slash, _existing])
@pytest.mark.parametrize(
    ("name", "images"),
    [
        (name, images)
        for name, (arguments, _) in OUTPUT_OPTIONS.items()
        for images in (("one", "two", "one/0.png") if "IMAGES" in arguments else ("one",))
    ],
)
def test_trailing_slash_and_existing_folder(name: str, images: str, folder: Callable[[str], str]) -> None:
    arguments, pattern = OUTPUT_OPTIONS[name]
    _create_inputs()
    if name == "replay":
        run("txt2img", "x", *TINY, "-o", "one/0.png", "--overwrite")
    values = {"IMAGES": images, "ONE": "one/0.png"}
    run(*(values.get(each, each) for each in arguments), folder("new.png"))
    assert list(Path("new.png").glob(pattern)), sorted(Path().rglob("*"))


def test_fit_is_saved_into_a_folder() -> None:
    Path("normal").mkdir()
    for number in range(20):
        Image.effect_noise((32, 32), 50).convert("RGB").save(f"normal/{number}.png")
    run("anomaly", "--fit", "normal", "--save-fit", "fits/")
    assert Path("fits/fit.safetensors").is_file()


@pytest.mark.parametrize(("suffix", "code"), [("", 0), (".png", 2), ("/", 0)])
def test_map_of_several_images_is_a_folder(suffix: str, code: int) -> None:
    _create_inputs()
    run("anomaly", "two", "--map", f"maps{suffix}", code=code)
    assert len(list(Path().glob("maps*/*.png"))) == (2 if code == 0 else 0)


@pytest.mark.parametrize(
    "arguments", [("sheet", "one", "-o"), ("anomaly", "one", "--map"), ("anomaly", "one", "--csv")]
)
def test_empty_values_are_refused(arguments: tuple[str, ...]) -> None:
    _create_inputs()
    assert "empty" in run(*arguments, "", code=2).stderr
