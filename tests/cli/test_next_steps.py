"""Test that doctor, `models list`, the end of the first run and the note about words name the same next step."""

import json
from pathlib import Path

import pytest
from command_line import FAST, run

from artgen import registry
from artgen.cli import first_run
from artgen.jobs import recommend
from artgen.jobs.next_step import next_step
from artgen.spec.settings import ReportSettings
from artgen.system import hardware, optional_packages
from artgen.system.optional_packages import EXTRAS, install_command
from artgen.system.paths import user_state_folder


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the hardware by a CPU with 16 GiB of free memory."""
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 0)
    monkeypatch.setattr(hardware, "cuda_memory_bytes", lambda: None)
    monkeypatch.setattr(hardware, "has_mps", lambda: False)
    monkeypatch.setattr(hardware, "available_ram", lambda: 16 << 30)


def test_all_places_name_the_same_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_run, "is_terminal", lambda stream: True)
    step = next_step()
    assert "artgen models pull" in step
    assert f"is a small demonstration model. {step}" in run("doctor").stdout
    assert json.loads(run("doctor", "--json").stdout)["next_step"] == step
    assert step in run("models", "list").stderr
    first = run("txt2img", "a misty forest", *FAST)
    assert first.stderr.count(step) == 2  # the note about words, and the end of the first run
    assert step not in run("txt2img", "a red fox", *FAST).stderr
    assert (user_state_folder() / first_run.MARKER).exists()


@pytest.mark.parametrize("arguments", [("-m", "tiny"), ("--offline",), ("--count", "2"), ("-o", "x.jpg")])
def test_note_is_printed_before_the_image_and_not_with_quiet(arguments: tuple[str, ...]) -> None:
    done = run("txt2img", "a misty forest", *FAST, *arguments)
    assert done.stderr.count("few or no training images") == 1
    assert done.stderr.index("few or no") < done.stderr.index("Using tiny")
    assert "few or no" not in run("txt2img", "a misty forest", *FAST, *arguments, "-q", "--overwrite").stderr


def test_batches_and_sweeps_print_one_note() -> None:
    Path("prompts.txt").write_text("a misty forest\na {lynx|ibex}\na red fox\n" * 3)
    done = run("batch", "prompts.txt", "-o", "out/", *FAST, "--dry-run")
    assert done.stderr.count("few or no training images") == 1
    assert "'misty', 'forest'" in done.stderr
    done = run("txt2img", "a misty forest", "--sweep", "steps=1,2", "-o", "sweep/", "--dry-run")
    assert done.stderr.count("few or no training images") == 1
    assert "few or no" not in run("batch", "prompts.txt", "-o", "out/", "--dry-run", "-q").stderr


def test_command_prompt_prints_the_note() -> None:
    assert "few or no training images of 'lynx'" in run("prompt", "a lynx").stderr


def test_first_run_is_silent_in_pipes_and_with_json(monkeypatch: pytest.MonkeyPatch) -> None:
    step, tiny = next_step(), {"tiny"}
    printed: list[str] = []
    monkeypatch.setattr(first_run, "print_note", printed.append)
    first_run.print_first_step(tiny, ReportSettings())
    monkeypatch.setattr(first_run, "is_terminal", lambda stream: True)
    first_run.print_first_step(tiny, ReportSettings(quiet=True))
    first_run.print_first_step(tiny, ReportSettings(json=True))
    first_run.print_first_step({"sd15"}, ReportSettings())
    first_run.print_first_step(set(), ReportSettings())
    assert not printed
    first_run.print_first_step(tiny, ReportSettings())
    first_run.print_first_step(tiny, ReportSettings())
    assert printed == [step]


def test_unwritable_state_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(first_run, "is_terminal", lambda stream: True)
    printed: list[str] = []
    monkeypatch.setattr(first_run, "print_note", printed.append)
    first_run.print_first_step({"tiny"}, ReportSettings())
    assert not printed


def test_next_step_of_other_default_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_MODEL", "sd15")
    step = "Next step: `artgen models pull sd15` downloads the default model (2.7 GB). Without a download: `-m tiny`."
    assert f"The default model 'sd15' is not on this computer. {step}" in run("doctor").stdout
    assert step in run("models", "list").stderr
    monkeypatch.delenv("ARTGEN_MODEL")
    folder = registry.find_local_model("denoiser")
    assert folder is not None
    run("config", "set", "model", str(folder.path))
    assert "Next step" not in run("doctor").stdout + run("models", "list").output
    run("config", "set", "model", "no/such/folder")
    assert "Next step" not in run("doctor").stdout


def test_damaged_configuration_does_not_stop_the_lists() -> None:
    folder = Path.home() / "config" / "artgen"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("model = [")
    assert "Next step" not in run("doctor").stdout


def test_doctor_names_the_speed_and_the_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads(run("doctor", "--json").stdout)
    assert 0 < report["image_seconds"] < 100
    assert "time of an image" in run("doctor").stdout
    monkeypatch.setattr(optional_packages, "installed_version", lambda name: None)
    text = run("doctor").stdout
    assert "pip install 'artgen[" in text
    assert "schedulers" in text.partition("Not installed")[2]
    assert "nf4" not in text.partition("Not installed")[2]  # needs CUDA
    assert "pip install torchsde" not in text


def test_extras_equal_the_extras_of_the_package() -> None:
    import tomllib

    path = Path(__file__).parents[2] / "pyproject.toml"
    extras = tomllib.loads(path.read_text("utf-8"))["project"]["optional-dependencies"]
    for name in ("test", "dev"):
        del extras[name]
    assert {extra.name for extra in EXTRAS} == set(extras)
    for extra in EXTRAS:
        assert any(text.startswith(extra.package) for text in extras[extra.name])
    assert install_command(["torchsde", "av"]) == "pip install 'artgen[schedulers,video]'"
    assert install_command(["sentencepiece"]) == "pip install sentencepiece"


def test_next_step_is_a_model_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recommend, "_is_on_disk", lambda info: info.name == "sd15")
    assert next_step().startswith("Next step: add `-m sd15`, a larger model on this computer.")
    monkeypatch.setattr(hardware, "available_ram", lambda: None)
    monkeypatch.setattr(hardware, "total_ram", lambda: None)
    assert "artgen models recommend" in next_step()
