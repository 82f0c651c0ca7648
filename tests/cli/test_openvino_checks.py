"""Test what `--acceleration openvino` needs and refuses, and how its records are replayed. OpenVINO is not imported."""

import json
from pathlib import Path
from typing import Any

import command_line
import pytest

import artgen
from artgen import Txt2Img
from artgen.errors import UsageError
from artgen.jobs import acceleration, prepare, replay_checks
from artgen.jobs.replay import read_replay_spec
from artgen.queue.entries import Entry
from artgen.queue.planner import Planner
from artgen.system import hardware

RECORD = {
    "artgen": "0.1.0", "schema": 1, "task": "txt2img", "prompt": "a fox", "model": "tiny", "seed": 7, "steps": 2,
    "device": "cpu", "dtype": "fp32", "acceleration": "openvino", "rounding": ["openvino"], "openvino": "2026.2.0",
    "openvino_precision": "f32",
}  # fmt: skip

CONFLICTS: dict[str, tuple[str, Any]] = {
    "quantize": ("fp8", "remove --quantize"),
    "fast": ("cache", "remove cache from --fast"),
    "dtype": ("fp16", "use --dtype fp32 or --dtype bf16"),
}
"""Setting -> a value that cannot be combined with OpenVINO, and the hint."""


@pytest.fixture(autouse=True)
def _installed(monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(monkeypatch, "2026.4.1")


def set_version(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    for module in (acceleration, replay_checks):
        real = module.installed_version
        monkeypatch.setattr(
            module, "installed_version", lambda name, real=real: version if name == "openvino" else real(name)
        )


def write_record(**changes: Any) -> Path:
    path = Path("record.json")
    path.write_text(json.dumps(RECORD | changes))
    return path


@pytest.mark.parametrize("name", CONFLICTS)
@pytest.mark.parametrize("is_typed", [True, False])
def test_conflicting_settings_are_refused(name: str, is_typed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    value, hint = CONFLICTS[name]
    options = ["--acceleration", "openvino"]
    if is_typed:
        options += [f"--{name}", value]
    else:
        monkeypatch.setenv(f"ARTGEN_{name.upper()}", value)
    line = ("txt2img", "x", "--steps", "20", *options, "--dry-run")
    result = command_line.run(*line, code=2 if is_typed else 0)
    message = f"Cannot combine --acceleration openvino with --{name} {value}: "
    if is_typed:
        assert result.stderr.splitlines()[-2].startswith(f"error: {message}")
        assert result.stderr.splitlines()[-1] == f"  Remove --acceleration, or {hint}."
    else:
        assert f"The default of {name} from the environment or a configuration file is ignored: {message}" in " ".join(
            result.stderr.split()
        )


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_default_of_openvino_is_ignored_with_a_note(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_ACCELERATION", "openvino")
    result = command_line.run("txt2img", "x", "--steps", "20", f"--{name}", CONFLICTS[name][0], "--dry-run", "--json")
    assert "The default of acceleration from the environment" in " ".join(result.stderr.split())
    assert "acceleration" not in json.loads(result.stdout)


@pytest.mark.parametrize("name", CONFLICTS)
def test_the_python_api_refuses_conflicts_with_its_own_names(name: str) -> None:
    with pytest.raises(UsageError) as raised:
        artgen.txt2img("x", steps=20, acceleration="openvino", **{name: CONFLICTS[name][0]})
    assert raised.value.message.startswith("Cannot combine acceleration='openvino' with ")
    assert "--" not in raised.value.message + raised.value.hint


def test_invalid_lines_of_a_batch_are_reported_together() -> None:
    lines = [f"x --acceleration openvino --steps 20 --{name} {value}" for name, (value, _) in CONFLICTS.items()]
    Path("p.txt").write_text("\n".join(["a fox", *lines, "a fox --acceleration openvino"]))
    result = command_line.run("batch", "p.txt", "-o", "out/", "--dry-run", code=2)
    for number, (name, (value, _)) in enumerate(CONFLICTS.items(), 2):
        text = f"error: p.txt:{number}: Cannot combine --acceleration openvino with --{name} {value}"
        assert text in result.stderr
    assert "3 of 5 jobs cannot run" in result.stderr


@pytest.mark.parametrize(
    ("device", "found", "selected"),
    [
        ("cuda", "cuda", "cuda"),
        ("cuda:0", "cuda", "cuda:0"),
        ("mps", "mps", "mps"),
        ("auto", "cuda", "cuda, which --device auto selects"),
        ("auto", "mps", "mps, which --device auto selects"),
    ],
)
def test_openvino_needs_the_cpu(device: str, found: str, selected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: int(found == "cuda"))
    monkeypatch.setattr(hardware, "has_mps", lambda: found == "mps")
    with pytest.raises(UsageError) as raised:
        prepare.prepare_jobs([Txt2Img(prompt="x", model="no/model", device=device, acceleration="openvino")])
    assert raised.value.message == f"--acceleration openvino needs the CPU, but the device is {selected}."
    assert raised.value.hint == "Use --device cpu, or remove --acceleration."
    prepare.prepare_jobs([Txt2Img(prompt="x", model="tiny", device="cpu", acceleration="openvino")])


def test_a_missing_package_is_reported_before_the_model_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(monkeypatch, None)
    result = command_line.run("txt2img", "x", "-m", "no/model", "--acceleration", "openvino", "--offline", code=2)
    assert result.stderr.splitlines()[-2:] == [
        "error: --acceleration openvino needs the package openvino, which is not installed.",
        "  pip install 'artgen[openvino]'",
    ]


def test_replay_without_the_package_names_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(monkeypatch, None)
    path = write_record()
    result = command_line.run("replay", str(path), "--dry-run", code=2)
    assert "needs the package openvino, which is not installed" in result.stderr
    assert "pip install 'artgen[openvino]'. To replay without OpenVINO, add --set acceleration=none." in result.stderr
    command_line.run("replay", str(path), "--set", "acceleration=none", "--dry-run")


@pytest.mark.parametrize(
    ("recorded", "installed", "is_noted"),
    [
        ("2026.2.0", "2026.4.1", True),
        ("2026.4.1", "2026.4.1", False),
        (None, "2026.4.1", False),
        ("2026.2.0", None, False),
    ],
)
def test_another_version_of_openvino_is_noted(
    recorded: str | None, installed: str | None, is_noted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_version(monkeypatch, installed)
    spec = read_replay_spec(write_record(openvino=recorded), {})
    note = f"The image was generated with openvino {recorded}, and {installed} is installed. The pixels may differ."
    assert (note in spec.notes) == is_noted
    assert spec.request.acceleration == "openvino"  # type: ignore[attr-defined]
    changed = read_replay_spec(write_record(), {"acceleration": "none"})
    assert changed.request.acceleration == "none"  # type: ignore[attr-defined]
    assert not changed.notes


def test_openvino_changes_the_fingerprint_and_its_version_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def key(**values: Any) -> str:
        entry = Entry("test", 1, {"prompt": "x", "model": "tiny", **values})
        return Planner(Path("out")).build_plan([entry]).jobs[0].fingerprint

    plain, openvino = key(), key(acceleration="openvino")
    assert plain != openvino
    assert key(acceleration="none") == key(acceleration="exact") == plain
    set_version(monkeypatch, "2027.0.0")
    assert key(acceleration="openvino") == openvino


@pytest.mark.parametrize("task", ["denoise", "sample", "anomaly", "reconstruct", "noise", "train"])
def test_commands_without_acceleration_refuse_the_option(task: str) -> None:
    result = command_line.run(task, "in.png", "--acceleration", "openvino", code=2)
    assert "Unknown option '--acceleration'." in result.stderr
    assert f"txt2img, img2img, inpaint, outpaint and edit take --acceleration, and {task} does not." in result.stderr


@pytest.mark.parametrize("option", ["--openvino", "--ov", "--use-openvino", "--device=openvino", "--acceleration=ov"])
def test_names_of_other_tools_lead_to_the_value(option: str) -> None:
    assert "openvino" in command_line.run("txt2img", "x", option, code=2).stderr.splitlines()[-1]
