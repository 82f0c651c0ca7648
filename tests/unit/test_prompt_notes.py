"""Test the notes about prompts with another meaning than their author probably intended."""

from pathlib import Path

import pytest
import sample_images

from artgen.jobs.prompt_notes import input_notes, plain_prompt_note, prompt_notes
from artgen.queue import prompt_files
from artgen.spec.prompt_notes import syntax_notes
from artgen.spec.requests import Txt2Img
from artgen.system.input_files import PROMPT_FILE_SUFFIXES

SYNTAX_NOTES = {
    "a (red:9) fox": "A weight above 2 often distorts the image: 'red' (9).",
    "(16:9)": "A weight above 2 often distorts the image: '16' (9).",
    "(a:-3)": "A weight above 2 often distorts the image: 'a' (-3).",
    "(a:3)(b:4)(c:5)(d:6)": "A weight above 2 often distorts the image: 'a' (3), 'b' (4), 'c' (5) and 1 more.",
    "(masterpiece:)": "No number follows the colon, which is text: '(masterpiece:)'.",
    "(theme: dark)": "No number follows the colon, which is text: '(theme: dark)'.",
    "(red: 1.3)": "No number follows the colon, which is text: '(red: 1.3)'.",
    "(red：1.3)": "Full-width punctuation is text: '(red：1.3)'.",
    "（red:1.3）": "",
    "(((open": "'(' without a closing bracket raises the weight of the rest of '(((open'.",
    "a [b": "'[' without a closing bracket lowers the weight of the rest of 'a [b'.",
    "a AND (b": "'(' without a closing bracket raises the weight of the rest of '(b'.",
    r"\o/": r"A backslash is removed, as in AUTOMATIC1111: '\o'.",
    "a\\": "A backslash is removed, as in AUTOMATIC1111: '\\'.",
    "a fox :1.2": "':1.2' at the end of the prompt is text: without AND it is not a weight.",
    "[a:b]": "Text with a lower weight: '[a:b]'.",
    "[a:b:half]": "Text with a lower weight: '[a:b:half]'.",
    "x [a:b:c:3]": "Text with a lower weight: '[a:b:c:3]'.",
    "a (fox:1.2), [x], [a:b:3] [a|b] :) 16:9 \\(x\\) 8) BREAK c": "",
    "a fox, 4:3": "",
    "a fox BREAK": "BREAK at the end of 'a fox BREAK' has no effect: no text follows it.",
    "(a, BREAK )": "BREAK at the end of '(a, BREAK )' has no effect",
    "a BREAK AND b": "BREAK at the end of 'a BREAK' has no effect",
    "BREAK": "BREAK at the end of 'BREAK' has no effect",
    "BREAK a BREAK b BREAKFAST": "",
    '{"a": "b"}': "",
}


@pytest.mark.parametrize("text", SYNTAX_NOTES, ids=repr)
def test_notes_about_the_syntax(text: str) -> None:
    notes = list(syntax_notes(text, "a1111"))
    expected = SYNTAX_NOTES[text]
    assert notes[0].startswith(expected) if expected else not notes
    assert len(notes) <= 1
    assert list(syntax_notes(text, "none")) == []


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("(red:9)", "A weight above 2"),
        ("(theme: dark)", "No number follows the colon"),
        ("(red: 1.3)", ""),
        ("[x] \\o/", ""),
        ("a BREAK b", "Text with --prompt-weights comfy, as in ComfyUI: BREAK."),
        ("a AND [b:c:3] [d|e]", "Text with --prompt-weights comfy, as in ComfyUI: AND, '[b:c:3]', '[d|e]'."),
    ],
)
def test_notes_about_the_comfy_rule(text: str, note: str) -> None:
    notes = list(syntax_notes(text, "comfy"))
    assert notes[0].startswith(note) if note else not notes


