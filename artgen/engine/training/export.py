"""What a training ends in: a LoRA in one file, or a model folder in diffusers' layout."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from artgen._version import __version__
from artgen.engine.loading import pipeline_cache
from artgen.engine.training import lora
from artgen.engine.training.setup import TrainingSetup
from artgen.errors import OutputError
from artgen.jobs.training_plan import TrainingPlan
from artgen.outputs import atomic_replace


def export_result(setup: TrainingSetup, steps: int, datasheet_sha256: str) -> Path:
    """Writes the result, whole or not at all, over one of that name.

    Args:
        setup: with the weights that are to be kept.
        steps: that were done.
        datasheet_sha256: the SHA-256 of what was learnt from.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    plan = setup.plan
    place = plan.paths.result
    about = build_training_record(plan, steps, datasheet_sha256)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if plan.settings.mode == "lora":
            tensors = lora.lora_state_dict(setup.trained_modules, plan.settings.checkpointing.lora_format)
            atomic_replace(place, save(tensors, lora_metadata(plan, about)))
        else:
            _export_model_folder(setup, place, about)
    except OSError as error:
        raise OutputError(
            f"'{place}' cannot be written: {error.strerror or error}.", "Make room, and add --resume."
        ) from error
    return place


def build_training_record(plan: TrainingPlan, steps: int, datasheet_sha256: str) -> dict[str, Any]:
    """What the result says of its making, as JSON values."""
    settings = {name: value for name, value in plan.settings_record().items() if name not in ("pictures", "captions")}
    return {
        "artgen": __version__,
        "kind": plan.settings.mode,
        "steps": steps,
        "base_model": plan.model.short_name if plan.model.source == plan.model.path.name else plan.model.name,
        "base_model_source": plan.model.source,
        "base_model_revision": plan.model.revision,
        "base_model_hash": plan.model.model_hash(),
        "architecture": plan.model.architecture,
        "trigger": plan.settings.training.trigger,
        "pictures": len(plan.dataset.images),
        "datasheet_sha256": datasheet_sha256,
        "settings": {name: value for name, value in settings.items() if value is not None and name != "model"},
    }


def lora_metadata(plan: TrainingPlan, training_record: Mapping[str, Any]) -> dict[str, str]:
    """The header's metadata of a LoRA: artgen's record as JSON, and what other tools look for."""
    title = plan.paths.result.stem
    facts = {
        "format": "pt",
        "artgen": json.dumps(training_record),
        "ss_sd_model_name": str(training_record["base_model"]),
        "ss_sd_model_hash": str(training_record["base_model_hash"])[:10],
        "ss_output_name": title,
        "ss_steps": str(training_record["steps"]),
        "ss_learning_rate": str(plan.settings.optimizer.learning_rate),
        "modelspec.title": title,
        "modelspec.resolution": f"{plan.resolution}x{plan.resolution}",
        **lora.kohya_metadata(plan.settings.training.rank, plan.model.architecture),
    }
    if trigger := plan.settings.training.trigger:
        facts["modelspec.trigger_phrase"] = trigger
    return facts


def _export_model_folder(setup: TrainingSetup, path: Path, training_record: Mapping[str, Any]) -> None:
    """The whole pipeline with what was learnt in it, so that it can be used with `--model`."""
    temporary = path.with_name(f".{path.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    model = setup.plan.model
    try:
        with pipeline_cache.silence_libraries():
            setup.pipe.save_pretrained(temporary, safe_serialization=True)
        own = {
            "width": model.native_size[0], "height": model.native_size[1], "steps": model.steps,
            "guidance_scale": model.guidance_scale, "scheduler": model.scheduler, "sigmas": model.sigmas,
            "description": f"{model.short_name}, trained on", "training": dict(training_record),
        }  # fmt: skip
        known = {name: value for name, value in own.items() if value is not None}
        (temporary / "artgen.json").write_text(json.dumps(known, indent=1), "utf-8")
        if path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
