"""Run the training recipe on a few icons, up to a folder that plain diffusers generates with."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest
from bits import same
from PIL import Image
from training_recipe import Recipe, write_packs

for needed in ("matplotlib", "resvg_py", "scipy", "tokenizers"):
    pytest.importorskip(needed)


def files_of(out: Path) -> list[Path]:
    """Return every file of an exported folder except SHA256SUMS."""
    return [path for path in out.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]


def first_column(table: Path) -> list[int]:
    """Return the steps of the rows of a training's CSV file."""
    with table.open() as lines:
        return [int(row[0]) for row in csv.reader(lines)]


def check_resuming(recipe: Recipe, focus: Path) -> None:
    """Compare a resumed training with an uninterrupted one: the weights are bit-identical."""
    import torch

    copy = recipe.work.with_name("copy")
    shutil.copytree(recipe.work, copy)
    small = ("--width", 32, 32, "--text-width", 64, "--text-layers", 1, "--batch", 4, "--threads", 1, "--focus", focus)
    recipe.run("train.py", *small, "--steps", 4)
    recipe.run("train.py", *small, "--steps", 4, "--until", 2, work=copy)
    halfway = torch.load(copy / "text_to_image.pt", weights_only=False)
    recipe.run("train.py", *small, "--steps", 4, work=copy)
    uninterrupted, resumed = (
        torch.load(folder / "text_to_image.pt", weights_only=False) for folder in (recipe.work, copy)
    )
    assert (halfway["step"], resumed["step"]) == (2, 4)
    assert not same(halfway["module"], resumed["module"])
    for part in ("module", "average", "optimiser", "numpy"):
        assert same(uninterrupted[part], resumed[part]), part


def check_distillation(recipe: Recipe, focus: Path) -> None:
    """Compare a resumed distillation with an uninterrupted one; the student differs from the teacher."""
    import torch

    copy = recipe.work.with_name("distilled-copy")
    shutil.copytree(recipe.work, copy)
    small = ("--data", recipe.raw, "--batch", 4, "--threads", 1, "--focus", focus, "--steps", 3)
    recipe.run("distill_text_encoder.py", *small)
    recipe.run("distill_text_encoder.py", *small, "--until", 1, work=copy)
    recipe.run("distill_text_encoder.py", *small, work=copy)
    uninterrupted, resumed = (torch.load(folder / "distilled.pt", weights_only=False) for folder in (recipe.work, copy))
    for part in ("module", "average", "optimiser", "numpy"):
        assert same(uninterrupted[part], resumed[part]), part
    assert not same(uninterrupted["module"], torch.load(recipe.work / "text_to_image.pt", weights_only=False)["module"])


