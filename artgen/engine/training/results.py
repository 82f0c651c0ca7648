"""What a training ends in: a LoRA in one file, or a model folder in diffusers' layout."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

import artgen
from artgen.engine import loading
from artgen.engine.training import lora
from artgen.engine.training.assembling import Assembly
from artgen.errors import OutputError
from artgen.outputs import write_over
from artgen.training.plans import Plan


def write(assembly: Assembly, steps: int, datasheet: str) -> Path:
    """Writes the result, whole or not at all, over one of that name.

    Args:
        assembly: with the weights that are to be kept.
        steps: that were done.
        datasheet: the SHA-256 of what was learnt from.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    plan = assembly.plan
    place = plan.layout.result
    about = record(plan, steps, datasheet)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if plan.settings.kind == "lora":
            tensors = lora.tensors(assembly.parts, plan.settings.progress.lora_format)
            write_over(place, save(tensors, metadata(plan, about)))
        else:
            _write_folder(assembly, place, about)
    except OSError as error:
        raise OutputError(
            f"'{place}' cannot be written: {error.strerror or error}.", "Make room, and add --resume."
        ) from error
    return place


def record(plan: Plan, steps: int, datasheet: str) -> dict[str, Any]:
    """What the result says of its making, as JSON values."""
    settings = {name: value for name, value in plan.record().items() if name not in ("pictures", "captions")}
    return {
        "artgen": artgen.__version__,
        "kind": plan.settings.kind,
        "steps": steps,
        "base_model": plan.model.label if plan.model.source == plan.model.path.name else plan.model.name,
        "base_model_source": plan.model.source,
        "base_model_revision": plan.model.revision,
        "base_model_hash": plan.model.model_hash(),
        "architecture": plan.model.architecture,
        "trigger": plan.settings.learning.trigger,
        "pictures": len(plan.pictures.examples),
        "datasheet_sha256": datasheet,
        "settings": {name: value for name, value in settings.items() if value is not None and name != "model"},
    }


def metadata(plan: Plan, about: Mapping[str, Any]) -> dict[str, str]:
    """The header's metadata of a LoRA: artgen's record as JSON, and what other tools look for."""
    title = plan.layout.result.stem
    facts = {
        "format": "pt",
        "artgen": json.dumps(about),
        "ss_sd_model_name": str(about["base_model"]),
        "ss_sd_model_hash": str(about["base_model_hash"])[:10],
        "ss_output_name": title,
        "ss_steps": str(about["steps"]),
        "ss_learning_rate": str(plan.settings.optimisation.learning_rate),
        "modelspec.title": title,
        "modelspec.resolution": f"{plan.resolution}x{plan.resolution}",
        **lora.kohya_facts(plan.settings.learning.rank, plan.model.architecture),
    }
    if trigger := plan.settings.learning.trigger:
        facts["modelspec.trigger_phrase"] = trigger
    return facts


def _write_folder(assembly: Assembly, place: Path, about: Mapping[str, Any]) -> None:
    """The whole pipeline with what was learnt in it, so that it can be used with `--model`."""
    temporary = place.with_name(f".{place.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    model = assembly.plan.model
    try:
        with loading.quiet():
            assembly.pipe.save_pretrained(temporary, safe_serialization=True)
        own = {
            "width": model.native[0], "height": model.native[1], "steps": model.steps,
            "guidance_scale": model.guidance_scale, "scheduler": model.scheduler, "sigmas": model.sigmas,
            "description": f"{model.label}, trained on", "training": dict(about),
        }  # fmt: skip
        known = {name: value for name, value in own.items() if value is not None}
        (temporary / "artgen.json").write_text(json.dumps(known, indent=1), "utf-8")
        if place.exists():
            shutil.rmtree(place)
        temporary.replace(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
