"""Run the recipe of the control net on a few synthetic icons, with the bundled model as the model to control."""

import json
import shutil
from pathlib import Path

import pytest
from bits import same
from training_recipe import Recipe, write_packs

for needed in ("matplotlib", "resvg_py"):
    pytest.importorskip(needed)


def check_resuming(recipe: Recipe) -> None:
    """Compare a resumed training with an uninterrupted one: the weights are bit-identical."""
    import torch

    copy = recipe.work.with_name("copy")
    shutil.copytree(recipe.work, copy)
    small = ("--batch", 2, "--threads", 1, "--steps", 4)
    recipe.run("train_control.py", *small)
    recipe.run("train_control.py", *small, "--until", 2, work=copy)
    halfway = torch.load(copy / "control.pt", weights_only=False)
    recipe.run("train_control.py", *small, work=copy)
    uninterrupted, resumed = (torch.load(folder / "control.pt", weights_only=False) for folder in (recipe.work, copy))
    assert (halfway["step"], resumed["step"]) == (2, 4)
    assert not same(halfway["module"], resumed["module"])
    for part in ("module", "average", "optimiser", "numpy"):
        assert same(uninterrupted[part], resumed[part]), part


@pytest.mark.slow
def test_recipe_exports_a_net_that_diffusers_loads(tmp_path: Path) -> None:
    from diffusers import ControlNetModel

    recipe, out, focus = Recipe(tmp_path / "recipe", "train_control"), tmp_path / "net", tmp_path / "focus.txt"
    write_packs(recipe.raw)
    focus.write_text("fox cat frog pizza\n")
    data = ("--data", recipe.raw)
    recipe.run("../train_tiny/sprites.py", *data)
    render = ("--scenes", 6, "--captions", 2, "--focus", focus, "--threads", 1)
    assert "6 scenes" in recipe.run("render_control.py", *data, *render)
    check_resuming(recipe)
    recipe.run("export_control.py", "--out", out)
    assert ControlNetModel.from_pretrained(out).config.mid_block_type == "UNetMidBlock2D"

    recipe.run("../train_tiny/concept_classifier.py", *data, "--images", 64, "--passes", 1, "--threads", 1)
    measured = recipe.work / "evaluation"
    few = ("--images", 2, "--concepts", 2, "--steps", 1, "--threads", 1, "--focus", focus)
    recipe.run("evaluate_control.py", *data, "--net", out, "--out", measured, *few)
    figures = json.loads((measured / "evaluation.json").read_text())
    assert (figures["edges"]["pictures"], figures["concepts"]["pictures"]) == (2, 2)
    recipe.run("describe_control.py", "--evaluation", measured, "--out", out, "--batch", 2)
    card = (out / "README.md").read_text()
    for text in ("4 steps with batch size 2, 8 samples", "6 scenes", "2 images"):
        assert text in card
    assert "README.md" in (out / "SHA256SUMS").read_text()
