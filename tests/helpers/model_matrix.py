"""Compare artgen with plain diffusers for each tiny model and each task.

`docs/supported-models.json` contains the expected outcome of each cell: a pipeline class of diffusers whose image is
byte-identical to artgen's image, or None if artgen refuses the task. This command computes the outcomes again:

python tests/helpers/model_matrix.py [MODEL...]
"""

import inspect
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import plain_scripts as plain
import sample_images
import torch
import transformers
from PIL import Image
from tiny_zoo import BUILDERS, Zoo

import artgen
from artgen import ArtgenError, images
from artgen.engine.loading.processors import usable_class
from artgen.engine.sampling.outcomes import opaque

MATRIX_FILE = Path(__file__).resolve().parents[2] / "docs" / "supported-models.json"
TASKS = ("txt2img", "img2img", "inpaint", "outpaint", "edit", "sample")
SIDE_PX = 64
SIDES_PX = {"hidream": 1024, "kandinsky5": 1024, "kandinsky5-i2i": 1024, "ddpm": 32, "ddim": 32}
STEPS = 4
STEPS_BY_MODEL = {
    "sana-sprint": 2, "consistency": 1, "consistency-classes": 1, "kandinsky5-i2i": 1, "qwen-image-edit": 1,
    "qwen-image-edit-plus": 1,
}  # fmt: skip
STRENGTH = 0.75
GUIDANCE_SCALE = 3.0
SEED = 7
PROMPT = "a red fox"

CONSTANT_ARGUMENTS: Mapping[str, Any] = {"use_resolution_binning": False, "use_pe": False}
"""Arguments that artgen sets for the models that have them: the requested size and the prompt of the user are used."""
UNGUIDED_MODELS = ("flux-schnell", "flux2-klein", "flux2-klein-kv")
"""Models that refuse a guidance scale."""
GUIDANCE_SCALES = {"z-image-turbo": 0.0, "krea2-turbo": 0.0}
CLASS_LABELS = {"dit": "1", "consistency-classes": "1"}
LOADED_WITHOUT = {"sd3-without-t5": ("text_encoder_3", "tokenizer_3")}


@dataclass(frozen=True)
class Outcome:
    """Store the outcome of a cell.

    Attributes:
        pipeline: pipeline class of diffusers with the same bytes; None if artgen refuses the task.
        error: refusal of artgen, or the difference.
        is_fault: whether artgen neither generates the same bytes nor refuses the task with an `ArtgenError`.
    """

    pipeline: str | None
    error: str = ""
    is_fault: bool = False


def expected_outcomes() -> dict[str, dict[str, str | None]]:
    """Return the pipeline class of each task (None: refused) by model."""
    table: dict[str, dict[str, str | None]] = json.loads(MATRIX_FILE.read_text(encoding="utf-8"))
    return table


