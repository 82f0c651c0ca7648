"""Test output filters on images: classifiers, the model's safety checker, and all ways to generate images."""

import json
from pathlib import Path
from typing import Any

import hub_server
import pytest
from helpers import command_line
from helpers.tiny_classifier import classifier
from hub_models import folder_files
from PIL import Image

import artgen
from artgen.engine.classify_images import label_probability
from artgen.errors import ArtgenError, FilteredError, ModelUnavailableError, SomeFailedError, UsageError
from artgen.events import no_op
from artgen.jobs.prepare import prepare_jobs
from artgen.queue.ledger import Ledger
from artgen.registry.filter_models import resolve_filter_model
from artgen.registry.hub import client
from artgen.spec.filter_policies import FilterPolicy
from artgen.spec.requests import Txt2Img

REPO = "owner/tiny"
FAST = {"model": "tiny", "steps": 2, "seed": 7, "device": "cpu"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return classifier(tmp_path_factory.mktemp("classifier") / "dark")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Path) -> Path:
    """Configure a filter that refuses every image, one that notes every image, one that refuses dark images."""
    monkeypatch.chdir(tmp_path)
    common = f"filter_model = '{model}'\nlabels = ['normal', 'dark']"
    (tmp_path / "artgen.toml").write_text(
        f"[filters.all]\n{common}\n[filters.noted]\n{common}\naction = 'note'\n"
        f"[filters.dark]\nfilter_model = '{model}'\nlabels = ['Dark']\n"
        "[filters.words]\nwords = ['w.txt']\n[filters.words-noted]\nwords = ['w.txt']\naction = 'note'\n"
    )
    (tmp_path / "w.txt").write_text("secret\n")
    return tmp_path


def test_the_probability_is_that_of_the_selected_labels(model: Path, tmp_path: Path) -> None:
    def probability(folder: Path, value: int, *labels: str) -> float:
        policy = FilterPolicy("x", filter_model=str(folder), labels=labels)
        image = Image.new("RGB", (40, 30), (value,) * 3)
        return label_probability(resolve_filter_model(policy), image, "cpu", no_op)

    assert probability(model, 250, "dark") < 0.1 < 0.9 < probability(model, 5, "dark")
    assert probability(model, 5, "dark", "normal") == pytest.approx(1)
    several = classifier(tmp_path / "several", problem_type="multi_label_classification")
    assert probability(several, 5, "dark", "normal") == pytest.approx(probability(several, 5, "dark"))


def test_invalid_classifiers_and_labels_are_refused(model: Path, tmp_path: Path) -> None:
    def refusal(**values: Any) -> str:
        with pytest.raises(ArtgenError) as raised:
            resolve_filter_model(FilterPolicy("x", **{"filter_model": str(model), "labels": ("dark",), **values}))
        return str(raised.value)

    assert "does not have the label 'drak'" in refusal(labels=("drak",))
    assert "Labels: normal, dark" in refusal(labels=("drak",))
    other = tmp_path / "other"
    other.mkdir()
    for path in model.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["ResNetModel"]}))
    assert "not an image classifier, but ResNetModel" in refusal(filter_model=str(other))
    (other / "config.json").unlink()
    assert "has no config.json" in refusal(filter_model=str(other))


def test_images_are_refused_or_noted_and_the_result_is_recorded() -> None:
    plain = artgen.txt2img("a red fox", **FAST)
    assert "filter_results" not in plain.record
    with pytest.raises(FilteredError, match=r"The filter 'all' refused the image: the classifier found normal, dark"):
        artgen.txt2img("a red fox", filter="all", **FAST)
    noted = artgen.txt2img("a secret fox", filter=["noted", "words-noted"], **FAST)
    assert noted.record["filter_results"] == [
        "words-noted words: noted 'secret'", "noted filter_model: noted (normal, dark 1.000)"
    ]  # fmt: skip
    assert any("'words-noted'" in note for note in noted.notes)
    assert any("'noted'" in note for note in noted.notes)
    assert artgen.txt2img("a red fox", filter="dark", **FAST).image.tobytes() == plain.image.tobytes()


