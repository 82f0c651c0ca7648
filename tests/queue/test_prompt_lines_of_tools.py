"""Test lines of prompt files in the forms of AUTOMATIC1111, InvokeAI and Midjourney."""

import contextlib
import shlex
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_file_jobs import jobs
from prompt_file_jobs import notes as file_notes

from artgen.errors import UsageError
from artgen.queue.prompt_line import option_flags, parse_prompt_line
from artgen.queue.tool_options import A1111, INVOKEAI, MIDJOURNEY


def parse(line: str) -> tuple[dict[str, Any], str]:
    notes: list[str] = []
    values = parse_prompt_line(line, notes.append)
    return values, " ".join(notes)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('--prompt "a red fox" --negative_prompt "bad hands" --steps 20',
         {"prompt": "a red fox", "negative_prompt": "bad hands", "steps": 20}),
        ("--prompt a red fox --negative_prompt bad hands --steps 20",
         {"prompt": "a red fox", "negative_prompt": "bad hands", "steps": 20}),
        ("--steps 20 --prompt a red fox", {"prompt": "a red fox", "steps": 20}),
        ("--prompt a dog's den --seed -1", {"prompt": "a dog's den", "seed": "-1"}),
        ('--prompt "a" b "c d" e --steps 4', {"prompt": "a b c d e", "steps": 4}),
        (r"--prompt a \(red\) (fox:1.2) --cfg_scale 7", {"prompt": r"a \(red\) (fox:1.2)", "guidance_scale": 7.0}),
        (r'--prompt "say \"hi\", a \\ b" --width 64', {"prompt": r'say "hi", a \ b', "width": 64}),
        ("--prompt=a fox --steps=4", {"prompt": "a fox", "steps": 4}),
        ("--sampler_name DPM++ 2M Karras --prompt x", {"scheduler": "DPM++ 2M Karras", "prompt": "x"}),
        ('--prompt x --sampler_name "Euler a" --sd_model "foo bar.safetensors [6ce0161689]"',
         {"prompt": "x", "scheduler": "Euler a", "model": "foo bar.safetensors"}),
        ('--prompt x --styles "photo, warm"', {"prompt": "x", "style": ("photo, warm",)}),
        ("--prompt x --n_iter 4", {"prompt": "x", "count": 4}),
        ("--prompt x --n_iter 4 --batch_size 2", {"prompt": "x", "count": 8}),
        ("--prompt x --batch-size 3", {"prompt": "x", "count": 3}),
        ("a fox --negative_prompt bad --guidance_scale 3",
         {"prompt": "a fox", "negative_prompt": "bad", "guidance_scale": 3.0}),
        ("x --keep_original --no_invert_mask", {"prompt": "x", "keep_original": True, "invert_mask": False}),
        ("x --denoising_strength 0.5", {"prompt": "x", "strength": 0.5}),
        ("a fox -s20", {"prompt": "a fox", "seed": "20"}),
        ('a sign "--steps 5" --steps 7', {"prompt": 'a sign "--steps 5"', "steps": 7}),
        ('"a sign --steps 5" --steps 7', {"prompt": "a sign --steps 5", "steps": 7}),
        ("a formula -f1 car, -5 degrees", {"prompt": "a formula -f1 car, -5 degrees"}),
        ("a fox \u2013 a cat \u2014 no dog", {"prompt": "a fox \u2013 a cat \u2014 no dog"}),
    ],
)  # fmt: skip
def test_a1111_line_gives_its_settings(line: str, expected: dict[str, Any]) -> None:
    assert parse(line)[0] == expected


@pytest.mark.parametrize("flag", sorted(A1111.ignored - option_flags().keys()))
@pytest.mark.parametrize("value", ["true", '"C:\\\\x y"', "several words", ""])
def test_options_of_a1111_that_artgen_lacks_are_named(flag: str, value: str) -> None:
    underscored = "--" + flag[2:].replace("-", "_")
    for typed in (flag, underscored):
        values, notes = parse(f"--prompt a fox {typed} {value} --steps 4")
        assert values == {"prompt": "a fox", "steps": 4}
        assert f"artgen has no {typed} of AUTOMATIC1111: it has no effect." in notes


