"""Test the command and the function `morph`."""

import json
from pathlib import Path
from typing import Any

import pytest
import sample_images
from command_line import run
from PIL import Image

import artgen
from artgen import Txt2Img, UsageError, generate
from artgen.errors import InputFileError
from artgen.jobs.image_variations.morph import MorphSource, frame_numbers, plan_morph, recorded_morph

SMALL: dict[str, Any] = {"steps": 2, "width": 48, "height": 32}


def frames_of(path: str) -> list[Image.Image]:
    with Image.open(path) as image:
        frames = []
        for index in range(getattr(image, "n_frames", 1)):
            image.seek(index)
            frames.append(image.convert("RGB"))
    return frames


def test_frames_start_and_end_at_the_images(models: dict[str, Path]) -> None:
    requests = [
        Txt2Img(prompt="a red fox", negative_prompt="blurry", seed=7, model=str(models["sd1"]), **SMALL),
        Txt2Img(prompt="a house", seed=8, variation_seed=9, variation_strength=0.3, model=str(models["sd1"]), **SMALL),
        Txt2Img(prompt="a red fox", seed=7, model=str(models["sd1"]), **{**SMALL, "steps": 3}),
    ]
    images = [generate(request) for request in requests]
    for name, image in zip("abc", images, strict=True):
        image.save(f"{name}.png")
    result = run("morph", "a.png", "b.png", "--frames", "4", "-o", "m.webp", "--quality", "100")
    frames = frames_of("m.webp")
    assert len(frames) == 4
    assert sample_images.same(frames[0], images[0].image)
    assert sample_images.same(frames[-1], images[1].image)
    assert not sample_images.same(frames[1], frames[2])
    run("replay", "m.webp", "-o", "again.webp")
    assert Path("again.webp").read_bytes() == Path("m.webp").read_bytes()
    for option in ("--format", "--frames", "--metadata"):
        value = {"--format": "png", "--frames": "steps/", "--metadata": "none"}[option]
        assert f"Cannot use {option}" in run("replay", "m.webp", option, value, code=2).stderr

    morph = artgen.morph([images[0], "b.png", "c.png"], frames=5)
    assert any("Using the steps of 'a.png' for all frames: 2." in note for note in morph.notes), morph.notes
    assert sample_images.same(morph.frames[2].image, images[1].image)
    middle = morph.frames[1]
    assert (middle.record["morph_prompt"], middle.record["morph_negative_prompt"]) == ("a house", "")
    assert (middle.record["morph_seed"], middle.record["morph_position"]) == ("8:9:0.3", 0.5)
    assert sample_images.same(artgen.replay(middle).image, middle.image)
    assert morph.save("m.gif", fps=2) == Path("m.gif")
    recorded = recorded_morph(Path("m.gif.json"))
    assert recorded is not None
    assert (recorded.frames, recorded.fps, recorded.loop, len(recorded.paths)) == (5, 2, False, 3)
    shown = json.loads(run("info", "m.gif", "--json").stdout)
    assert (shown["source"], shown["task"], shown["frames"], len(shown["keys"])) == ("sidecar", "morph", 5, 3)
    again = artgen.morph("m.gif", progress=False)
    assert [each.image.tobytes() for each in again.frames] == [each.image.tobytes() for each in morph.frames]
    assert again.save("again.gif").read_bytes() == Path("m.gif").read_bytes()
    with pytest.raises(InputFileError, match="its task 'morph' is not supported") as error:
        artgen.replay("m.gif")
    assert "artgen.morph(" in error.value.hint

    run("morph", "a.png", "b.png", "--frames", "4", "--loop", "-o", "frames/", "-q")
    saved = [Image.open(f"frames/{i:05}.png") for i in range(1, 5)]
    assert sample_images.same(saved[0], images[0].image)
    assert sample_images.same(saved[2], images[1].image)
    assert "--overwrite" in run("morph", "a.png", "b.png", "-o", "frames/", "--overwrite", code=2).stderr
    assert "--json" in run("morph", "a.png", "b.png", "-o", "frames/", "--json", code=2).stderr
    assert "m.webp" in result.stdout


def test_images_that_cannot_be_mixed_are_named() -> None:
    with pytest.raises(InputFileError, match=r"'a\.png' does not exist"):
        artgen.morph("a.png")
    with pytest.raises(UsageError, match="two images or more"):
        artgen.morph(["a.png"])

    def save(name: str, **changes: Any) -> Path:
        record = {"artgen": "0.1", "task": "txt2img", "prompt": "x", "model": "tiny", "seed": 1, "steps": 2, **changes}
        path = Path(f"{name}.json")
        path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))
        return path

    first = save("a", guidance_scale=3.0)
    for changes, message in (
        ({"guidance_scale": 5.0}, "their guidance_scale differs (3 and 5)"),
        ({"guidance_scale": 3.0, "model": "sd15"}, "their model differs"),
        ({"guidance_scale": 3.0, "width": 256}, "their width differs (unset and 256)"),
    ):
        with pytest.raises(UsageError) as caught:
            plan_morph(MorphSource(["a.json", "b.json"], [first, save("b", **changes)], 3, False), {})
        assert "Cannot morph 'a.json' and 'b.json'" in caught.value.message
        assert message in caught.value.message
    for changes, message in (
        ({"task": "img2img", "image": "x.png"}, "its task is img2img"),
        ({"seed": None}, "its record has no seed"),
        ({"morph_position": 0.5}, "it is a frame of a morph"),
    ):
        with pytest.raises(InputFileError, match=message):
            plan_morph(MorphSource(["a.json", "b.json"], [first, save("b", **changes)], 3, False), {})
    assert [frame_numbers(*args, loop=loop) for args, loop in (((2, 24), False), ((3, 6), False), ((3, 7), True))] == [
        [0, 23],
        [0, 2, 5],
        [0, 2, 4],
    ]
    for keys, frames, loop in ((3, 2, False), (2, 2, True)):
        with pytest.raises(UsageError, match="at least 3 frames"):
            frame_numbers(keys, frames, loop=loop)
    for invalid in ({"frames": 1}, {"frames": True}, {"keys": [1, 2]}, {"keys": []}, {"fps": 0}, {"quality": 101}):
        record = {"artgen": "0.1", "task": "morph", "frames": 4, "loop": False, "keys": [{}, {}], **invalid}
        Path("m.json").write_text(json.dumps(record))
        with pytest.raises(InputFileError, match="its record of a morph is invalid"):
            recorded_morph(Path("m.json"))
    assert recorded_morph(first) is None
    same = plan_morph(MorphSource(["a.json", "a.json"], [first, first], 3, False), {})
    assert same.notes == (
        "'a.json' and 'a.json' have the same prompt and the same noise: the frames between them are equal.",
    )
