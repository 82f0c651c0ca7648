"""Find upscaling networks: on the hub, in folders, in files, by name; and refuse other files."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import command_line
import hub_server
import numpy as np
import pytest
import skimage.data
import tiny_upscalers
import torch
from hub_models import folder_files, weight_downloads
from PIL import Image
from safetensors_files import SD1_SHAPES, filled_bytes, zero_file
from tiny_upscalers import compact, rrdbnet, save, swin2sr
from tiny_zoo import stable_diffusion

from artgen.engine.loading.device import DeviceConfig
from artgen.engine.metrics import psnr
from artgen.engine.upscaling.networks import enlarge
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError
from artgen.events import no_op
from artgen.registry.hashes import compute_sha256
from artgen.registry.hub import client
from artgen.registry.upscalers import (
    DEFAULT_UPSCALER,
    Upscaler,
    UpscalerEntry,
    find_recorded_upscaler,
    resolve_upscaler,
    upscaler,
    upscaler_entries,
)
from artgen.registry.upscalers.upscaler import RRDBNET, SWIN2SR
from artgen.spec import config, config_values


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Run a hub without files, whose repository `owner/tiny` is the network `swin2sr-x2` of the table."""
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    entry = replace(upscaler_entries()["swin2sr-x2"], source="owner/tiny")
    monkeypatch.setattr(upscaler, "upscaler_entries", lambda: MappingProxyType({"swin2sr-x2": entry}))
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def test_a_network_of_the_table_is_downloaded_once(hub: hub_server.Hub, tmp_path: Path) -> None:
    hub.files = {**folder_files(swin2sr(tmp_path / "swin")), "pytorch_model.bin": b"pickle"}
    preview = resolve_upscaler("swin2sr-x2", download=False)
    assert (preview.scale, preview.files, preview.download_bytes) == (2, (), 48500000)
    assert "'owner/tiny' (Apache-2.0) will be downloaded: about 48.5 MB" in preview.download_notes()[0]
    assert not hub.requests, "the table has the size"
    with pytest.raises(ModelUnavailableError, match="network is disabled"):
        resolve_upscaler("swin2sr-x2", offline=True)
    assert "--upscaler swin2sr-x2" in command_line.run("models", "pull", "swin2sr-x2", "--json").stdout
    assert {*hub.downloads()} == {"config.json", "model.safetensors"}
    hub.requests.clear()
    found = resolve_upscaler("swin2sr-x2", offline=True)
    assert (found.class_name, found.scale, found.license, found.download_bytes) == (SWIN2SR, 2, "Apache-2.0", 0)
    assert found.provenance() == {
        "upscale_model_source": f"owner/tiny@{found.revision}",
        "upscale_model_sha256": found.sha256,
    }
    assert replace(resolve_upscaler(found.address, offline=True), name=found.name) == found, "the recorded address"
    assert not hub.requests
    assert command_line.run("models", "path", "swin2sr-x2").stdout.strip() == str(found.path)
    shown = json.loads(command_line.run("models", "show", "swin2sr-x2", "--json").stdout)
    assert (shown["complete"], shown["family"], shown["path"]) == (True, "upscaler", str(found.path))
    assert "swin2sr-x2: 2 files match" in command_line.run("models", "verify", "swin2sr-x2").stdout
    weights = (found.path / "model.safetensors").resolve()
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    damaged = command_line.run("models", "verify", "swin2sr-x2", code=5)
    assert "swin2sr-x2: model.safetensors: " in damaged.stdout
    assert "artgen models pull swin2sr-x2 --force" in damaged.stderr
    command_line.run("models", "remove", "swin2sr-x2", "-y")
    assert "swin2sr-x2" in command_line.run("models", "list", "--family", "upscaler").stdout
    command_line.run("models", "path", "swin2sr-x2", code=4)