def test_several_ignored_options_have_one_note() -> None:
    values, notes = parse("--prompt x --tiling false --restore_faces true --do_not_save_samples true")
    assert values == {"prompt": "x"}
    assert (
        notes
        == "artgen has no --tiling, --restore_faces and --do_not_save_samples of AUTOMATIC1111: they have no effect."
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--prompt x --frobnicate 3", "--frobnicate"),
        ("--prompt x --Steps 3", "--Steps"),
        ('--prompt "x --steps 3', "no closing quotation"),
        ("--prompt --steps 3", "'--prompt' without a value"),
        ("--prompt x --n_iter", "'--n_iter' without a value"),
        ("--prompt x --n_iter two", "whole number"),
        ("--prompt x --seed 7 8", "'8'"),
        ("--prompt x --negative_prompt y --negative-prompt z", "twice"),
        ("a fox -C high", "number"),
    ],
)
def test_invalid_line_of_a_tool_is_refused(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a fox -C 7.5 -S 42 -A k_euler_a -s 20 -W 512 -H 384 -n 2",
         {"prompt": "a fox", "guidance_scale": 7.5, "seed": "42", "scheduler": "k_euler_a", "steps": 20, "width": 512,
          "height": 384, "count": 2}),
        ('"a fox" -s50 -W512 -H512 -C7.5 -Ak_lms -S1234',
         {"prompt": "a fox", "steps": 50, "width": 512, "height": 512, "guidance_scale": 7.5, "scheduler": "k_lms",
          "seed": "1234"}),
        ("a fox -I image.png -f 0.6 -s 20",
         {"prompt": "a fox", "image": Path("image.png"), "strength": 0.6, "steps": 20, "task": "img2img"}),
        ("a fox -I image.png -M mask.png",
         {"prompt": "a fox", "image": Path("image.png"), "mask": Path("mask.png"), "task": "inpaint"}),
        ("a fox -S 1 --cfg_scale 7 --sampler k_euler --iterations 3 --seed_resize_from_h 4",
         {"prompt": "a fox", "seed": "1", "guidance_scale": 7.0, "scheduler": "k_euler", "count": 3}),
        ("a fox -S 1 -m k_dpmpp_2m", {"prompt": "a fox", "seed": "1", "scheduler": "k_dpmpp_2m"}),
        ("a fox -S 1 -m stable-diffusion-1.5", {"prompt": "a fox", "seed": "1", "model": "stable-diffusion-1.5"}),
        ("a fox [bad hands] in snow [blur] -S 1",
         {"prompt": "a fox in snow", "negative_prompt": "bad hands, blur", "seed": "1"}),
    ],
)  # fmt: skip
def test_invokeai_line_gives_its_settings(line: str, expected: dict[str, Any]) -> None:
    values, notes = parse(line)
    assert values == expected
    assert "-s is the number of steps" in notes


@pytest.mark.parametrize(
    "option", ["-U 2 0.75", "-G 0.8", "-ft codeformer -G0.5", "-T", "-V 12:0.1,13:0.2", "-tm a mug 0.5"]
)
def test_options_of_invokeai_that_artgen_lacks_are_named(option: str) -> None:
    values, notes = parse(f"a fox {option} -s 20 --hires_fix --seamless")
    assert values == {"prompt": "a fox", "steps": 20}
    for flag in (option[:3].strip().rstrip("0123456789."), "--hires_fix", "--seamless"):
        assert flag in notes
    assert "of InvokeAI: they have no effect." in notes


def test_short_options_without_capitals_are_options_of_artgen() -> None:
    values, notes = parse("a fox -s 20 -W 512 -n 2")
    assert values == {"prompt": "a fox", "seed": "20", "width": 512, "negative_prompt": "2"}
    assert notes == "The negative prompt is a number. The option for the number of images is --count."