def test_a_classifier_of_the_hub_is_checked_before_and_downloaded_once(
    model: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = f"[filters.hub]\nfilter_model = '{REPO}'\nlabels = ['normal', 'dark']\n"
    (project / "artgen.toml").write_text(table)
    request = Txt2Img(prompt="a fox", filter=("hub",), **FAST)
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.files = {**folder_files(model), "pytorch_model.bin": b"pickle"}
        draft = prepare_jobs([request], download=False)[0]
        assert hub.downloads() == []
        assert any(f"The image classifier '{REPO}'" in note for note in draft.notes)
        job = prepare_jobs([request])[0]
        assert {*hub.downloads()} == {"config.json", "model.safetensors", "preprocessor_config.json"}
        assert job.filters.models[0].labels == ("normal", "dark")
        hub.requests.clear()
        prepare_jobs([request.replace(offline=True)])
        assert hub.downloads() == []
        (project / "artgen.toml").write_text(table.replace("['normal', 'dark']", "['nsfw']"))
        with pytest.raises(UsageError, match="does not have the label 'nsfw'"):
            prepare_jobs([request])
        hub.files = {}
        (project / "artgen.toml").write_text(table.replace(REPO, "own/missing"))
        with pytest.raises(ModelUnavailableError):
            prepare_jobs([request])


def test_a_transparent_image_is_classified_with_its_hidden_pixels(tmp_path: Path) -> None:
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save(tmp_path / "hidden.png")
    with pytest.raises(FilteredError, match="'dark'"):
        artgen.upscale(tmp_path / "hidden.png", by=1.5, filter="dark")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "white.png")
    assert artgen.upscale(tmp_path / "white.png", by=1.5, filter="dark").record["filter_results"]


def test_best_of_ignores_refused_images_and_a_series_reports_them() -> None:
    with pytest.raises(FilteredError):
        artgen.txt2img("a fox", best_of=2, score="model", filter="all", **FAST)
    with pytest.raises(SomeFailedError) as raised:
        artgen.txt2img("{secret|red} fox", filter="words", **{**FAST, "seed": list(range(8))})
    refused = [each for each in raised.value.outcomes if isinstance(getattr(each, "error", None), FilteredError)]
    assert 0 < len(refused) < 8
    assert all("secret" in each.request.prompt for each in refused)


def test_commands_exit_with_8_and_batches_do_not_generate_refused_images_again(project: Path) -> None:
    fast = ("--steps", "2", "--seed", "7")
    result = command_line.run("txt2img", "a secret fox", "--filter", "words", *fast, "-o", "a.png", code=8)
    assert "it contains 'secret'" in result.stderr
    assert not (project / "a.png").exists()
    command_line.run("txt2img", "a fox", "-o", "b.png", *fast)
    command_line.run("replay", "b.png", "--filter", "all", "-o", "c.png", code=8)
    command_line.run("variations", "b.png", "-c", "1", "--filter", "all", "-o", "c.png", code=8)
    command_line.run("morph", "b.png", "b.png", "--frames", "2", "--filter", "all", "-o", "c.webp", code=8)
    assert not [*project.glob("c.*")]
    (project / "prompts.txt").write_text("a secret fox\na red fox\n")
    batch = ("batch", "prompts.txt", "--filter", "words", *fast, "-o", "out/")
    result = command_line.run(*batch, code=7)
    assert "prompts.txt:1: The filter 'words' refused the prompt" in result.stderr
    assert len([*(project / "out").glob("*.png")]) == 1
    line_count = len((project / "out" / "artgen-ledger" / "jobs.jsonl").read_bytes().splitlines())
    assert "1 of 2 images failed" in command_line.run(*batch, code=7).stderr
    ledger = Ledger(project / "out")
    ledger.refresh()
    assert sorted(record.exit_code for record in ledger.records.values()) == [0, 8]
    assert len((project / "out" / "artgen-ledger" / "jobs.jsonl").read_bytes().splitlines()) == line_count
    command_line.run("batch", "prompts.txt", "--filter", "all", *fast, "-o", "none/", code=8)
    command_line.run("txt2img", "fox", "--sweep", "steps=1,2", "--filter", "all", "-o", "sweep/", code=8)
