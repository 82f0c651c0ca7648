"""The command line in this process, on a tiny real model, with two small pictures to start from."""

import json
from typing import Any

from PIL import Image
from typer.testing import CliRunner, Result

from artgen.cli.main import app

FAST = ("--steps", "2", "--seed", "7")


def run(*words: str, code: int = 0, **more: Any) -> Result:
    result = CliRunner().invoke(app, list(words), **more)
    assert result.exit_code == code, (result.output, result.exception)
    return result


def record(*words: str, **more: Any) -> dict[str, Any]:
    """The record of a dry run."""
    loaded: dict[str, Any] = json.loads(run(*words, "--dry-run", "--json", **more).stdout)
    return loaded


def save_inputs() -> None:
    """`in.png`, orange, and `mask.png` of the same size."""
    Image.new("RGB", (33, 47), "orange").save("in.png")
    mask = Image.new("L", (33, 47))
    mask.paste(255, (5, 5, 20, 20))
    mask.save("mask.png")
