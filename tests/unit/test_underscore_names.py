"""Test that underscores and dashes are equivalent in the names of options, configuration keys and `--set`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.cli.options import AliasCommand
from artgen.queue.sweeps import parse_axes
from artgen.spec.config import CONFIGURABLE_SETTINGS, load_defaults
from artgen.spec.config_values import set_value
from artgen.spec.settings import canonical_keys, options_of


def leaves(command: Any) -> Iterator[Any]:
    for each in command.commands.values() if hasattr(command, "commands") else ():
        yield from leaves(each)
    if not hasattr(command, "commands"):
        yield command


@pytest.mark.parametrize("name", COMMAND_SUMMARIES)
def test_every_option_accepts_underscores(name: str) -> None:
    for command in leaves(load_command(name)):
        flags = [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
        for flag in flags:
            typed = "--" + flag[2:].replace("-", "_") if flag.startswith("--") else flag
            assert command._with_dashes([typed, f"{typed}=a_b", "--", typed]) == [flag, f"{flag}=a_b", "--", typed]


def test_unknown_options_and_values_keep_their_underscores() -> None:
    command = next(each for each in leaves(load_command("txt2img")) if isinstance(each, AliasCommand))
    arguments = ["a_prompt", "--no_such_option", "-n", "bad_hands", "--cfg_scale", "--sampler_name=k_euler_a"]
    assert command._with_dashes(arguments) == [
        "a_prompt", "--no_such_option", "-n", "bad_hands", "--cfg-scale", "--sampler-name=k_euler_a"
    ]  # fmt: skip


def test_commands_run_with_underscores() -> None:
    arguments = ("--negative_prompt", "bad", "--sampler_name", "Euler a", "--cfg_scale=900", "--dry_run")
    assert "guidance_scale must be 0 to 100" in run("txt2img", "x", *arguments, code=2).stderr
    assert "--no_such" in run("txt2img", "x", "--no_such", code=2).stderr


@pytest.mark.parametrize("name", sorted(name for name in CONFIGURABLE_SETTINGS if "_" in name))
def test_configuration_keys_accept_dashes(name: str) -> None:
    dashed = name.replace("_", "-")
    fields = {name: options_of(CONFIGURABLE_SETTINGS[name])[name]}
    assert canonical_keys({dashed: 1, "other-key": 2}, fields) == {name: 1, "other-key": 2}


def test_configuration_files_accept_dashes() -> None:
    path = Path("artgen.toml")
    path.write_text('guidance-scale = 3.5\n[txt2img]\nnegative-prompt = "bad"\ncfg-scale = 2.0\n')
    assert load_defaults("txt2img")["txt2img"] == {"guidance_scale": 2.0, "negative_prompt": "bad"}
    set_value("txt2img.negative-prompt", "worse", path)
    set_value("guidance-scale", "4", path)
    assert load_defaults("txt2img")["txt2img"] == {"guidance_scale": 2.0, "negative_prompt": "worse"}
    assert "guidance-scale" not in path.read_text()


@pytest.mark.parametrize("name", ["guidance-scale", "guidance_scale", "cfg-scale", "CFG scale", "Guidance_Scale"])
def test_sweeps_accept_dashes_and_spaces(name: str) -> None:
    assert parse_axes([f"{name}=1,2"])[0].name == "guidance_scale"
