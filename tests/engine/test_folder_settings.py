"""Test `--max-side` and notes in folders and prompt files."""

import json
from pathlib import Path

import command_line
import pytest
import sample_images


@pytest.mark.parametrize("task", ["img2img", "inpaint", "outpaint", "denoise"])
def test_folder_and_prompt_file_support_it(task: str) -> None:
    sample_images.mask(Path("mask.png"), 40, 20)
    Path("photos").mkdir()
    for name, size in (("a", (40, 20)), ("b", (30, 60)), ("c", (8, 8))):
        sample_images.photo(Path(f"photos/{name}.png"), *size)
    own = {"inpaint": ("--mask", "mask.png", "--resize-mask"), "outpaint": ("--expand", "left=5")}.get(task, ())
    result = command_line.run(task, "photos", "--max-side", "20", *own, "-o", "out/", "--dry-run", "--json")
    sizes = sorted((each["width"], each["height"]) for each in map(json.loads, result.stdout.splitlines()))
    more = 5 if task == "outpaint" else 0
    assert sizes == sorted([(20 + more, 10), (10 + more, 20), (8 + more, 8)])
    line = {"task": task, "image": "photos/a.png", "max_side": 10, **({"expand": "left=5"} if more else {})}
    line |= {"mask": "mask.png"} if task == "inpaint" else {}
    Path("jobs.jsonl").write_text(json.dumps(line))
    record = json.loads(command_line.run("batch", "jobs.jsonl", "-o", "out/", "--dry-run", "--json").stdout)
    assert (record["width"], record["height"]) == (10 + more, 5)


def test_folder_run_warns_about_the_seed_of_an_input_image(sd1: str) -> None:
    Path("photos").mkdir()
    model = ("-m", sd1, "--steps", "2", "--seed", "5")
    command_line.run("txt2img", "x", *model, "-o", "photos/generated.png")
    sample_images.photo(Path("photos/photo.png"))
    result = command_line.run("img2img", "photos", "x", *model, "-o", "out/")
    assert result.stderr.count("The same noise oversaturates colors") == 1
    assert "Seed 5 generated 'generated.png'" in result.stderr