INPUTS = {
    "a fox --steps 5": "'--steps 5' is part of the prompt",
    "a fox --steps=5": "'--steps=5' is part of the prompt",
    "a fox -s 7": "'-s 7' is part of the prompt",
    "a fox -n blurry, ugly -g 3": "'-n blurry,', '-g 3' is part of the prompt",
    "--negative-prompt bad a fox": "'--negative-prompt bad' is part of the prompt",
    "a fox --cfg_scale 7": "'--cfg_scale 7' is part of the prompt",
    "a fox --no-keep-original": "",
    "a fox --ar 16:9": "'--ar 16:9' is part of the prompt: artgen has no such option.",
    "a fox --v 6 --stylize 250 --niji": "'--v 6', '--stylize 250', '--niji' is part of the prompt",
    "a fox --sampler_name Euler --n_iter 2": "'--sampler_name Euler', '--n_iter 2' is part of the prompt",
    "a fox –steps 5": "'–steps 5' is part of the prompt",
    "a fox —v 6": "'—v 6' is part of the prompt: artgen has no such option.",
    "a fox — red —and blue, 5–6 years": "",
    "prompts.txt": "The prompt is the name of a file",
    " prompts.txt\n": "The prompt is the name of a file",
    "table.csv": "The prompt is the name of a file",
    "photo.png": "The prompt is the name of a file, and it is used as text. To read the file: artgen img2img",
    "missing.txt": "The prompt looks like the name of a file, which does not exist.",
    "a missing.txt": "",
    "folder": "",
    "a fox - red -- and blue": "",
    "a well-known fox, 5-6 years --": "",
    "-_- (-o-) ---": "",
    "x" * 5000 + ".txt": "",
    "a\0b.txt": None,
}


@pytest.mark.parametrize("text", INPUTS, ids=lambda text: repr(text[:30]))
@pytest.mark.parametrize("setting", ["prompt", "negative_prompt"])
def test_prompts_that_look_like_other_inputs_get_a_note(text: str, setting: str) -> None:
    expected = INPUTS[text]
    if expected is None:
        return
    for name in ("prompts.txt", "table.csv"):
        Path(name).write_text("a fox\n")
    sample_images.photo(Path("photo.png"), 16, 16)
    Path("folder").mkdir()
    notes = list(input_notes({"prompt": "a", setting: text}))
    if setting == "negative_prompt":
        expected = expected.replace("the prompt", "the negative prompt").replace("The prompt", "The negative prompt")
    assert notes[0].startswith(expected) if expected else not notes
    assert len(notes) <= 1


def test_each_suffix_of_prompt_files_has_a_parser() -> None:
    assert tuple(prompt_files._PARSERS) == PROMPT_FILE_SUFFIXES


@pytest.mark.parametrize(("rule", "is_noted"), [("a1111", True), ("none", False)])
def test_and_in_the_negative_prompt_has_a_note(rule: str, is_noted: bool) -> None:
    request = Txt2Img(prompt="a AND b", negative_prompt="c AND d", prompt_weights=rule)
    note = "AND in the negative prompt is text, as in AUTOMATIC1111."
    assert list(prompt_notes(request, None)) == ([note] if is_noted else [])
    assert not list(prompt_notes(request.replace(negative_prompt="sand ANDY"), None))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a (red:1.3) fox", "the weight of 'red'"),
        ("a BREAK b AND c", "BREAK, AND"),
        ("{a|b} __color__", "'{a|b}', '__color__'"),
        ("x <lora:a:1>", "'<lora:a:1>'"),
        ("a red fox, 50% {x} \\(y\\)", ""),
    ],
)
def test_the_syntax_of_plain_prompts_has_a_note(text: str, parts: str) -> None:
    expected = f"The prompt is plain text. Without effect: {parts}." if parts else ""
    assert plain_prompt_note(text, "prompt") == expected
    assert plain_prompt_note("(" * 1000 + "{-1::a|b}", "prompt") == ""
