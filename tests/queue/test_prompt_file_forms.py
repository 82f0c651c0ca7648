"""Test the forms of `.txt` prompt files: lists, labels, JSON lines and parameters texts of other tools."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from prompt_file_jobs import errors, jobs, notes, read

from artgen.dataset import captions
from artgen.metadata import format_a1111
from artgen.queue import image_folders, prompt_files
from artgen.queue.entries import Entry

A1111_TEXT = """a red fox,
in the snow
Negative prompt: bad hands, worse
Steps: 20, Sampler: Euler a, CFG scale: 6, Seed: 42, Size: 128x128, Model hash: 6ce0161689, Model: v1-5"""
A1111_VALUES = {
    "prompt": "a red fox,\nin the snow", "negative_prompt": "bad hands, worse", "steps": 20, "scheduler": "Euler a",
    "guidance_scale": 6.0, "seed": "42", "width": 128, "height": 128,
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a red fox\n* a blue cat\n", ["a red fox", "a blue cat"]),
        ("1. a fox\n\n2. a cat\n# comment\n3. a dog", ["a fox", "a cat", "a dog"]),
        ("4) a fox\n5) a cat", ["a fox", "a cat"]),
        ("- a lone line", ["- a lone line"]),
        ("1. a fox\n3. a cat", ["1. a fox", "3. a cat"]),
        ("- a fox\na cat", ["- a fox", "a cat"]),
        ("1girl, solo\n2girls", ["1girl, solo", "2girls"]),
        ('"a fox",\n"a cat"', ["a fox", "a cat"]),
        ('[\n  "a fox",\n  "a cat"\n]\n', ["a fox", "a cat"]),
        ("[a|b] fox\n{a|b} cat\n<lora:x:1> dog", ["[a|b] fox", "{a|b} cat", "<lora:x:1> dog"]),
        ("Prompt: a fox\nPOSITIVE:\na cat\n", ["a fox", "a cat"]),
        ("a fox\n---\na cat\n====\n", ["a fox", "a cat"]),
        ('{"scene": "a fox", "mood": ["calm"]}', ['{"scene": "a fox", "mood": ["calm"]}']),
        ("\ufeffa fox\r\na cat\ra dog", ["a fox", "a cat", "a dog"]),
    ],
)
def test_text_file_gives_its_prompts(text: str, expected: list[str]) -> None:
    assert [values["prompt"] for _, values in jobs("p.txt", text)] == expected


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("- a fox\n- a cat", "list markers"),
        ("a fox\n---\na cat", "separators"),
        ("prompt: a fox", "label"),
        ("#snow #fox\na cat", "Line 1 is a comment"),
        ('"a fox",', "quotation marks"),
        ('{"scene": "a fox"}', "without the key 'prompt'"),
        ("a fox\nNegative prompt: bad", "is its negative prompt"),
        (A1111_TEXT, "is one job"),
        ("a fox\nSteps: 20", "looks like the setting 'Steps'"),
        ("CFG scale: 7", "looks like the setting 'CFG scale'"),
        ("prompt,Negative Prompt,steps\na fox,bad,3", "header of a table"),
    ],
)
def test_changed_text_has_a_note(text: str, note: str) -> None:
    assert note in notes("p.txt", text)


@pytest.mark.parametrize(
    "text",
    [
        "a fox",
        "a fox: a story",
        "a prompt, a fox",
        "a fox # tag",
        "# comment\n#a fox --steps 3\na cat",
        "a fox -- a cat",
    ],
)
def test_plain_text_has_no_note(text: str) -> None:
    assert not notes("p.txt", text)


def test_negative_prompt_line_belongs_to_the_prompt_before_it() -> None:
    text = "a fox\nNegative prompt: bad\na cat --steps 3\nNEGATIVE PROMPT:\nworse\n\na dog\npositive: x\nnegative: y"
    assert jobs("p.txt", text) == [
        (1, {"prompt": "a fox", "negative_prompt": "bad"}),
        (3, {"prompt": "a cat", "steps": 3, "negative_prompt": "worse"}),
        (7, {"prompt": "a dog"}),
        (8, {"prompt": "x", "negative_prompt": "y"}),
    ]
    assert errors("p.txt", "Negative prompt: bad\na fox")[0][0] == 1
    assert "twice" in errors("p.txt", "a fox -n x\nNegative prompt: bad")[0][1]


def without_weights(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "prompt_weights"}


@pytest.mark.parametrize("name", ["photo.txt", "-"])
def test_parameters_text_is_one_job(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (item,) = read("photo.txt", A1111_TEXT)
    if name == "-":
        with Path("photo.txt").open() as file:
            monkeypatch.setattr("sys.stdin", file)
            (item,) = prompt_files.read_prompt_file(Path("-"))
    assert isinstance(item, Entry)
    assert item.line == 1
    assert without_weights(dict(item.setting_values)) == A1111_VALUES
    assert "v1-5" in " ".join(item.notes)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (f"{A1111_TEXT}\n\n{A1111_TEXT}\n", [1, 6]),
        (f"{A1111_TEXT}\n{A1111_TEXT}", [1, 5]),
        (f"# log\n\n{A1111_TEXT}\n-----\n{A1111_TEXT}\na plain line --steps 2\n", [3, 8, 12]),
        (f"{A1111_TEXT}\nTemplate: {{a|b}} fox\nNegative Template: bad\n\n{A1111_TEXT}", [1, 8]),
        (A1111_TEXT.replace("\nin the snow", "\n\nin the snow"), [1]),
        (A1111_TEXT.replace("\n", "\n   "), [1]),
        (A1111_TEXT.replace("\n", " "), [1]),
        (f"{A1111_TEXT}\n".replace("\n", "\r\n"), [1]),
    ],
)
def test_each_parameters_text_of_a_file_is_one_job(text: str, lines: list[int]) -> None:
    found = jobs("log.txt", text)
    assert [line for line, _ in found] == lines
    for _, values in found[:2]:
        assert " ".join(values["prompt"].split()) == "a red fox, in the snow"
        assert {name: values[name] for name in ("negative_prompt", "steps", "seed")} == {
            "negative_prompt": "bad hands, worse", "steps": 20, "seed": "42"
        }  # fmt: skip


def test_parameters_text_with_unknown_values_has_notes() -> None:
    text = "a fox <lora:detail:0.5>\nSteps: 8, Sampler: Fancy, CFG scale: 7, Seed: 1, Size: 64x64, Hires upscale: 2"
    text += ", Hires upscaler: 4x-UltraSharp"
    ((_, values),) = jobs("p.txt", text)
    assert values["lora"] == ("detail:0.5",)
    assert values["prompt"] == "a fox"
    assert "scheduler" not in values
    found = notes("p.txt", text)
    assert "Fancy" in found
    assert values["hires"].split(":")[0] == "2"
    assert "hires" in found.lower()
    assert "--set" not in found


def test_record_of_easy_diffusion_is_one_job() -> None:
    lines = ["Prompt: a red fox", "Width: 128", "Height: 64", "Seed: 5", "Steps: 9", "Guidance Scale: 7.5"]
    text = "\n".join([*lines, "Sampler: euler_a", "Negative Prompt: bad", "Stable Diffusion model: sd-v1-5"])
    ((_, values),) = jobs("p.txt", text)
    expected = {"prompt": "a red fox", "negative_prompt": "bad", "steps": 9, "seed": "5", "width": 128, "height": 64}
    assert values.items() >= expected.items()
    assert "Easy Diffusion" in notes("p.txt", text)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompt=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=30),
    steps=st.integers(1, 999),
)
def test_written_parameters_read_back_as_a_job(prompt: str, steps: int) -> None:
    if prompt != prompt.strip() or prompt[0] in "#-=_*~[{<" or "prompt:" in prompt.casefold() or "Steps:" in prompt:
        return
    record = {"prompt": prompt, "steps": steps, "seed": 5, "scheduler": "euler", "guidance_scale": 7.0, "artgen": "1"}
    ((line, values),) = jobs("p.txt", format_a1111(record))
    assert (line, values["prompt"], values["steps"], values["seed"]) == (1, prompt, steps, "5")


@pytest.mark.parametrize("text", [A1111_TEXT, A1111_TEXT.replace("\n", " "), A1111_TEXT + "\nTemplate: x"])
def test_parameters_text_beside_an_image_gives_its_prompts(text: str) -> None:
    Path("in").mkdir(exist_ok=True)
    Image.new("RGB", (16, 16)).save("in/photo.png")
    Path("in/photo.txt").write_text(text)
    (entry,) = image_folders.read_image_folders([Path("in")])
    assert isinstance(entry, Entry)
    values = dict(entry.setting_values)
    assert " ".join(values.pop("prompt").split()) == "a red fox, in the snow"
    assert values.pop("negative_prompt") == "bad hands, worse"
    assert values.keys() == {"image", "output"}
    assert "AUTOMATIC1111" in entry.notes[0]
    caption = captions.read_caption(Path("in/photo.txt"))
    assert caption is not None
    assert caption.text == "a red fox, in the snow"
    assert "AUTOMATIC1111" in caption.note


def test_lora_tags_of_a_caption_have_a_note() -> None:
    Image.new("RGB", (16, 16)).save("photo.png")
    Path("photo.txt").write_text(A1111_TEXT.replace("snow", "snow <lora:detail:0.5>"))
    (entry,) = image_folders.read_image_folders([Path("photo.png")])
    assert isinstance(entry, Entry)
    assert "<lora" not in entry.setting_values["prompt"]
    assert "'detail'" in entry.notes[1]


def test_plain_caption_beside_an_image_is_unchanged() -> None:
    Image.new("RGB", (16, 16)).save("photo.png")
    Path("photo.txt").write_text("a red fox\nsteps: to the door, and more\n")
    (entry,) = image_folders.read_image_folders([Path("photo.png")])
    assert isinstance(entry, Entry)
    assert entry.setting_values["prompt"] == "a red fox\nsteps: to the door, and more"
    assert not entry.notes
    assert captions.read_caption(Path("photo.txt")) == captions.Caption("a red fox steps: to the door, and more")
