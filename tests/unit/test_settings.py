"""Test that every alias of a setting is accepted in each place that accepts the setting."""

import json
from dataclasses import Field
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from artgen.cli.options import AliasCommand, flatten_settings
from artgen.queue.entries import LINE_SETTINGS, setting_name
from artgen.queue.prompt_line import parse_prompt_line
from artgen.spec.config import CONFIGURABLE_SETTINGS, load_defaults
from artgen.spec.config_values import set_value
from artgen.spec.records import from_record
from artgen.spec.requests import TASKS
from artgen.spec.settings import (
    SETTING_GROUPS,
    MaskTextSettings,
    UpscaleMethod,
    canonical_keys,
    options_of,
    settings_of,
    type_of,
)

TEXTS = {
    "bool": "true", "int": "3", "float": "0.5", "str": "text", "Path": "file.png",
}  # fmt: skip
SPECIAL_TEXTS = {
    "scheduler": "euler", "target_size": "96x96", "noise_levels": "25,50", "licenses": "MIT", "sweep": "steps=1,2",
    "mask_text": "dog", "image_prompt": "a.png", "by": "1.5",
}  # fmt: skip

ALIASES = [
    (group, name, alias)
    for group in SETTING_GROUPS
    for name, field in options_of(group).items()
    for alias in field.metadata["setting"].aliases
]


def value_of(group: type, name: str) -> tuple[str, Any]:
    """Return a value of a setting as text, and the parsed value."""
    setting = options_of(group)[name].metadata["setting"]
    kind, _ = type_of(group, name)
    text = SPECIAL_TEXTS.get(name) or (setting.choices[-1] if setting.choices else TEXTS[kind.__name__])
    if kind is tuple:
        return text, (text,)
    return text, True if kind is bool else kind(text)


def former_values(field: Field[Any]) -> dict[str, str]:
    """Return the former values of a setting, each with its current value."""
    return dict(field.metadata["setting"].value_aliases)


def run_command(group: type, arguments: list[str], **environment: str) -> Any:
    """Run a command with the options of one group. Return the group that the command receives."""
    received: list[Any] = []

    def command(group: Any) -> None:
        received.append(group)

    command.__annotations__["group"] = group
    app = typer.Typer()
    app.command(cls=AliasCommand)(flatten_settings(command))
    result = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return received[0]


@pytest.mark.parametrize(("group", "name", "alias"), ALIASES, ids=lambda value: getattr(value, "__name__", value))
def test_every_alias_is_accepted_in_each_place_that_accepts_the_setting(
    group: type, name: str, alias: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flag, _, fixed = alias.partition("=")
    key = flag[2:].replace("-", "_")
    text, value = value_of(group, name)
    kind, _ = type_of(group, name)
    if fixed:
        text, value, arguments = fixed, fixed, [flag]
    else:
        arguments = [flag] if kind is bool else [flag, text]
    assert getattr(run_command(group, arguments), name) == value
    if not settings_of(group)[name].per_call and group is not UpscaleMethod:
        variable = {f"ARTGEN_{key.upper()}": "1" if fixed else text}
        assert getattr(run_command(group, [], **variable), name) == value
    for former, current in former_values(options_of(group)[name]).items():
        assert getattr(run_command(group, [f"{arguments[0]}={former}"] if not fixed else [flag]), name) == (
            fixed or current
        )
    if name in LINE_SETTINGS:
        assert setting_name(key) == name
        assert parse_prompt_line(f"a fox {' '.join(arguments)}") == {
            "prompt": value if name == "prompt" else "a fox"
        } | {name: value}
    if name in CONFIGURABLE_SETTINGS:
        task = next((task for task in ("inpaint", *TASKS) if name in options_of(TASKS[task].request_class)), "inpaint")
        Path("artgen.toml").write_text(f"{key} = {json.dumps(value)}\n")
        assert load_defaults(task) == {task: {name: value}}
        set_value(f"{task}.{key}", text, Path("artgen.toml"))
        assert load_defaults(task) == {task: {name: value}}
    for task, cls in ((each.name, each.request_class) for each in TASKS.values()):
        if name not in options_of(cls):
            continue
        needed = {"image": "i.png", "mask": "m.png", "prompt": "a fox"}
        if name in options_of(MaskTextSettings):
            needed |= {"mask": "", "mask_text": "dog"}
        needed["target_size"] = "" if name in ("target_size", "by") else "96x96"
        if task == "upscale" and name == "refiner":
            continue
        if task == "upscale":
            needed["method"] = "model" if name == "upscale_model" else "redraw"
            needed["prompt"] = "" if name == "upscale_model" else "a fox"
        record = {"task": task, **{n: v for n, v in needed.items() if n in options_of(cls) and v and n != name}}
        assert getattr(from_record({**record, key: text if kind is Path else value}), name) == value


def test_negative_form_of_a_boolean_alias_is_accepted() -> None:
    from artgen.spec.settings import InpaintBlend

    assert run_command(InpaintBlend, ["--no-paste"]) == InpaintBlend(keep_original=False)
    assert run_command(InpaintBlend, [], ARTGEN_PASTE="false") == InpaintBlend(keep_original=False)
    assert parse_prompt_line("x --no-paste")["keep_original"] is False


@pytest.mark.parametrize("arguments", [["--full", "--task", "diffusion"], ["--task", "diffusion", "--full"]])
def test_former_options_task_and_full_select_the_mode_in_any_order(arguments: list[str]) -> None:
    from artgen.spec.settings import LoraTrainingSettings

    assert run_command(LoraTrainingSettings, arguments).mode == "full"


def test_current_name_has_precedence_over_an_alias_and_unknown_keys_remain() -> None:
    fields = options_of(TASKS["inpaint"].request_class)
    assert canonical_keys({"paste": False, "keep_original": True, "other": 1}, fields) == {
        "keep_original": True,
        "other": 1,
    }