@pytest.mark.parametrize("dash", ["--", "\u2014", "\u2013"])
def test_midjourney_line_gives_its_prompt(dash: str) -> None:
    values, notes = parse(f"a fox, 35mm {dash}ar 16:9 {dash}v 6 {dash}s 250")
    assert values == {"prompt": "a fox, 35mm"}
    assert f"artgen has no {dash}ar, {dash}v and {dash}s of Midjourney" in notes
    assert "--size" in notes


@pytest.mark.parametrize("flag", sorted(MIDJOURNEY.detected_by - option_flags().keys() - {"--no"}))
def test_options_of_midjourney_are_named(flag: str) -> None:
    values, notes = parse(f"a fox {flag} 5 --style raw --quality 2 --seed 7")
    assert values == {"prompt": "a fox", "seed": "7"}
    for each in (flag, "--style", "--quality"):
        assert each in notes


def test_no_of_midjourney_is_the_negative_prompt() -> None:
    values, notes = parse("a fox --no people, cars --ar 1:1 --v6 --niji5")
    assert values == {"prompt": "a fox", "negative_prompt": "people, cars"}
    assert "negative prompt" in notes


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=12)


def plain(words: list[str]) -> bool:
    return not any(word[0] in "-\"'\u2013\u2014\\" or '"' in word or "=" in word[:1] for word in words)


TEXTS = st.lists(WORDS, min_size=1, max_size=6).filter(plain).map(" ".join)


@given(prompt=TEXTS, negative=TEXTS, steps=st.integers(1, 999), underscore=st.booleans())
def test_quoted_and_unquoted_values_are_equal(prompt: str, negative: str, steps: int, underscore: bool) -> None:
    option = "--negative_prompt" if underscore else "--negative-prompt"
    unquoted = f"--prompt {prompt} {option} {negative} --steps {steps}"
    quoted = f"--prompt {shlex.quote(prompt)} {option} {shlex.quote(negative)} --steps {steps}"
    assert parse(unquoted)[0] == {"prompt": prompt, "negative_prompt": negative, "steps": steps}
    assert parse(quoted)[0] == parse(unquoted)[0]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=60))
def test_any_line_gives_settings_or_an_error(text: str) -> None:
    for line in (text, f"--prompt {text}", f"a fox -C 7 {text}", f"a fox --ar 1:1 {text}"):
        with contextlib.suppress(UsageError):
            assert isinstance(parse(line)[0], dict)


@pytest.mark.parametrize(
    "piece", ['"a ', "--x ", '"\\" ', "'a ", "-A ", "[a ", "\u2014ar ", "--prompt a ", "-s1 ", "\\"]
)
def test_long_lines_are_parsed_in_linear_time(piece: str) -> None:
    def seconds(length: int) -> float:
        start = time.process_time()
        with contextlib.suppress(UsageError):
            parse("a -C 7 " + piece * (length // len(piece)))
        return time.process_time() - start

    seconds(1000)
    assert min(seconds(400_000) for _ in range(3)) < 20 * max(seconds(100_000), 0.02)


def test_dialects_do_not_share_detecting_options() -> None:
    assert not INVOKEAI.detected_by & MIDJOURNEY.detected_by
    assert not INVOKEAI.detected_by & option_flags().keys()


def test_short_options_in_a_file_of_invokeai_have_its_meaning() -> None:
    lines = "a fox -s 20 -S 42\na cat -s 30 -n 2\na dog --seed 5\n"
    assert [values for _, values in jobs("a.txt", lines)] == [
        {"prompt": "a fox", "steps": 20, "seed": "42"},
        {"prompt": "a cat", "steps": 30, "count": 2},
        {"prompt": "a dog", "seed": "5"},
    ]
    assert file_notes("a.txt", lines).count("-s is the number of steps") == 2
    assert jobs("a.txt", "a cat -s 30\n") == [(1, {"prompt": "a cat", "seed": "30"})]


def test_the_command_of_midjourney_is_a_label() -> None:
    text = "/imagine prompt: a fox --ar 1:1\n"
    assert jobs("a.txt", text) == [(1, {"prompt": "a fox"})]
    assert "The label before the prompt is not part of the prompt." in file_notes("a.txt", text)