def test_configurations_on_the_hub_are_checked_before_weights_are_downloaded(
    hub: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.files = folder_files(swin2sr(tmp_path / "x4", scale=4))
    with pytest.raises(ModelUnavailableError, match="with the scale 4, not a Swin2SR"):
        resolve_upscaler("swin2sr-x2")
    monkeypatch.setattr(upscaler, "upscaler_entries", lambda: MappingProxyType({}))
    hub.files["config.json"] = json.dumps({"model_type": "clipseg"}).encode()
    with pytest.raises(ModelUnavailableError, match="its model type is 'clipseg', not swin2sr"):
        resolve_upscaler("owner/tiny")
    hub.files = {"net.safetensors": (save(tmp_path / "net", rrdbnet())).read_bytes(), "net.pth": b"pickle"}
    hub.files["lora.safetensors"] = filled_bytes({"lora_unet_x.lora_down.weight": (4, 8)})
    with pytest.raises(InputFileError, match="it is a LoRA"):
        resolve_upscaler("owner/tiny/lora.safetensors")
    assert weight_downloads(hub) == ["lora.safetensors"], "the header"
    preview = resolve_upscaler("owner/tiny/net.safetensors", download=False)
    found = resolve_upscaler("owner/tiny/net.safetensors")
    assert (preview.class_name, preview.scale, found.class_name, found.scale) == (RRDBNET, 4, RRDBNET, 4)
    hub.files = folder_files(_save_pipeline(tmp_path))
    preview = resolve_upscaler("owner/tiny", download=False)
    assert (preview.scale, preview.class_name, preview.files) == (4, "StableDiffusionUpscalePipeline", ())
    assert not [name for name in weight_downloads(hub) if name.startswith(("unet", "vae"))]


def _save_pipeline(folder: Path) -> Path:
    stable_diffusion.x4_upscaler().save_pretrained(folder / "pipe", safe_serialization=True)
    return folder / "pipe"


def test_other_files_and_folders_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error is one sentence with a hint, and is raised before torch would read the file."""
    monkeypatch.chdir(tmp_path)
    small = rrdbnet()
    torch.save(small, "net.pth")
    save(Path("extra.safetensors"), {**small, "conv_extra.weight": torch.zeros(1)})
    save(Path("missing.safetensors"), {name: value for name, value in small.items() if name != "conv_hr.bias"})
    save(Path("swinir.safetensors"), {"conv_first.weight": torch.zeros(1), "layers.0.x": torch.zeros(1)})
    save(Path("int.safetensors"), {name: value.to(torch.int8) for name, value in small.items()})
    zero_file(Path("sd.safetensors"), SD1_SHAPES)
    Path("cut.safetensors").write_bytes(save(Path("net.safetensors"), small).read_bytes()[:-8])
    Path("empty").mkdir()
    swin = swin2sr(Path("swin"))
    (swin / "model.safetensors").rename(swin / "pytorch_model.bin")
    wrong = swin2sr(Path("wrong"))
    values = json.loads((wrong / "config.json").read_text())
    (wrong / "config.json").write_text(json.dumps({**values, "embed_dim": 1 << 20}))
    cases: dict[str, tuple[type[ArtgenError], str, str]] = {
        "net.pth": (RefusedError, "Python pickle", "artgen models convert 'net.pth'"),
        "extra.safetensors": (InputFileError, "RRDBNet does not have its tensor 'conv_extra.weight'", "--upscaler"),
        "missing.safetensors": (InputFileError, "'conv_hr.bias' of RRDBNet is missing", "--upscaler"),
        "swinir.safetensors": (InputFileError, "an upscaler \\(SwinIR", "ESRGAN family"),
        "int.safetensors": (InputFileError, "its weights have the dtype I8", "ESRGAN family"),
        "sd.safetensors": (InputFileError, "as an upscaler: it is an image model", "ESRGAN family"),
        "cut.safetensors": (InputFileError, "is truncated", "Download"),
        "empty": (ModelUnavailableError, "no config.json", "Swin2SR"),
        "swin": (RefusedError, "Python pickle", "artgen models convert"),
        "wrong": (ModelUnavailableError, "config.json does not fit", "Use another copy"),
        "swin2sr-x3": (ModelUnavailableError, "Cannot find the upscaler", "Did you mean"),
        "nothing here": (ModelUnavailableError, "Cannot find the upscaler", "swin2sr-x2"),
    }
    for name, (error, message, hint) in cases.items():
        with pytest.raises(error, match=message) as caught:
            resolve_upscaler(name)
        assert hint in caught.value.hint, name


@pytest.mark.slow
def test_networks_of_other_tools_are_found_by_name_and_pickles_are_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_values.set_value("model_folders", str(tmp_path / "webui"), config.user_config_file())
    folder = tmp_path / "webui" / "models" / "ESRGAN"
    folder.mkdir(parents=True)
    for name, content in {
        "4x_sharp": {"params_ema": tiny_upscalers.first_release(rrdbnet())},
        "2x_fast": {"params": compact()},
    }.items():
        torch.save(content, folder / f"{name}.pth")
        with pytest.raises(RefusedError, match="pickle") as caught:
            resolve_upscaler(name)
        assert f"artgen models convert '{folder / name}.pth'" in caught.value.hint
        command_line.run("models", "convert", str(folder / f"{name}.pth"))
        found = resolve_upscaler(name)
        assert (found.path, found.scale) == (folder / f"{name}.safetensors", int(name[0]))
    assert "scale: 4" in command_line.run("info", str(folder / "4x_sharp.safetensors")).stdout
    monkeypatch.chdir(tmp_path)
    assert find_recorded_upscaler("../x/4x_sharp.safetensors", found.sha256) is None, "another hash"
    assert find_recorded_upscaler("C:\\x\\2x_fast.safetensors", found.sha256) == found.path


def test_the_bundled_network_is_the_default_and_beats_lanczos() -> None:
    found = resolve_upscaler(DEFAULT_UPSCALER, offline=True)
    sums = (found.path.parent / "SHA256SUMS").read_text()
    assert f"{compute_sha256(found.path)}  {found.path.name}" in sums
    assert (found.source, found.license, found.scale) == ("bundled:tiny_x2", "Apache-2.0", 2)
    assert found.path.stat().st_size < 200_000
    assert "tiny-x2: 3 files match" in command_line.run("models", "verify", "tiny-x2").stdout
    photo = Image.fromarray(skimage.data.chelsea()[:200, 100:300])
    small = photo.resize((100, 100), Image.Resampling.BICUBIC)
    network = enlarge(np.asarray(small), found, DeviceConfig("cpu", "fp32"), no_op)
    lanczos = np.asarray(small.resize(photo.size, Image.Resampling.LANCZOS))
    assert psnr(network, np.asarray(photo)) > psnr(lanczos, np.asarray(photo)) + 0.5
    assert "not downloaded by artgen" in command_line.run("models", "remove", DEFAULT_UPSCALER, code=2).stderr
    assert command_line.run("models", "path", DEFAULT_UPSCALER).stdout.strip() == str(found.path.parent)
    assert "scale: 2" in command_line.run("info", str(found.path)).stdout


def test_entries_of_the_table_are_complete() -> None:
    for name, entry in upscaler_entries().items():
        assert entry.scale in (2, 4), name
        assert entry.license, name
        assert isinstance(entry, UpscalerEntry)
    assert not Upscaler("x", Path(), RRDBNET, 4).is_diffusion
