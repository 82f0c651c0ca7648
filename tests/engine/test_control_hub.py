"""Test control nets of hub repositories: configurations before weights, the download, the network disabled."""

import json
from collections.abc import Iterator
from pathlib import Path

import command_line
import hub_server
import pytest
import tiny_controls
from hub_models import folder_files, weight_downloads
from PIL import Image

from artgen.registry import resolve_model
from artgen.registry.control_nets import NetSearch, resolve_net
from artgen.registry.hub import client
from artgen.spec.control import parse_control

ADDRESS = "canny=in.png,model=owner/tiny"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Run a hub without files."""
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_only_configurations_are_downloaded_before_the_net_is_used(
    hub: hub_server.Hub, models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tiny_controls.save("sd1", tmp_path / "net", models["sd1"])
    hub.files = {**folder_files(folder), "diffusion_pytorch_model.bin": b"pickle", "code.py": b"raise SystemExit"}
    command_line.save_inputs()

    def run(net: str, *options: str, code: int = 0) -> str:
        arguments = ("txt2img", "x", "-m", str(models["sd1"]), *command_line.FAST, "--size", "32x32")
        return command_line.run(*arguments, "--control", net, *options, code=code).stderr

    assert "network is disabled" in run(ADDRESS, "--offline", code=4)
    assert "network is disabled" in run(ADDRESS, "--offline", "--dry-run", code=4)
    assert not hub.requests
    dry = run(ADDRESS, "--dry-run")
    assert "The control net 'owner/tiny' (owner/tiny) is not downloaded (" in dry
    assert hub.downloads() == ["config.json"]
    assert weight_downloads(hub) == []
    assert "Downloading 'owner/tiny'" in run(ADDRESS, "-o", "hub.png")
    assert {*hub.downloads()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    hub.requests.clear()
    assert "not downloaded" not in run(ADDRESS, "--offline", "--dry-run")
    run(ADDRESS, "--offline", "-o", "again.png")
    run(f"canny=in.png,model={folder}", "-o", "folder.png")
    images = [Image.open(name).tobytes() for name in ("hub.png", "again.png", "folder.png")]
    assert images[0] == images[1] == images[2]
    assert not hub.requests


def test_a_net_for_another_model_is_refused_after_its_configuration(
    hub: hub_server.Hub, models: dict[str, Path], tmp_path: Path
) -> None:
    hub.files = folder_files(tiny_controls.save("sdxl", tmp_path / "net", models["sdxl"]))
    command_line.save_inputs()
    arguments = ("txt2img", "x", "-m", str(models["sd1"]), *command_line.FAST, "--control", ADDRESS)
    assert "owner/tiny" in command_line.run(*arguments, code=4).stderr
    assert hub.downloads() == ["config.json"]


def test_a_union_net_whose_configuration_names_a_plain_net_is_recognized(
    models: dict[str, Path], tmp_path: Path
) -> None:
    folder = tiny_controls.save("union", tmp_path / "net", models["sdxl"])
    config = json.loads((folder / "config.json").read_text())
    del config["num_control_type"]
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": "ControlNetModel"}))
    spec = parse_control(f"canny=in.png,model={folder}")
    net = resolve_net(spec, NetSearch(resolve_model(str(models["sdxl"]))))
    assert (net.class_name, net.config["num_control_type"]) == ("ControlNetUnionModel", 6)
    assert net.modes["canny"] == 3
    assert "tile" not in net.modes
