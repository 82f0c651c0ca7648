"""Test the first use of a hub model: checks with the libraries, the download and the images."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import pytest
from command_line import FAST, record, run
from hub_models import folder_files, weight_downloads

from artgen.registry.hub import cache, client

REPO = "owner/tiny"
SIZE = ("--size", "64x64")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, models: dict[str, Path]) -> Iterator[hub_server.Hub]:
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub(folder_files(models["sd1"]))) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def change_json(hub: hub_server.Hub, name: str, **changes: Any) -> None:
    hub.files[name] = json.dumps({**json.loads(hub.files[name]), **changes}).encode()


def test_the_first_use_equals_the_use_of_the_folder(hub: hub_server.Hub, models: dict[str, Path]) -> None:
    first = run("txt2img", "a fox", "-m", REPO, *FAST, *SIZE, "-o", "hub.png")
    assert "Downloading 'owner/tiny'" in first.stderr
    run("txt2img", "a fox", "-m", str(models["sd1"]), *FAST, *SIZE, "-o", "folder.png", "--metadata", "none")
    run("txt2img", "a fox", "-m", REPO, *FAST, *SIZE, "-o", "again.png", "--offline")
    from PIL import Image

    images = [Image.open(name).tobytes() for name in ("hub.png", "folder.png", "again.png")]
    assert images[0] == images[1] == images[2]


def test_a_dry_run_equals_that_of_the_complete_model(hub: hub_server.Hub) -> None:
    before = record("txt2img", "a fox", "-m", REPO, *FAST, *SIZE)
    assert weight_downloads(hub) == []
    assert cache.snapshot_folder(REPO) is None
    run("models", "pull", REPO)
    assert record("txt2img", "a fox", "-m", REPO, *FAST, *SIZE) == before


@pytest.mark.parametrize("keep_going", [False, True])
def test_a_batch_downloads_after_all_lines_are_checked(hub: hub_server.Hub, keep_going: bool) -> None:
    Path("p.txt").write_text("a fox --size 64x64\na car --size 65x64\n")
    arguments = ["batch", "p.txt", "-o", "out", "-m", REPO, "--steps", "2"]
    assert "p.txt:2" in run(*arguments, code=2).stderr
    assert weight_downloads(hub) == []
    dry = run(*arguments, "--dry-run", "--keep-going", code=7)
    assert "is not downloaded" in dry.stderr
    assert weight_downloads(hub) == []
    if not keep_going:
        Path("p.txt").write_text("a fox --size 64x64\na car --size 64x64\n")
        arguments += ["--keep-going"]
    done = run(*arguments, *(["--keep-going"] if keep_going else []), code=7 if keep_going else 0)
    assert len(list(Path("out").glob("*.png"))) == (1 if keep_going else 2)
    assert done.stderr.count("Downloading 'owner/tiny'") == 1
    again = run(*arguments, *(["--keep-going"] if keep_going else []), code=7 if keep_going else 0)
    assert "done" in again.stderr, "the fingerprints do not depend on the download"


@pytest.mark.parametrize(
    ("file", "changes", "text"),
    [
        ("model_index.json", {"unet": ["diffusers", "NoSuchModel"]}, "NoSuchModel"),
        ("model_index.json", {"tokenizer": ["transformers", "NoSuchTokenizer"]}, "NoSuchTokenizer"),
        ("model_index.json", {"image_encoder_9": ["transformers", "CLIPTextModel"]}, "image_encoder_9"),
        ("model_index.json", {"unet": [None, None]}, "unet"),
        ("unet/config.json", {"down_block_types": ["NoSuchBlock"] * 4}, "unet"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "none"}, "scheduler"),
    ],
)
def test_libraries_check_the_configurations_before_the_download(
    hub: hub_server.Hub, file: str, changes: dict[str, Any], text: str
) -> None:
    change_json(hub, file, **changes)
    for name in changes if file == "model_index.json" else ():
        for source in [each for each in hub.files if each.startswith("text_encoder/") and name == "image_encoder_9"]:
            hub.files[source.replace("text_encoder/", f"{name}/")] = hub.files[source]
    result = run("txt2img", "a fox", "-m", REPO, *FAST, *SIZE, "-o", "x.png", code=4)
    assert text in result.stderr
    assert weight_downloads(hub) == []


@pytest.mark.parametrize("class_name", ["CLIPFeatureExtractor", "CLIPImageProcessor", "CLIPImageProcessorPil"])
def test_former_names_of_the_image_processor_are_accepted(
    models: dict[str, Path], class_name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models["sd1"], folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["feature_extractor"] = ["transformers", class_name]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "feature_extractor").mkdir(exist_ok=True)
    config = {"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 224, "do_resize": True, "size": 224}
    (folder / "feature_extractor/preprocessor_config.json").write_text(json.dumps(config))
    run("txt2img", "a fox", "-m", str(folder), *FAST, *SIZE, "-o", "new.png", "--metadata", "none")
    run("txt2img", "a fox", "-m", str(models["sd1"]), *FAST, *SIZE, "-o", "old.png", "--metadata", "none")
    assert Path("new.png").read_bytes() == Path("old.png").read_bytes()