def check_upscaling(recipe: Recipe) -> None:
    """Train both larger autoencoders in two runs; the second run does not change the encoder."""
    import torch
    from diffusers import AutoencoderKL

    small = ("--batch", 2, "--encoder-steps", 1, "--threads", 1, "--images", 10)
    parts = []
    for steps in (2, 3):
        recipe.run("train_upscale.py", *small, "--steps", steps)
        parts.append(AutoencoderKL.from_pretrained(recipe.work / "vae128").state_dict())
    before, after = parts
    assert first_column(recipe.work / "upscale128.csv") == [2, 3]
    changed = {name.split(".")[0] for name in before if not same(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}
    check_adversarial_training(recipe, small)
    vae = AutoencoderKL.from_pretrained(recipe.work / "vae256").eval()
    with torch.no_grad():
        assert vae.decode(torch.zeros(1, 16, 8, 8)).sample.shape == (1, 3, 256, 256)
    shutil.rmtree(recipe.work / "vae256")  # the other steps use the smaller images


def check_adversarial_training(recipe: Recipe, small: tuple[object, ...]) -> None:
    """Compare a resumed training with a discriminator with an uninterrupted one: the weights are bit-identical."""
    import torch

    copy = recipe.work.with_name("upscaled-copy")
    shutil.copytree(recipe.work, copy)
    more = ("--more", recipe.work, "--side", 256, "--width", 16, "--adversarial-from", 0.3, "--steps", 3)
    recipe.run("train_upscale.py", *small, *more)
    recipe.run("train_upscale.py", *small, *more, "--until", 2, work=copy)
    recipe.run("train_upscale.py", *small, *more, work=copy)
    contents = [torch.load(folder / "upscale256.pt", weights_only=False) for folder in (recipe.work, copy)]
    for part in ("module", "average", "optimiser", "numpy", "adversary"):
        assert same(contents[0][part], contents[1][part]), part


def check_further_training(recipe: Recipe, out: Path, focus: Path) -> None:
    """Train an exported model further on scenes with landscapes."""
    import torch

    stages, data = recipe.work.with_name("stages"), ("--data", recipe.raw)
    stages.mkdir()
    for name in ("sprites.npy", "sprites.json"):
        shutil.copy(recipe.work / name, stages)
    kinds = json.dumps({"landscape": 0.4, "stage": 0.3, "relation": 0.1, "group": 0.1, "trio": 0.1})
    recipe.run("render.py", *data, "--scenes", 40, "--side", 128, "--captions", 3, "--kinds", kinds, work=stages)
    scenes = json.loads((stages / "scenes.json").read_text())
    assert {scene["kind"] for scene in scenes} == {"landscape", "stage", "relation", "group", "trio"}
    recipe.run("tokenizer.py", *data, "--tokenizer", out / "tokenizer", work=stages)
    recipe.run("encode.py", "--vae", out / "vae", "--threads", 1, work=stages)
    small = ("--width", 32, 32, "--text-width", 64, "--text-layers", 1, "--batch", 4, "--threads", 1, "--steps", 1)
    shutil.copytree(out / "tokenizer", stages / "tokenizer", dirs_exist_ok=True)
    shutil.copytree(recipe.work / "vae", stages / "vae")
    recipe.run("train.py", *small, "--model", out, "--focus", focus, "--rate", 1e-12, work=stages)
    before, after = (
        torch.load(folder / "text_to_image.pt", weights_only=False)["average"] for folder in (recipe.work, stages)
    )
    assert all(torch.allclose(first, second, atol=2e-3) for first, second in zip(before, after, strict=True))


def check_evaluation(recipe: Recipe, out: Path, focus: Path) -> None:
    """Evaluate the exported model and write its card."""
    recipe.run("concept_classifier.py", "--data", recipe.raw, "--images", 64, "--passes", 1, "--threads", 1)
    few = ("--others", 2, "--images", 3, "--steps", 1, "--threads", 1)
    measured = recipe.work / "evaluation"
    recipe.run("evaluate.py", "--data", recipe.raw, "--model", out, "--out", measured, "--focus", focus, *few)
    figures = json.loads((measured / "evaluation.json").read_text())
    concepts = figures["concepts"]
    assert (concepts["taught concepts"], concepts["other concepts"]) == (4, 2)
    assert [concepts[group]["pictures"] for group in ("taught", "others", "all", "unseen phrasing")] == [8, 4, 12, 4]
    assert set(concepts["taught, among five on neither seed"]) <= set(concepts["taught, first on neither seed"])
    assert set(concepts["taught, first on neither seed"]) <= {"fox", "cat", "frog", "pizza"}
    assert (measured / "contact_sheet.png").is_file()
    recipe.run("scene_classifier.py", "--data", recipe.raw, "--images", 128, "--passes", 1, "--threads", 1)
    few = ("--per-kind", 1, "--steps", 1, "--threads", 1)
    recipe.run("evaluate_scenes.py", "--data", recipe.raw, "--model", out, "--out", measured, *few)
    scenes = json.loads((measured / "scenes.json").read_text())
    assert scenes["judge on real renders"]["classes"] == len(scenes["plain"]["kinds"]) == 15
    assert {scenes[name]["pictures"] for name in ("plain", "captions", "unseen phrasing")} == {15}
    assert Image.open(measured / "scene_sheet.png").size == (6 * 128, 4 * 128)
    similarity = {
        "training images": 30,
        "generated": {"images": 2, "maximum": 0.5},
        "held-out": {"images": 3, "maximum": 0.6},
    }
    (measured / "similarity.json").write_text(json.dumps(similarity))
    recipe.run("model_card.py", "--evaluation", measured, "--out", out, "--batch", 4)
    card = (out / "README.md").read_text()
    for text in (
        "was trained on 4 everyday concepts",
        "trained, 8 images",
        "30 scenes with 4 captions each",
        "4 steps with batch size 4, 16 samples",
        "| maximum | 0.5 | 0.6 |",
    ):
        assert text in card
    recipe.run("word_list.py", "--data", recipe.raw, "--out", out, "--focus", focus)
    subjects = json.loads((out / "words.json").read_text())["subjects"]
    assert {noun for group in subjects.values() for noun in group} <= {"fox", "cat", "frog", "pizza"}
    sums = dict(reversed(line.split()) for line in (out / "SHA256SUMS").read_text().splitlines())
    expected = {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files_of(out)}
    assert sums == expected


@pytest.mark.slow
def test_recipe_exports_a_model_that_plain_diffusers_generates_with(tmp_path: Path) -> None:
    import torch
    from diffusers import StableDiffusionPipeline

    recipe, out, focus = Recipe(tmp_path / "recipe", "train_tiny"), tmp_path / "model", tmp_path / "focus.txt"
    write_packs(recipe.raw)
    focus.write_text("# four of the seven\nfox cat frog pizza\n")
    data = ("--data", recipe.raw)

    assert "21 of 21 icons rendered" in recipe.run("sprites.py", *data)
    for steps in (2, 3):
        arguments = ("--batch", 4, "--width", 16, 16, 16, 16, "--threads", 1)
        recipe.run("train_autoencoder.py", "--steps", steps, *arguments)
    assert first_column(recipe.work / "ae.csv") == [2, 3]
    assert "30 scenes rendered" in recipe.run(
        "render.py", *data, "--scenes", 30, "--captions", 4, "--filler-captions", 1
    )
    recipe.run("tokenizer.py", *data, "--size", 600)
    recipe.run("encode.py", "--threads", 1)
    check_resuming(recipe, focus)
    check_distillation(recipe, focus)
    check_upscaling(recipe)
    recipe.run("provenance.py", "--out", out)
    recipe.run("export.py", "--out", out)

    pipeline = StableDiffusionPipeline.from_pretrained(out)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline("a red fox", num_inference_steps=2, generator=torch.Generator().manual_seed(0)).images[0]
    assert image.size == (128, 128)
    assert any(low != high for low, high in image.getextrema())
    check_further_training(recipe, out, focus)
    check_evaluation(recipe, out, focus)
