"""Test masks that a text selects, with tiny mask models."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import command_line, tiny_mask_models
from PIL import Image

import artgen
from artgen.engine.text_masks.models import load_scorer
from artgen.errors import ModelUnavailableError, RefusedError, UsageError
from artgen.events import no_op
from artgen.registry.mask_models import mask_model_entries, resolve_mask_model


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mask-models")
    tiny_mask_models.clipseg(folder / "clipseg")
    tiny_mask_models.owlv2(folder / "owlv2")
    tiny_mask_models.sam(folder / "sam")
    return folder


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (12, 16, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels, "RGB").resize((128, 96)).save(path)
    return path


def _run(*arguments):
    return command_line.run(*map(str, arguments), code=None)


def _record(path):
    return json.loads(_run("info", path, "--json").stdout)


def _inpaint(photo, models, output, *options):
    return _run(
        *("inpaint", photo, "a fox", "--mask-model", models / "clipseg", "--steps", 1, "--seed", 3, "-o", output),
        *("--model", "tiny", *options),
    )


@pytest.mark.parametrize("name", ["clipseg", "owlv2+sam"])
def test_scores_have_the_size_of_the_image_and_differ_between_pixels(models, photo, name):
    address = "+".join(str(models / part) for part in name.split("+"))
    scorer = load_scorer(resolve_mask_model(address), "cpu", no_op)
    scores = scorer.scores(Image.open(photo), "a red fox")
    assert scores.shape == (96, 128)
    assert scores.dtype == np.float32
    assert 0 <= scores.min() < scores.max() <= 1
    again = scorer.scores(Image.open(photo), "a red fox")
    assert (scores == again).all()


def test_clipseg_scores_equal_plain_transformers(models, photo):
    import torch
    from transformers import CLIPSegForImageSegmentation, CLIPSegProcessor

    image = Image.open(photo)
    model = CLIPSegForImageSegmentation.from_pretrained(models / "clipseg").eval()
    inputs = CLIPSegProcessor.from_pretrained(models / "clipseg")(text=["a fox"], images=[image], return_tensors="pt")
    with torch.inference_mode():
        expected = torch.sigmoid(model(**inputs).logits).reshape(32, 32).numpy()
    expected = np.asarray(Image.fromarray(expected, "F").resize(image.size, Image.Resampling.BILINEAR))
    found = load_scorer(resolve_mask_model(str(models / "clipseg")), "cpu", no_op).scores(image, "a fox")
    assert found == pytest.approx(expected.clip(0, 1), abs=1e-6)


def test_mask_command_writes_masks_of_images_and_folders(models, photo, tmp_path):
    options = ("--mask-model", models / "clipseg", "--mask-threshold", "0.45")
    file = tmp_path / "mask.png"
    result = _run("mask", photo, "a fox", "-o", file, "--grow", 2, *options)
    assert result.exit_code == 0, result.stderr
    assert Image.open(file).size == (128, 96)
    assert _run("mask", photo, "a cat", "-o", file, *options).exit_code == 74
    several = _run("mask", photo, file, "a fox", "-o", file, *options)
    assert several.exit_code == 2
    assert "masks/" in several.stderr
    result = _run("mask", photo, file, "a fox", "-o", tmp_path / "masks", "--json", *options)
    assert result.exit_code == 2
    result = _run("mask", photo, "a fox", "-o", f"{tmp_path / 'masks'}/", "--json", *options)
    record = json.loads(result.stdout)
    mask = np.asarray(Image.open(record["mask"]))
    assert record["share"] == pytest.approx((mask == 255).mean())
    found = artgen.mask(photo, "a fox", mask_model=str(models / "clipseg"), mask_threshold=0.45)
    assert (np.asarray(found.mask) == mask).all()
    assert _run("mask", photo).exit_code == 2


def test_unmasked_pixels_are_exact_and_replay_needs_no_mask_model(models, photo, tmp_path):
    copy = shutil.copytree(models / "clipseg", tmp_path / "gone")
    first = tmp_path / "first.png"
    result = _run(
        *("inpaint", photo, "a fox", "--mask-text", "fox AND NOT cat{+2}", "--mask-model", copy, "--grow", 3),
        *("--save-mask", tmp_path / "mask.png", "--steps", 1, "--seed", 3, "-o", first, "--model", "tiny"),
        *("--mask-threshold", "0.4"),
    )
    assert result.exit_code == 0, result.stderr
    assert "selects" in result.stderr
    mask, source, image = (np.asarray(Image.open(path)) for path in (tmp_path / "mask.png", photo, first))
    assert 0 < (mask == 255).mean() < 1
    assert (image[mask == 0] == source[mask == 0]).all()
    assert (image[mask == 255] != source[mask == 255]).any()
    shutil.rmtree(copy)

    for name, change in {"same": [], "seed": ["--set", "seed=4"], "feather": ["--set", "feather=2"]}.items():
        replayed = tmp_path / f"{name}.png"
        result = _run("replay", first, "-o", replayed, *change)
        assert result.exit_code == 0, result.stderr
        assert _record(replayed)["mask_model_source"] == _record(first)["mask_model_source"] == ["local"]
        pixels = np.asarray(Image.open(replayed))
        assert (pixels[mask == 0] == source[mask == 0]).all()
        assert (pixels == image).all() == (name == "same")

    changed = _run("replay", first, "-o", tmp_path / "cat.png", "--set", "mask_text=cat")
    assert changed.exit_code == 4
    assert "mask_model=PATH" in changed.stderr
    given = ["--set", "mask_text=cat", "--set", f"mask_model={models / 'clipseg'}"]
    assert _run("replay", first, "-o", tmp_path / "cat.png", *given).exit_code == 0
    by_file = _run("replay", first, "-o", tmp_path / "f.png", "--set", f"mask={tmp_path / 'mask.png'}")
    assert by_file.exit_code == 0, by_file.stderr


def test_empty_mask_fails_one_image_of_a_batch(models, photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(photo, folder / "a.png")
    Image.new("RGB", (128, 96), "black").save(folder / "b.png")
    scorer = load_scorer(resolve_mask_model(str(models / "clipseg")), "cpu", no_op)
    highest = {path.name: scorer.scores(Image.open(path), "a fox").max() for path in folder.iterdir()}
    low, high = sorted(highest, key=highest.get)
    threshold = float(np.mean(list(highest.values())))
    if highest[low] == highest[high]:
        pytest.skip("the scores of the two images are equal")
    result = _inpaint(folder, models, tmp_path / "out/", "--mask-text", "a fox", "--mask-threshold", f"{threshold:.6f}")
    assert result.exit_code == 7, result.stderr
    assert f"Nothing in '{low}' matches 'a fox': the highest score is" in result.stderr
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == [high]


def test_nothing_found_is_refused_with_the_highest_score(models, photo, tmp_path):
    text = "(fox AND NOT fox)"
    result = _inpaint(photo, models, tmp_path / "x.png", "--mask-text", text, "--mask-threshold", "0.9")
    assert result.exit_code == 3
    assert "the highest score is 0.5" in result.stderr or "the highest score is 0.4" in result.stderr
    assert "--mask-threshold 0." in result.stderr
    everything = _inpaint(photo, models, tmp_path / "y.png", "--mask-text", "fox OR NOT fox", "--mask-threshold", "0.4")
    assert everything.exit_code == 0
    assert "covers almost the whole image" in everything.stderr


def test_recorded_mask_model_is_never_a_path(models, photo, tmp_path):
    first = tmp_path / "first.png"
    assert _inpaint(photo, models, first, "--mask-text", "fox", "--mask-threshold", "0.3").exit_code == 0
    record = json.loads(_run("info", first, "--json").stdout)
    assert record["mask_model"] == "local:clipseg"
    assert str(models) not in json.dumps({**record, "file": ""})
    for name, value, code in (
        ("mask_model", str(models / "clipseg"), 5),
        ("mask_data", record["mask_data"][:40] + "AAAA", 3),
        ("mask_data", "0" * 32 + record["mask_data"][32:], 4),
    ):
        path = tmp_path / "record.json"
        path.write_text(json.dumps({**record, name: value}))
        result = _run("replay", path, "-o", tmp_path / "replayed.png")
        assert result.exit_code == code, (name, result.stderr)


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("nothing", UsageError, "Unknown mask model"),
        ("clipseg+sam", UsageError, "needs no segmenter"),
        ("sam", ModelUnavailableError, "not clipseg or grounding-dino"),
        ("owlv2+clipseg", ModelUnavailableError, "not sam"),
        ("local:clipseg", ModelUnavailableError, "was a folder"),
    ],
)
def test_unsuitable_mask_model_is_refused(models, name, error, text):
    parts = [str(models / part) if (models / part).exists() else part for part in name.split("+")]
    with pytest.raises(error, match=text):
        resolve_mask_model("+".join(parts), offline=True)


def test_pickled_mask_model_is_refused(models, tmp_path):
    folder = shutil.copytree(models / "clipseg", tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(RefusedError, match="pickle"):
        resolve_mask_model(str(folder))


def test_damaged_mask_model_is_refused(models, tmp_path):
    folder = shutil.copytree(models / "clipseg", tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(ModelUnavailableError, match="Cannot load the mask model"):
        load_scorer(resolve_mask_model(str(folder)), "cpu", no_op)


def test_dry_run_prints_downloads(photo):
    result = _run(
        *("inpaint", photo, "a fox", "--mask-text", "dog", "--mask-model", "owlv2", "--model", "tiny", "--dry-run")
    )
    assert result.exit_code == 0, result.stderr
    for name in ("owlv2", "sam"):
        entry = mask_model_entries()[name]
        assert f"'{entry.source}' ({entry.license}) will be downloaded" in result.stderr


def test_defaults_of_text_masks_are_ignored_with_a_mask_file(photo):
    Image.new("L", (128, 96), 255).save("mask.png")
    arguments = ("inpaint", photo, "a fox", "--mask", "mask.png", "--model", "tiny", "--dry-run")
    defaults = {"grow": 3, "mask_threshold": 0.4, "mask_model": "owlv2"}
    for others in ({}, {"mask_text": "dog"}):  # the typed --mask replaces a default of mask_text
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in (defaults | others).items()]
        Path("artgen.toml").write_text("[inpaint]\n" + "".join(lines))
        result = _run(*arguments)
        assert result.exit_code == 0, result.stderr
        for name in defaults:
            note = f"The default of {name} from the environment or a configuration file is ignored: {name} needs"
            assert note in result.stderr
        assert not [name for name in {**defaults, "mask_text": ""} if name in result.stdout]
    for name, value in defaults.items():
        typed = _run(*arguments, f"--{name.replace('_', '-')}", value)
        assert (typed.exit_code, f"{name} needs mask_text" in typed.stderr) == (2, True)
