"""Test options that the pipeline of a model does not take: typed ones are errors, defaults of the user get a note."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from command_line import run

CASES = [
    ("flux-schnell", "txt2img", "guidance_scale", "3.5", "have no guidance"),
    ("flux-schnell", "txt2img", "negative_prompt", "a cat", "have no guidance"),
    ("flux-schnell", "txt2img", "scheduler", "flow-heun", "support only their own scheduler"),
    ("flux2-klein", "txt2img", "guidance_scale", "4", "have no guidance"),
    ("flux2-klein", "img2img", "strength", "0.5", "has no strength"),
    ("flux-kontext", "img2img", "strength", "0.5", "has no strength"),
    ("flux2-dev", "txt2img", "negative_prompt", "a cat", "does not use a negative prompt"),
    ("lcm", "txt2img", "negative_prompt", "a cat", "does not use a negative prompt"),
    ("lcm", "txt2img", "guidance_rescale", "0.5", "Latent consistency models does not support it"),
    ("lcm", "txt2img", "pag_scale", "3", "Latent consistency models does not support it"),
    ("flux-schnell", "txt2img", "guide", "apg", "do not use classifier-free guidance"),
    ("qwen-image", "txt2img", "guide", "zero-star", "Qwen-Image models does not support it"),
    ("sd1", "txt2img", "guide", "zero-star", "works with flow-matching models"),
    ("sana", "txt2img", "scheduler", "euler", "support only their own scheduler"),
    ("pixart-sigma", "txt2img", "fast", "cache", "works with sd1"),
    ("kandinsky3", "txt2img", "vae_tiling", "true", "do not support it"),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[2]}")
def case(
    request: pytest.FixtureRequest, zoo: Mapping[str, Path], photo: Path
) -> tuple[str, tuple[str, ...], dict[str, str], str, str, str]:
    """Return task, arguments, line of a prompt file, setting, value and reason."""
    name, task, setting, value, reason = request.param
    line = {"task": task, "prompt": "a fox", "model": str(zoo[name])}
    size = ("--size", "64x64")
    if task == "img2img":
        return task, (str(photo), "a fox", "-m", str(zoo[name])), {**line, "image": str(photo)}, setting, value, reason
    return task, ("a fox", "-m", str(zoo[name]), *size), {**line, "size": "64x64"}, setting, value, reason


@pytest.fixture
def photo() -> Path:
    from PIL import Image

    path = Path("photo.png").resolve()
    Image.effect_noise((64, 64), 50).convert("RGB").save(path)
    return path


Case = tuple[str, tuple[str, ...], dict[str, str], str, str, str]


def test_a_typed_option_is_an_error(case: Case) -> None:
    task, arguments, _, setting, value, reason = case
    option = f"--{setting.replace('_', '-')}"
    result = run(task, *arguments, option, *([] if setting == "vae_tiling" else [value]), "--dry-run", code=2)
    assert reason in result.stderr
    assert Path(arguments[arguments.index("-m") + 1]).name in result.stderr
    assert "Traceback" not in result.stderr


def test_a_line_of_a_prompt_file_is_an_error(case: Case) -> None:
    _, _, line, setting, value, reason = case
    typed = {
        "guidance_scale": float,
        "pag_scale": float,
        "strength": float,
        "guidance_rescale": float,
        "vae_tiling": bool,
    }
    Path("p.jsonl").write_text(json.dumps({**line, setting: typed.get(setting, str)(value)}))
    result = run("batch", "p.jsonl", "-o", "out/", "--dry-run", code=2)
    assert "p.jsonl:1" in result.stderr
    assert reason in result.stderr


def test_a_default_of_the_environment_gets_a_note(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    task, arguments, _, setting, value, reason = case
    monkeypatch.setenv(f"ARTGEN_{setting.upper()}", value)
    result = run(task, *arguments, "--dry-run")
    assert f"The default of {setting} from the environment or a configuration file is ignored" in result.stderr
    assert reason in result.stderr


def test_a_default_of_a_prompt_file_gets_a_note(case: Case) -> None:
    _, _, line, setting, value, reason = case
    typed = {
        "guidance_scale": float,
        "pag_scale": float,
        "strength": float,
        "guidance_rescale": float,
        "vae_tiling": bool,
    }
    jobs = {"defaults": {setting: typed.get(setting, str)(value)}, "jobs": [line]}
    Path("p.yaml").write_text(json.dumps(jobs))
    result = run("batch", "p.yaml", "-o", "out/", "--dry-run")
    assert f"The default of {setting} is ignored" in result.stderr
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("qwen-image", "has the autoencoder AutoencoderKLQwenImage"),
        ("sana", "has the autoencoder AutoencoderDC"),
        ("kandinsky22", "has the autoencoder VQModel"),
        ("deepfloyd-if", "has no autoencoder"),
    ],
)
def test_reconstruct_refuses_other_autoencoders_by_name(
    zoo: Mapping[str, Path], photo: Path, name: str, reason: str
) -> None:
    assert reason in run("reconstruct", str(photo), "-m", str(zoo[name]), code=4).stderr
