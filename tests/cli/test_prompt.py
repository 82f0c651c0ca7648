"""Test `artgen prompt`, and the notes about prompts in all commands that generate images."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sample_images
from command_line import record, run
from pseudo_terminal import Terminal

PROMPT = "a (red:1.3) fox BREAK [cat|dog] [day:night:0.5] AND b :0.6"


def explain(*arguments: str) -> dict[str, Any]:
    explained: dict[str, Any] = json.loads(run("prompt", *arguments, "--json").stdout)
    return explained


def test_prompt_explains_parts_steps_weights_and_tokens() -> None:
    explained = explain(PROMPT, "-n", "[bad]", "-m", "tiny", "--steps", "4", "--seed", "3")
    assert [(part["part"], part["part_weight"], part["steps"]) for part in explained["prompt_parts"]] == [
        (1, 1.0, [[1, 1]]), (1, 1.0, [[2, 2]]), (1, 1.0, [[3, 3]]), (1, 1.0, [[4, 4]]), (2, 0.6, [[1, 4]]),
    ]  # fmt: skip
    first = explained["prompt_parts"][0]
    assert [each and (each["text"], each["weight"]) for each in first["texts"]] == [
        ("a ", 1.0), ("red", 1.3), (" fox", 1.0), None, ("cat day", 1.0),
    ]  # fmt: skip
    chunks = first["chunks"]["tokenizer"]
    assert [chunk["tokens"] for chunk in chunks] == [["a</w>", "red</w>", "fox</w>"], ["cat</w>", "day</w>"]]
    assert [(chunk["count"], chunk["limit"]) for chunk in chunks] == [(3, 30), (2, 30)]
    assert explained["negative_prompt_parts"][0]["texts"] == [{"text": "bad", "weight": 1 / 1.1}]
    assert (explained["steps"], explained["seed"], explained["prompt_weights"]) == (4, 3, "a1111")


def test_prompt_makes_the_choices_of_the_generation(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("wildcards").mkdir()
    Path("wildcards/color.txt").write_text("red\nblue\ngreen\n")
    Path("styles").mkdir()
    Path("styles/styles.csv").write_text("name,prompt,negative_prompt\nplain,{prompt} painted,bad\n")
    monkeypatch.setenv("ARTGEN_WILDCARD_FOLDER", "wildcards")
    monkeypatch.setenv("ARTGEN_STYLE_FOLDER", "styles")
    arguments = ("a __color__ {fox|dog|cat}", "--style", "plain", "-m", "tiny")
    for seed in range(5):
        explained = explain(*arguments, "--seed", str(seed))
        generated = record("txt2img", *arguments, "--seed", str(seed))
        for name in ("prompt", "negative_prompt", "prompt_template", "prompt_choices", "prompt_styles"):
            assert explained[name] == generated[name]
    text = run("prompt", *arguments, "--seed", "1").stdout
    assert "style: plain" in text
    assert "choice: __color__=" in text
    assert "prompt as typed: a __color__ {fox|dog|cat}" in text


@pytest.mark.parametrize("model", ["sdxl", "no-such-model"])
def test_prompt_without_a_model_on_the_disk(model: str) -> None:
    result = run("prompt", PROMPT, "-m", model)
    assert "The tokens are not counted." in result.stderr
    assert "tokens" not in result.stdout
    assert "1.3    red" in result.stdout
    assert "steps 1-20, part 2 (0.6):" in result.stdout


@pytest.mark.parametrize("name", ["sdxl", "sd3", "flux-schnell"])
def test_prompt_counts_the_tokens_of_all_text_encoders(name: str, zoo: Mapping[str, Path]) -> None:
    result = run("prompt", "a (red:1.3) fox", "-m", str(zoo[name]), "--json")
    chunks = json.loads(result.stdout)["prompt_parts"][0]["chunks"]
    expected = {"sdxl": {"tokenizer", "tokenizer_2"}, "sd3": {"tokenizer", "tokenizer_2", "t5"}, "flux-schnell": {"t5"}}
    assert set(chunks) == expected[name]
    assert all(chunk["count"] >= 3 for each in chunks.values() for chunk in each)
    assert ("have no CLIP text encoder" in result.stderr) == (name == "flux-schnell")


def test_prompt_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    comfy = explain("((a:1.2):1.5) [b]", "-m", "tiny", "--prompt-weights", "comfy")["prompt_parts"][0]["texts"]
    assert comfy == [{"text": "a", "weight": 1.2}, {"text": " [b]", "weight": 1.0}]
    plain = explain("((a:1.2):1.5) {b|c}", "-m", "tiny", "--prompt-weights", "none")["prompt_parts"][0]["texts"]
    assert plain == [{"text": "((a:1.2):1.5) {b|c}", "weight": 1.0}]
    monkeypatch.setenv("ARTGEN_PROMPT_WEIGHTS", "comfy")
    assert explain("[b]", "-m", "tiny")["prompt_weights"] == "comfy"


def test_prompt_uses_the_configuration_of_txt2img() -> None:
    Path("artgen.toml").write_text('steps = 7\n[txt2img]\nprompt_weights = "comfy"\n')
    explained = explain("[a]", "-m", "tiny")
    assert (explained["steps"], explained["prompt_weights"]) == (7, "comfy")


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("(red:abc)", "The weight of 'red' must be a number, not 'abc'."),
        ("[a:b:1.5]", "must be a step or a fraction below 1, not 1.5."),
        ("a <lora:nosuchlora:1>", "nosuchlora"),
        ("a <hypernet:x:1>", "hypernetworks"),
        (" ", "the prompt is missing"),
    ],
)
@pytest.mark.parametrize("command", ["prompt", "txt2img"])
def test_errors_are_those_of_the_generation(prompt: str, message: str, command: str) -> None:
    result = run(command, prompt, *(["--dry-run"] if command == "txt2img" else []), code=None)
    assert result.exit_code in (2, 3)
    assert message in result.stderr
    assert not result.stdout


def test_prompt_from_stdin_and_terminal_escapes() -> None:
    result = run("prompt", "-", "-m", "tiny", input="a (fox:1.2) \x1b[2J\n")
    assert "1.2    fox" in result.stdout
    assert "\x1b" not in result.stdout


def test_invalid_syntax_is_refused_by_all_commands_with_prompts() -> None:
    sample_images.photo(Path("in.png"), 32, 32)
    sample_images.photo(Path("mask.png"), 32, 32)
    Path("p.txt").write_text("a fox\na (red:abc)\n[a:b:1.5] --negative-prompt (x:y,z)\n")
    for arguments in (
        ("img2img", "in.png", "(red:abc)"),
        ("inpaint", "in.png", "(red:abc)", "--mask", "mask.png"),
        ("outpaint", "in.png", "(red:abc)", "--expand", "8"),
        ("txt2img", "a", "-n", "(red:abc)"),
        ("txt2img", "a", "--sweep", "prompt=(red:abc),b"),
        ("batch", "p.txt"),
    ):
        result = run(*arguments, "--dry-run", code=2)
        assert "must be a number, not 'abc'" in result.stderr, arguments
    assert "p.txt:2" in result.stderr
    assert "p.txt:3" in result.stderr
    assert run("txt2img", "(red:abc)", "--prompt-weights", "none", "--dry-run").stdout


def test_notes_appear_once_in_dry_runs_and_batches() -> None:
    Path("p.txt").write_text("a (fox:9) --seed 1\na (fox:9) --seed 2\n")
    Path("p.jsonl").write_text('{"prompt": "a (fox:9) --ar 16:9"}\n{"prompt": "b (fox:9) --ar 16:9"}\n')
    for arguments in (
        ("txt2img", "a (fox:9) --ar 16:9", "--count", "3"),
        ("txt2img", "a (fox:9) --ar 16:9", "--sweep", "steps=1,2"),
        ("txt2img", "a (fox:9) --ar 16:9 {a|b}", "--combinatorial"),
        ("batch", "p.txt"),
        ("batch", "p.jsonl"),
    ):
        stderr = run(*arguments, "--dry-run").stderr
        assert stderr.count("A weight above 2") == 1, arguments
        assert stderr.count("artgen has no such option") == (arguments != ("batch", "p.txt")), arguments
    assert "p.txt:1, 2: A weight above 2" in run("batch", "p.txt", "--dry-run").stderr


def test_notes_of_models_without_clip(zoo: Mapping[str, Path]) -> None:
    model = str(zoo["flux-schnell"])
    result = run("txt2img", r"a (red:1.3) BREAK \(fox\) [a:b:3]", "-m", model, "--dry-run")
    expected = "Without effect in the prompt: the weight of 'red', BREAK, '[a:b:3]'."
    assert expected in result.stderr
    assert "Without effect" not in run("txt2img", r"a \(fox\)", "-m", model, "--dry-run").stderr
    assert "Without effect" not in run("txt2img", '{"a": "(b:1.2)"}', "-m", model, "--dry-run").stderr
    assert "AND" in run("txt2img", "a AND b", "-m", model, "--dry-run", code=2).stderr


def test_prompt_prints_a_table_on_a_terminal() -> None:
    terminal = Terminal("prompt", "a (red:1.3) fox", "-m", "tiny")
    assert terminal.wait() == 0
    lines = terminal.output.decode().splitlines()
    assert any("weight" in line and "tokens" in line for line in lines)
    assert any("1.3" in line and "red" in line for line in lines)


def test_syntax_that_the_tool_of_a_record_accepted_is_not_refused() -> None:
    Path("a.txt").write_text(
        "2b (nier:automata), [a:b:1.5] <lora:x:1>\nNegative prompt: (bad:x,y)\n"
        "Steps: 3, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 64x64\n"
    )
    Path("a.json").write_text(
        '{"artgen": "1", "task": "txt2img", "prompt": "(red:abc)", "prompt_weights": "a1111", "seed": 1}'
    )
    for file in ("a.txt", "a.json"):
        stderr = run("replay", file, "--set", "model=tiny", "--dry-run").stderr
        assert "No number follows the colon" in stderr
    refused = run("replay", "a.json", "--set", "model=tiny", "--set", "prompt=(red:abc)", "--dry-run", code=2)
    assert "must be a number, not 'abc'" in refused.stderr
