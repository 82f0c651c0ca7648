"""Test that replay compares the new image with the original, and names the reason of a difference."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sample_images
from command_line import FAST, run, save_inputs
from PIL import Image
from PIL.PngImagePlugin import PngInfo

SMALL = ("-m", "tiny", "--width", "64", "--height", "64", *FAST)


def generate(name: str, *options: str) -> Path:
    run("txt2img", "a red fox", *SMALL, "-o", name, *options)
    return Path(name)


def save_with_record(image: Image.Image, name: str, source: Path, **changes: Any) -> Path:
    """Save an image with the changed record of another image."""
    with Image.open(source) as original:
        record = {**json.loads(original.text["artgen"]), **changes}  # type: ignore[attr-defined]
    info = PngInfo()
    info.add_itxt("artgen", json.dumps(record))
    image.save(name, pnginfo=info)
    return Path(name)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fox.png", ()),
        ("fox.jpg", ()),
        ("fox.webp", ()),
        ("exact.webp", ("--quality", "100")),
    ],
)
def test_same_pixels_in_each_format(name: str, options: tuple[str, ...]) -> None:
    generate(name, *options)
    done = run("replay", name, "-o", "again.png")
    assert "Same pixels." in done.stderr.splitlines()
    assert done.stdout.splitlines() == ["again.png"]
    fields = json.loads(run("replay", name, "--json").stdout)
    assert (fields["same_pixels"], fields["differing_pixels"], fields["max_difference"]) == (True, 0, 0)


def test_same_pixels_when_the_original_is_overwritten_and_of_edited_tasks() -> None:
    generate("fox.png")
    assert "Same pixels." in run("replay", "fox.png", "-o", "fox.png", "--overwrite").stderr
    for name, quality, is_exact in (("fox.jpg", 100, False), ("fox.webp", 90, False), ("exact.webp", 100, True)):
        done = run("replay", "fox.png", "-o", name, "--quality", str(quality))
        assert "Same pixels." in done.stderr
        assert (f"The compression of '{name}' then changes them." not in done.stderr) == is_exact
    run("replay", "fox.png", "-o", "first.jpg")
    assert "compression" not in run("replay", "first.jpg", "-o", "again.jpg").stderr
    save_inputs()
    sample_images.photo(Path("photo.png"), 28, 36)
    Image.new("I;16", (40, 32), 12345).save("gray16.png")
    Image.new("RGBA", (40, 32), (200, 100, 50, 99)).save("alpha.png")
    for task in (
        ("img2img", "alpha.png", "a fox"),
        ("outpaint", "gray16.png", "a fox", "--expand", "8"),
        ("inpaint", "in.png", "a fox", "--mask", "mask.png"),
    ):
        run(*task, "-m", "tiny", *FAST, "-o", f"{task[0]}.png")
        assert "Same pixels." in run("replay", f"{task[0]}.png").stderr


def test_edited_image_is_reported_with_the_number_of_pixels() -> None:
    path = generate("fox.png")
    image = Image.open(path).convert("RGB")
    image.putpixel((3, 3), tuple(255 - value if value > 127 else value + 60 for value in image.getpixel((3, 3))))  # type: ignore[union-attr, misc]
    save_with_record(image, "edited.png", path)
    done = run("replay", "edited.png", "--json")
    assert "1 of 4,096 pixels differs from the original, by at most " in done.stderr
    assert "The records do not differ." in done.stderr
    fields = json.loads(done.stdout)
    assert fields["same_pixels"] is False
    assert fields["differing_pixels"] == 1
    assert fields["max_difference"] >= 60


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"torch": "2.0.0"}, "torch '2.0.0' (now '"),
        ({"dtype": "bf16", "torch": "\x1b[2J"}, "dtype "),
        ({"artgen": "0.0.9"}, "artgen '0.0.9' (now '"),
        ({"transformers": "y" * 5000}, "transformers 'yyy"),
    ],
)
def test_recorded_differences_are_the_reason(changes: dict[str, Any], reason: str) -> None:
    path = generate("fox.png")
    save_with_record(Image.new("RGB", (64, 64)), "other.png", path, **changes)
    done = run("replay", "other.png")
    assert "pixels differ from the original" in done.stderr
    assert "\x1b" not in done.stderr
    if "dtype" not in changes:
        assert f"Recorded differences: {reason}" in done.stderr
        assert len(done.stderr) < 3000


def test_other_sizes_and_damaged_pixels() -> None:
    path = generate("fox.png")
    save_with_record(Image.new("RGB", (32, 64)), "small.png", path)
    done = run("replay", "small.png", "--json")
    assert "The original has 32x64 pixels (RGB), and the new image has 64x64 (RGB)." in done.stderr
    assert json.loads(done.stdout)["differing_pixels"] is None
    data = path.read_bytes()
    Path("broken.png").write_bytes(data[:-200])
    assert "pixels" not in run("replay", "broken.png", code=None).stderr.lower().replace("same noise", "")


def test_changes_and_records_without_an_image_are_not_compared() -> None:
    path = generate("fox.png")
    with Image.open(path) as image:
        Path("record.json").write_text(image.text["artgen"])  # type: ignore[attr-defined]
        shutil.copy(path, "other.png")
    Path("other.png.json").write_text(Path("record.json").read_text())
    for arguments in (("fox.png", "--set", "steps=3"), ("record.json",)):
        done = run("replay", *arguments, "--json")
        assert "same_pixels" not in json.loads(done.stdout)
        assert "pixels" not in done.stderr
    assert "Same pixels." in run("replay", "other.png.json").stderr
    assert "pixels" not in run("replay", "fox.png", "-q").stderr
    assert "Same pixels." not in run("replay", "fox.png", "--dry-run").stderr


def test_another_input_image_is_the_reason_of_a_difference() -> None:
    sample_images.photo(Path("photo.png"), 40, 32)
    Image.new("RGB", (40, 32), "red").save("red.png")
    shutil.copy("photo.png", "copy.png")
    run("img2img", "photo.png", "a fox", "-m", "tiny", *FAST, "-o", "out.png")
    assert "Recorded differences: image sha256 " in run("replay", "out.png", "--set", "image=red.png").stderr
    assert "Same pixels." in run("replay", "out.png", "--set", "image=copy.png").stderr


def test_settings_with_the_recorded_values_are_no_changes() -> None:
    generate("fox.png")
    same = ("--set", "steps=2", "--set", "width=64", "--set", "scheduler=ddim")
    assert "Same pixels." in run("replay", "fox.png", *same).stderr
    assert "pixels" not in run("replay", "fox.png", *same, "--set", "seed=8").stderr
    assert "pixels" not in run("replay", "fox.png", "--set", "prompt=a red fox").stderr


@pytest.mark.parametrize("name", ["format", "quality", "output", "overwrite", "frames", "json", "frame-interval"])
def test_options_of_the_command_are_named_for_set(name: str) -> None:
    Path("record.json").write_text(json.dumps({"artgen": "0.1.0", "task": "txt2img", "prompt": "a fox", "seed": 1}))
    assert f"--{name}" in run("replay", "record.json", "--set", f"{name}=x", code=2).stderr


def test_images_of_other_tools_are_not_compared() -> None:
    info = PngInfo()
    info.add_text("parameters", "a red fox\nSteps: 2, Sampler: Euler a, CFG scale: 3, Seed: 1, Size: 64x64")
    Image.new("RGB", (64, 64)).save("a1111.png", pnginfo=info)
    done = run("replay", "a1111.png", "--json")
    assert "same_pixels" not in json.loads(done.stdout)
