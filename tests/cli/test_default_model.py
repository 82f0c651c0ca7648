"""Test the default model and the note about its download. The detection of CUDA and the hub are replaced."""

from collections.abc import Iterator
from pathlib import Path

import hub_server
import pytest
from command_line import record, run, save_inputs_of_all_commands

from artgen.events import Event, Notice
from artgen.registry import default_selection
from artgen.registry.catalog import builtin_models
from artgen.registry.default_selection import default_model
from artgen.registry.hub import client
from artgen.system import hardware

DOWNLOAD_NOTE = "The default model with a CUDA device is 'sd15', which is downloaded first: 2.7 GB."


@pytest.fixture(autouse=True)
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Serve an empty hub, so that each download fails."""
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    save_inputs_of_all_commands()
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 1)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(
    "command",
    [
        ("txt2img", "a fox"),
        ("txt2img", "a fox", "--dry-run"),
        ("txt2img", "a fox", "--count", "3"),
        ("txt2img", "a fox", "--sweep", "steps=1,2"),
        ("img2img", "in.png", "a fox"),
        ("inpaint", "in.png", "--mask", "mask.png", "a fox"),
        ("outpaint", "in.png", "--expand", "8", "a fox"),
        ("batch", "prompts.txt", "-o", "out/"),
        ("denoise", "in.png", "--method", "latent"),
        ("train", "photos", "-o", "lora.safetensors"),
        ("reconstruct", "in.png"),
        ("noise", "in.png", "--space", "latent"),
        ("anomaly", "in.png", "--method", "latent"),
    ],
    ids=" ".join,
)
def test_the_download_is_announced_in_the_first_line(command: tuple[str, ...]) -> None:
    done = run(*command, code=None)
    assert done.exit_code in (4, 7), done.output
    lines = done.stderr.splitlines()
    assert lines[0].startswith(DOWNLOAD_NOTE), done.stderr
    assert "--model tiny" in lines[0]
    assert "--offline" in lines[0]
    assert done.stderr.count(DOWNLOAD_NOTE) == 1


@pytest.mark.usefixtures("cuda")
def test_models_that_are_set_are_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "downloaded first" not in run("txt2img", "a fox", "-m", "sd15", code=4).stderr
    assert record("txt2img", "a fox", "-m", "tiny", "--device", "cpu")["model"] == "tiny"
    assert "downloaded first" not in run("txt2img", "a fox", "-q", code=4).stderr
    assert "downloaded first" not in run("denoise", "in.png", "--device", "cpu", "--dry-run").stderr
    monkeypatch.setenv("ARTGEN_MODEL", "sdxl")
    assert "downloaded first" not in run("txt2img", "a fox", code=4).stderr


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("offline", ["option", "variable"])
def test_offline_uses_the_bundled_model(monkeypatch: pytest.MonkeyPatch, offline: str) -> None:
    if offline == "variable":
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    options = ("--device", "cpu", "--dry-run", *(["--offline"] if offline == "option" else []))
    done = run("txt2img", "a red fox", *options)
    assert done.stderr.startswith("Using the bundled model 'tiny': the network is disabled, and 'sd15'")
    assert "model=tiny" in done.stdout


def test_without_cuda_nothing_is_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_device_count", lambda: 0)
    events: list[Event] = []
    assert default_model(listener=events.append) == default_model(offline=True, listener=events.append) == "tiny"
    assert not events


@pytest.mark.usefixtures("cuda")
def test_a_downloaded_model_and_an_alias_on_the_disk_are_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    with monkeypatch.context() as patch:
        patch.setattr(default_selection, "complete_snapshot", lambda reference: Path())
        assert default_model(listener=events.append) == default_model(offline=True, listener=events.append) == "sd15"
    folder = str(builtin_models()["tiny"].bundled_folder)
    run("models", "alias", "sd15", folder)
    assert default_model(listener=events.append) == "sd15"
    assert not events
    run("models", "alias", "sd15", "owner/name")
    default_model(listener=events.append)
    assert events == [
        Notice(
            "The default model with a CUDA device is 'sd15', which is downloaded first. For the bundled model without "
            "a download, add --model tiny or --offline."
        )
    ]
