"""Test that commands with an input image use its recorded prompt if no prompt is given."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from command_line import FAST, record, run
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny_zoo import Zoo

import artgen

NOTE = "Using the recorded prompt"
RECORD: dict[str, Any] = {
    "artgen": "0.1.0", "schema": 1, "task": "txt2img", "prompt": "a red fox", "negative_prompt": "house", "seed": 3,
    "steps": 2, "model": "tiny", "prompt_weights": "a1111",
}  # fmt: skip
TINY = ("-m", "tiny", *FAST)
MASK = ("--mask", "mask.png")
TASKS = {"img2img": (), "inpaint": MASK, "outpaint": ("--expand", "8")}


def save_image(name: str, key: str = "artgen", text: str | None = None, **changes: Any) -> Path:
    """Save an image with a record, or with another text of metadata."""
    info = PngInfo()
    info.add_itxt(key, json.dumps({**RECORD, **changes}) if text is None else text)
    Image.new("RGB", (64, 64), "orange").save(name, pnginfo=info)
    Image.new("L", (64, 64), 255).save("mask.png")
    return Path(name)


@pytest.mark.parametrize("task", TASKS)
def test_recorded_prompt_and_negative_prompt_are_used_with_a_note(task: str) -> None:
    save_image("in.png")
    done = run(task, "in.png", *TASKS[task], *TINY, "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert (found["prompt"], found["negative_prompt"]) == ("a red fox", "house")
    assert f"{NOTE} of 'in.png': 'a red fox' (negative prompt: 'house')." in done.stderr
    assert '--prompt ""' in done.stderr
    assert NOTE not in run(task, "in.png", *TASKS[task], *TINY, "--dry-run", "-q").stderr


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("arguments", [("--prompt", ""), ("",), ("-p", "a car"), ("a car",)], ids=repr)
def test_typed_prompts_replace_the_recorded_prompt(task: str, arguments: tuple[str, ...]) -> None:
    save_image("in.png")
    done = run(task, "in.png", *arguments, *TASKS[task], *TINY, "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert found["prompt"] == arguments[-1]
    assert found["negative_prompt"] == ""
    assert NOTE not in done.stderr


def test_other_typed_settings_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    save_image("in.png")
    assert record("img2img", "in.png", "-n", "car", *TINY)["negative_prompt"] == "car"
    assert record("img2img", "in.png", "-n", "", *TINY)["negative_prompt"] == ""
    assert record("img2img", "in.png", "--prompt-weights", "comfy", *TINY)["prompt_weights"] == "comfy"
    assert record("img2img", "in.png", "--strength", "0", *TINY)["prompt"] == ""
    assert record("img2img", "-i", "in.png", "--count", "1", *TINY)["prompt"] == "a red fox"
    Path("styles.csv").write_text("name,prompt\noil,an oil painting\n")
    Path("artgen.toml").write_text('style_folder = "styles.csv"\n')
    assert record("img2img", "in.png", "--style", "oil", *TINY)["prompt"] == "an oil painting"
    monkeypatch.setenv("ARTGEN_NEGATIVE_PROMPT", "tree")
    assert record("img2img", "in.png", *TINY)["negative_prompt"] == "tree"


@pytest.mark.parametrize(
    ("prompt", "weights"),
    [
        ("a {red|blue} __animal__ fox", "a1111"),
        ("a fox <lora:missing:0.8> embedding:missing", "a1111"),
        ("a (red:1.3) fox, [cat:dog:0.5]", "a1111"),
        ("(a:99) [x", "comfy"),
        ("a ((fox", "none"),
        ("\x1b]0;evil\x07 fox\n\u202efox", "none"),
    ],
)
def test_recorded_prompts_are_final_and_sanitized(prompt: str, weights: str) -> None:
    save_image("in.png", prompt=prompt, prompt_weights=weights)
    done = run("img2img", "in.png", *TINY, "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert (found["prompt"], found["prompt_weights"]) == (prompt, weights)
    assert "\x1b" not in done.stderr
    assert "\u202e" not in done.stderr
    assert not found.get("lora")


def test_records_of_versions_without_syntax_are_plain_text() -> None:
    save_image("in.png", text=json.dumps({key: RECORD[key] for key in RECORD if key != "prompt_weights"}))
    assert record("img2img", "in.png", *TINY)["prompt_weights"] == "none"


def test_prompts_of_other_tools_are_used() -> None:
    text = "a (red:1.3) fox <lora:style:0.7>\nNegative prompt: blurry\nSteps: 20, Seed: 1, Model: v1-5"
    save_image("in.png", "parameters", text)
    done = run("outpaint", "in.png", "--expand", "8", *FAST, "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert found["prompt"] == "a (red:1.3) fox"
    assert found["negative_prompt"] == "blurry"
    assert "The recorded model 'v1-5' of AUTOMATIC1111 is not used." in done.stderr
    assert "The recorded LoRAs are not used: style" in done.stderr


def test_recorded_model_and_loras_are_named_and_not_used() -> None:
    save_image("in.png", model="sdxl", lora=["style.safetensors:0.5"], lora_sha256=["0" * 64])
    done = run("img2img", "in.png", *FAST, "--dry-run", "--json")
    assert json.loads(done.stdout)["model"] == "tiny"
    assert "The recorded model 'sdxl' is not used; to use it, add -m sdxl." in done.stderr
    assert "The recorded LoRAs are not used: style.safetensors:0.5." in done.stderr
    assert "recorded model" not in run("img2img", "in.png", "-m", "tiny", *FAST, "--dry-run").stderr


@pytest.mark.parametrize(
    "save",
    [
        lambda: save_image("in.png", prompt=""),
        lambda: save_image("in.png", prompt=["x"]),
        lambda: save_image("in.png", text="not JSON"),
        lambda: save_image("in.png", task="denoise", prompt=None),
        lambda: Image.new("RGB", (64, 64)).save("in.png"),
    ],
)
def test_images_without_a_valid_prompt_have_an_empty_prompt(save: Callable[[], object]) -> None:
    save()
    done = run("img2img", "in.png", *TINY, "--dry-run", "--json")
    assert json.loads(done.stdout)["prompt"] == ""
    assert NOTE not in done.stderr


@pytest.mark.parametrize(
    ("save", "reason"),
    [
        (lambda: save_image("in.png", prompt=["x"]), "The recorded prompt of 'in.png' is not used: it is not text."),
        (lambda: save_image("in.png", prompt=5), "The recorded prompt of 'in.png' is not used: it is not text."),
        (lambda: save_image("in.png", negative_prompt={"a": 1}), "The recorded negative_prompt of 'in.png' is not"),
        (lambda: save_image("in.png", text="not JSON"), "'in.png': The artgen record is ignored"),
        (lambda: save_image("in.png", text="[1]"), "'in.png': The artgen record is ignored: it is not a JSON object."),
    ],
)
def test_unusable_records_are_noted(save: Callable[[], object], reason: str) -> None:
    save()
    assert reason in run("img2img", "in.png", *FAST, "--dry-run").stderr
    assert reason not in run("img2img", "in.png", "a car", "-n", "a cat", *FAST, "--dry-run").stderr


def test_prompts_with_too_many_brackets_are_not_used() -> None:
    save_image("in.png", prompt="(" * 5000)
    done = run("img2img", "in.png", *TINY, "--dry-run", "--json")
    assert json.loads(done.stdout)["prompt"] == ""
    assert "The recorded prompt of 'in.png' is not used: " in done.stderr


def test_folders_use_the_prompt_of_each_image() -> None:
    Path("photos").mkdir()
    for number, prompt in enumerate(("a red fox", "a cat", "a dog")):
        save_image(f"photos/{number}.png", prompt=prompt)
    Image.new("RGB", (64, 64)).save("photos/plain.png")
    Path("photos/2.txt").write_text("a car")
    lines = run("img2img", "photos", *TINY, "-o", "out/", "--dry-run", "--json")
    assert [json.loads(line)["prompt"] for line in lines.stdout.splitlines()] == ["a red fox", "a cat", "a car", ""]
    assert lines.stderr.count(NOTE) == 1
    assert "Using the recorded prompts of 2 images: '0.png': 'a red fox' (negative prompt: 'house'); '1.png'" in (
        lines.stderr
    )
    for option in ("--prompt", "-p"):
        lines = run("img2img", "photos", option, "", *TINY, "-o", "out/", "--dry-run", "--json")
        assert [json.loads(line)["prompt"] for line in lines.stdout.splitlines()] == ["", "", "a car", ""]
    sweep = ("--sweep", "prompt=x,y", *TINY, "-o", "sweep/")
    done = run("img2img", "photos/0.png", *sweep, "--dry-run", "--json")
    assert {json.loads(line)["prompt"] for line in done.stdout.splitlines()} == {"x", "y"}


def test_prompt_files_and_sweeps_use_the_record() -> None:
    save_image("in.png", prompt="a {red|blue} fox")
    Path("jobs.txt").write_text("--task img2img --image in.png\na car --task img2img --image in.png\n")
    Path("jobs.jsonl").write_text(
        '{"task": "img2img", "image": "in.png"}\n{"task": "img2img", "image": "in.png", "prompt": ""}\n'
    )
    for name, prompts in (("jobs.txt", ["a {red|blue} fox", "a car"]), ("jobs.jsonl", ["a {red|blue} fox", ""])):
        done = run("batch", name, *TINY, "-o", "out/", "--dry-run", "--json")
        assert [json.loads(line)["prompt"] for line in done.stdout.splitlines()] == prompts
        assert NOTE in done.stderr
    done = run("img2img", "in.png", "--sweep", "steps=2,3", "-m", "tiny", "-o", "sweep/", "--dry-run", "--json")
    assert {json.loads(line)["prompt"] for line in done.stdout.splitlines()} == {"a {red|blue} fox"}


def test_ledgers_of_jobs_without_a_prompt_are_continued() -> None:
    Path("photos").mkdir()
    Image.new("RGB", (64, 64)).save("photos/0.png")
    done = run("img2img", "photos", *TINY, "-o", "out/")
    save_image("photos/1.png")
    run("img2img", "photos", "-p", "", *TINY, "-o", "out/")
    done = run("img2img", "photos", *TINY, "-o", "out/")
    assert not done.stdout
    assert "The ledger contains jobs without a prompt" in done.stderr
    run("img2img", "photos", *TINY, "-o", "new/")
    assert not run("img2img", "photos", *TINY, "-o", "new/").stdout


def test_settings_that_the_model_does_not_support_are_not_used(zoo: Zoo) -> None:
    Path("photos").mkdir()
    save_image("photos/in.png", prompt_weights="comfy")
    options = ("-m", str(zoo["flux-schnell"]), *FAST, "--dry-run", "--json")
    for arguments in (("img2img", "photos/in.png"), ("img2img", "photos", "-o", "out/")):
        done = run(*arguments, *options)
        found = json.loads(done.stdout)
        assert found["prompt"] == "a red fox"
        assert not found.get("negative_prompt")
        assert "The recorded negative_prompt is not used: Cannot use a negative prompt with " in done.stderr
        assert "Remove" not in done.stderr
    assert "--negative-prompt" in run("img2img", "photos/in.png", "-n", "x", *options, code=2).stderr


@pytest.mark.parametrize("task", ["txt2img", "denoise"])
def test_settings_that_the_model_does_not_support_are_not_used_in_a_batch_of_variations(zoo: Zoo, task: str) -> None:
    save_image("in.png", task=task)
    changes = ("--set", f"model={zoo['flux-schnell']}", "--set", "steps=2", "--set", "guidance_scale=0")
    done = run("variations", "in.png", "--amount", "0.6", *changes, "--limit", "1", "-o", "out/", "--dry-run", "--json")
    found = json.loads(done.stdout)
    assert found["task"] == ("txt2img" if task == "txt2img" else "img2img")
    assert not found.get("negative_prompt")
    assert "The recorded negative_prompt is " in done.stderr


def test_functions_of_the_python_api_use_the_record() -> None:
    save_image("in.png")
    settings: dict[str, Any] = {"model": "tiny", "steps": 2, "seed": 7, "expand": "8"}
    image = artgen.outpaint("in.png", **settings)
    assert image.request.prompt == "a red fox"  # type: ignore[attr-defined]
    assert any(NOTE in note for note in image.notes)
    assert artgen.outpaint(image, **settings).request.prompt == "a red fox"  # type: ignore[attr-defined]
    assert artgen.outpaint("in.png", "", **settings).request.prompt == ""  # type: ignore[attr-defined]
    array = numpy.asarray(image.image)
    assert artgen.outpaint(array, **settings).request.prompt == ""  # type: ignore[attr-defined]
