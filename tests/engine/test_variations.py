"""Test the command and the function `variations`."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images
from command_line import run
from PIL import Image

import artgen
from artgen import Txt2Img, UsageError, generate
from artgen.errors import InputFileError
from artgen.jobs.image_variations.plan import plan_variations

FAST: dict[str, Any] = {"prompt": "a red fox", "model": "tiny", "steps": 2, "seed": 7}


def test_variations_have_records_that_replay() -> None:
    own = generate(Txt2Img(**FAST))
    own.save("fox.png")
    objects = run("variations", "fox.png", "--count", "2", "--seed", "9", "--amount", "0.3", "-o", "out/", "--json")
    records = [json.loads(line) for line in objects.stdout.splitlines()]
    assert [(each["seed"], each["variation_seed"]) for each in records] == [(7, 9), (7, 10)]
    expected = generate(Txt2Img(**FAST, variation_seed=10, variation_strength=0.3))
    found = np.asarray(Image.open(records[1]["file"])).astype(int)
    assert abs(found - np.asarray(expected.image).astype(int)).max() <= 1  # another batch size
    assert {each["variation_of"] for each in records} == {hashlib.sha256(Path("fox.png").read_bytes()).hexdigest()}
    assert "Same pixels." in run("replay", records[1]["file"], "-o", "again.png").stderr
    assert Path("again.png").read_bytes() == Path(records[1]["file"]).read_bytes()  # also the origin
    same = run("variations", "fox.png", "--count", "1", "--amount", "0", "-o", "same.png")
    assert "each result is the image itself" in same.stderr
    assert sample_images.same(Image.open("same.png"), own.image)

    unused = ("--variation-seed", "3", "--variation-strength", "0", "--score", "clip", "--best-of", "1")
    notes = run("txt2img", "a red fox", "-m", "tiny", *unused, "--dry-run").stderr
    assert "variation_seed has no effect with variation_strength 0." in notes
    assert "score has no effect with best_of 1." in notes

    (single,) = artgen.variations("fox.png", count=1, amount=0.3, seed=9)
    assert sample_images.same(single.image, generate(Txt2Img(**FAST, variation_seed=9, variation_strength=0.3)).image)
    (varied,) = artgen.variations(single, count=1, amount=0.2, seed=3, steps=1)
    assert (varied.record["morph_seed"], varied.record["morph_position"]) == ("3", 0.2)
    assert (varied.record["variation_seed"], varied.record["steps"]) == (9, 1)
    assert sample_images.same(artgen.replay(varied).image, varied.image)
    with pytest.raises(UsageError, match="amount must be 0 to 1"):
        artgen.variations("fox.png", amount=2)


def test_images_with_unknown_noise_are_varied_with_img2img() -> None:
    sample_images.photo(Path("photo.png"))
    result = run("variations", "photo.png", "-p", "a fox", "--set", "steps=2", "--amount", "0.5", "--dry-run", "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["task"], each["strength"], each["steps"]) for each in records] == [("img2img", 0.5, 2)] * 4
    assert len({each["seed"] for each in records}) == 4
    assert "The noise of 'photo.png' is unknown: it has no generation metadata." in result.stderr
    Path("a.txt").write_text("a fox\nSteps: 2, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 64x64")
    assert "--set model=NAME" in plan_variations(Path("a.txt"), 0.2, [1], {}).notes[0]
    known = plan_variations(Path("a.txt"), 0.2, [1], {"model": "tiny"})
    assert [(each.task, each.seed) for each in known.requests] == [("txt2img", 5)]
    for task, extra, reason in (
        ("denoise", {}, "its task is denoise"),
        ("txt2img", {"seed": None}, "its record has no seed"),
        ("img2img", {"image": "missing.png"}, "missing.png"),
        ("txt2img", {"morph_position": 0.5}, "frame of a morph"),
        ("img2img", {"invert": True, "image": "photo.png"}, "--invert"),
    ):
        record = {"artgen": "0.1", "task": task, "prompt": "x", "model": "tiny", "seed": 1, **extra}
        Path("r.json").write_text(json.dumps({name: value for name, value in record.items() if value is not None}))
        plan = plan_variations(Path("r.json"), 0.2, [1], {})
        assert plan.spec is None
        assert reason in plan.notes[0], reason
    with pytest.raises(UsageError, match="Cannot set seed"):
        plan_variations(Path("photo.png"), 0.2, [1], {"seed": "4"})
    with pytest.raises(UsageError, match="Unknown setting: 'expand'"):
        plan_variations(Path("photo.png"), 0.2, [1], {"expand": "4"})
    Path("r.json").write_text(json.dumps({"artgen": "0.1", "task": "txt2img", "prompt": "x", "seed": 1, "lora": ["a"]}))
    with pytest.raises(InputFileError, match="LoRA"):
        plan_variations(Path("r.json"), 0.2, [1], {})


def test_both_passes_of_hires_fix_use_the_mixed_noise() -> None:
    request = Txt2Img(**FAST, hires="1.5:0.5", hires_in="latent", variation_seed=9, variation_strength=1.0)
    expected = generate(request.replace(seed=9, variation_seed=None, variation_strength=None))
    assert sample_images.same(generate(request).image, expected.image)
    with pytest.raises(UsageError, match="Cannot combine --morph-position and --hires"):
        generate(request.replace(morph_position=0.5, morph_seed="4"))


def test_variations_run_in_shards() -> None:
    generate(Txt2Img(**FAST)).save("fox.png")
    for shard in ("0/2", "1/2"):
        run("variations", "fox.png", "--count", "2", "--shard", shard, "-o", "out/", "-q")
    found = [artgen.info(path).record for path in sorted(Path("out").glob("*.png"))]
    assert len({each["variation_seed"] for each in found}) == 2
    again = run("variations", "fox.png", "--count", "2", "--limit", "9", "-o", "out/")
    assert "2 done, 0 to generate" in again.stderr
