"""Run the command line in the process of the test, or in a worker, and write small input images."""

import json
import struct
from pathlib import Path
from typing import Any

import worker_mode
from PIL import Image
from typer.testing import CliRunner, Result

from artgen.cli.main import app

FAST = ("--steps", "2", "--seed", "7")


def run(*arguments: str, code: int | None = 0, **kwargs: Any) -> Result:
    """Run `artgen ARGUMENTS` and check the exit code, unless it is None.

    The command runs in a worker if `worker_mode` is active.
    """
    if worker_mode.uses_worker(arguments):
        kwargs.pop("prog_name", None)
        result = worker_mode.run_client(arguments, **kwargs)
    else:
        result = CliRunner().invoke(app, list(arguments), **kwargs)
    assert code is None or result.exit_code == code, (result.output, result.exception)
    return result


def record(*arguments: str, **kwargs: Any) -> dict[str, Any]:
    """Return the record that a dry run prints."""
    loaded: dict[str, Any] = json.loads(run(*arguments, "--dry-run", "--json", **kwargs).stdout)
    return loaded


def save_inputs() -> None:
    """Write `in.png` (33x47, orange) and `mask.png` of the same size."""
    Image.new("RGB", (33, 47), "orange").save("in.png")
    mask = Image.new("L", (33, 47))
    mask.paste(255, (5, 5, 20, 20))
    mask.save("mask.png")


def save_inputs_of_all_commands() -> None:
    """Write the files of `save_inputs`, the folder `photos`, `prompts.txt`, a style, a preset, a record and a LoRA."""
    save_inputs()
    Path("styles.csv").write_text("name,prompt\noil,an oil painting\n")
    Path("artgen.toml").write_text('style_folder = "styles.csv"\n[presets.small]\nsteps = 2\n')
    Path("photos").mkdir()
    for number in range(2):
        Image.effect_noise((64, 64), 50).convert("RGB").save(f"photos/{number}.png")
    Path("prompts.txt").write_text("a fox\na car\n")
    Path("record.json").write_text(json.dumps({"artgen": "0.1.0", **record("txt2img", "x", "-m", "tiny", *FAST)}))
    save_trained_lora(Path("trained.safetensors"))


def save_trained_lora(path: Path, **provenance: Any) -> None:
    """Write a safetensors file without tensors whose metadata contains the provenance of training images."""
    provenance = {"licenses": {"CC0-1.0": 2}, "images": 2, **provenance}
    header = json.dumps({"__metadata__": {"artgen": json.dumps(provenance)}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