def compare(name: str, folder: Path, task: str, work: Path) -> Outcome:
    """Generate an image with artgen and with plain diffusers, and compare the bytes.

    Args:
        name: model of the zoo.
        folder: its folder.
        task: one of `TASKS`.
        work: folder for the input images.
    """
    side = SIDES_PX.get(name, SIDE_PX)
    photo = sample_images.photo(work / "photo.png", side, side)
    mask = sample_images.mask(work / "mask.png", side, side, (side // 4, side // 8, side // 2, side // 2))
    pipeline = _pipeline_class(folder, task)
    try:
        ours = _ours(name, folder, task, photo, mask)
    except ArtgenError as error:
        # The decoder of Kandinsky 2.2 needs a prior from the hub.
        is_by_design = not pipeline or error.message.startswith(("Cannot use '", "The prior "))
        return Outcome(None, error.message, is_fault=not is_by_design)
    theirs = _theirs(name, folder, pipeline, task, photo, mask)
    if ours.size != theirs.size:
        return Outcome(pipeline, f"artgen: {ours.size}, diffusers: {theirs.size}", is_fault=True)
    if not sample_images.same(ours, theirs):
        return Outcome(pipeline, f"differs by {sample_images.difference(ours, theirs)} levels", is_fault=True)
    return Outcome(pipeline)


def _guidance(name: str) -> dict[str, float]:
    return {} if name in UNGUIDED_MODELS else {"guidance_scale": GUIDANCE_SCALES.get(name, GUIDANCE_SCALE)}


def _ours(name: str, folder: Path, task: str, photo: Path, mask: Path) -> Image.Image:
    side = SIDES_PX.get(name, SIDE_PX)
    shared: dict[str, Any] = {
        "model": str(folder),
        "seed": SEED,
        "steps": STEPS_BY_MODEL.get(name, STEPS),
        "offline": True,
    }
    if task == "sample":
        return artgen.generate(artgen.Sample(class_label=CLASS_LABELS.get(name), **shared)).image
    shared |= {"prompt": PROMPT, **_guidance(name)}
    editing = {"image": photo, **({} if _has_no_strength(folder, task) else {"strength": STRENGTH})}
    request: artgen.Request
    if task == "txt2img":
        request = artgen.Txt2Img(width=side, height=side, **shared)
    elif task == "img2img":
        request = artgen.Img2Img(**editing, **shared)
    elif task == "edit":
        request = artgen.Edit(image=photo, **shared)
    elif task == "inpaint":
        request = artgen.Inpaint(mask=mask, keep_original=False, **editing, **shared)
    else:
        del editing["image"]
        sample_images.photo(photo, side // 2, side // 2)
        expand = f"left={side // 4},right={side // 4},top={side // 2}"
        request = artgen.Outpaint(image=photo, expand=expand, keep_original=False, **editing, **shared)
    return artgen.generate(request).image


def _has_no_strength(folder: Path, task: str) -> bool:
    """Return whether the pipeline of a task has no strength: it uses the image as a reference, or as further input."""
    pipeline = _pipeline_class(folder, task)
    call = getattr(diffusers, pipeline).__call__ if pipeline else None
    return call is not None and "strength" not in inspect.signature(call).parameters


def _pipeline_class(folder: Path, task: str) -> str:
    """Return the pipeline class of a task that the documentation of diffusers names for a model."""
    from artgen.registry.pipelines import find_entry

    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    entry = find_entry(index["_class_name"], index)
    if entry is None:
        return ""
    config = folder / entry.denoiser / "config.json"
    denoiser = json.loads(config.read_text(encoding="utf-8")) if config.is_file() else {}
    entry = find_entry(index["_class_name"], index, denoiser)
    return entry.tasks.get(task, "") if entry else ""


def _theirs(name: str, folder: Path, pipeline: str, task: str, photo: Path, mask: Path) -> Image.Image:
    cls = getattr(diffusers, pipeline)
    with plain.quiet():
        pipe = cls.from_pretrained(folder, **dict.fromkeys(LOADED_WITHOUT.get(name, ())), **_processors(folder))
    pipe.set_progress_bar_config(disable=True)
    if pipeline == "ChromaInpaintPipeline":
        # The pipeline reads this key, which the configuration of the transformer does not have (diffusers 0.42).
        pipe.transformer.register_to_config(guidance_embeds=False)
    accepted = inspect.signature(pipe.__call__).parameters
    side = SIDES_PX.get(name, SIDE_PX)
    image, mask_image = Image.open(photo), Image.open(mask)
    if task == "outpaint":
        quarter = side // 4
        image, mask_image = images.expand_canvas(image, left=quarter, right=quarter, top=side // 2)
    values: dict[str, Any] = {
        "prompt": PROMPT,
        "num_inference_steps": STEPS_BY_MODEL.get(name, STEPS),
        "width": side,
        "height": side,
        "max_area": side * side,
        **CONSTANT_ARGUMENTS,
        **_guidance(name),
    }
    if pipeline == "HunyuanImagePipeline":
        values["distilled_guidance_scale"] = GUIDANCE_SCALE
        pipe.guider = pipe.guider and pipe.guider.new(guidance_scale=GUIDANCE_SCALE)
    if "true_cfg_scale" in accepted and pipeline.startswith("QwenImage"):
        values |= {"true_cfg_scale": GUIDANCE_SCALE, "negative_prompt": " "}
    if name in CLASS_LABELS:
        values["class_labels"] = [int(CLASS_LABELS[name])]
        del values["guidance_scale"]
    if task in ("img2img", "inpaint", "outpaint", "edit"):
        values |= {"image": image, "strength": STRENGTH}
    if task in ("inpaint", "outpaint"):
        values |= {"mask_image": mask_image, "_auto_resize": False}  # Flux Kontext would change the size
    if task == "img2img" and pipeline.startswith(("StableDiffusionImg", "StableDiffusionXLImg", "LatentCons")):
        del values["width"], values["height"]
    kwargs = {key: value for key, value in values.items() if key in accepted}
    if pipeline == "QwenImage21Pipeline":  # returns images with transparency
        kwargs["output_type"] = "np"
    output = pipe(generator=torch.Generator("cpu").manual_seed(SEED), **kwargs)
    if pipeline == "QwenImage21Pipeline":
        return Image.fromarray((opaque(output.images[0]) * 255).round().astype(np.uint8))
    result: Image.Image = (output.image if pipeline.startswith("Kandinsky5") else output.images)[0]
    return result


def _processors(folder: Path) -> dict[str, Any]:
    """Return the processors of a model that diffusers cannot load without torchvision, by name of the component."""
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    classes = {
        name: getattr(transformers, entry[1])
        for name, entry in index.items()
        if isinstance(entry, list) and str(entry[1]).endswith("VLProcessor")
    }
    return {name: usable_class(cls).from_pretrained(folder / name) for name, cls in classes.items()}


def _row(name: str, folder: Path, outcomes: Mapping[str, Outcome]) -> dict[str, str | None]:
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    description = (BUILDERS[name].__doc__ or "").removeprefix("Build ").rstrip(".")
    cells = {task: outcome.pipeline for task, outcome in outcomes.items()}
    return {"class": index["_class_name"], "description": description, **cells}


def main(names: list[str]) -> int:
    """Compute the outcomes of all cells, print the faults, and write the outcomes of the models without faults."""
    torch.set_num_threads(1)
    table = expected_outcomes() if MATRIX_FILE.exists() else {}
    num_faults = 0
    with tempfile.TemporaryDirectory() as temporary:
        zoo = Zoo(Path(temporary))
        for name in names or list(zoo):
            outcomes = {}
            for task in TASKS:
                try:
                    outcomes[task] = compare(name, zoo[name], task, Path(temporary))
                except Exception as error:
                    outcomes[task] = Outcome(None, f"{type(error).__name__}: {error}", is_fault=True)
            for task, outcome in outcomes.items():
                text = "fault" if outcome.is_fault else outcome.pipeline or "refused"
                print(f"{name} {task}: {text}. {outcome.error}", flush=True)
            num_faults += sum(outcome.is_fault for outcome in outcomes.values())
            table[name] = _row(name, zoo[name], outcomes)
    print(f"{num_faults} faults.")
    MATRIX_FILE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 1 if num_faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
