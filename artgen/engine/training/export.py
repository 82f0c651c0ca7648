"""Export the result of a training: a LoRA file, or a model folder in diffusers' layout."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save

from artgen._version import __version__
from artgen.dataset.datasheet import license_counts
from artgen.engine.loading import pipeline_cache
from artgen.engine.training import lora
from artgen.engine.training.setup import TrainingSetup
from artgen.jobs.training_plan import TrainingPlan
from artgen.registry import ResolvedModel
from artgen.registry.training_provenance import read_training_provenance
from artgen.system.counts import counted
from artgen.system.files import atomic_folder, wrap_write_errors, write_atomically
from artgen.system.temporary import clean_stale


def export_result(setup: TrainingSetup, steps: int, datasheet_sha256: str) -> Path:
    """Write the result atomically. An existing result is replaced.

    Args:
        setup: the training; its current weights are exported.
        steps: number of finished steps.
        datasheet_sha256: SHA-256 of the datasheet of the data set.

    Raises:
        OutputError: the disk is full, or the path cannot be written.
    """
    plan = setup.plan
    path = plan.paths.result
    record = build_training_record(plan, steps, datasheet_sha256)
    hint = "Free disk space, then run the same command with --resume."
    if plan.settings.mode == "lora":
        tensors = lora.lora_state_dict(setup.trained_modules, plan.settings.checkpointing.lora_format)
        write_atomically(path, save(tensors, lora_metadata(plan, record)), hint)
    else:
        with wrap_write_errors(path, hint):
            _export_model_folder(setup, path, record)
    return path


def build_training_record(plan: TrainingPlan, steps: int, datasheet_sha256: str) -> dict[str, Any]:
    """Return the record of a training that its result contains, as JSON values."""
    settings = {name: value for name, value in plan.settings_record().items() if name not in ("images", "captions")}
    return {
        "artgen": __version__,
        "kind": plan.settings.mode,
        "steps": steps,
        **({"architecture": "pixel"} if plan.base_model is None else _base_model_record(plan.base_model)),
        "trigger": plan.settings.training.trigger,
        "images": len(plan.dataset.images),
        "datasheet_sha256": datasheet_sha256,
        "licenses": license_counts(plan.dataset),
        "settings": {name: value for name, value in settings.items() if value is not None and name != "model"},
    }


def _base_model_record(model: ResolvedModel) -> dict[str, Any]:
    """Return the entries of the base model, with the provenance of its training images if artgen trained it."""
    provenance = None
    if not model.is_file or model.path.suffix == ".safetensors":
        provenance = read_training_provenance(model.path)
    return {
        "base_model": model.short_name if model.source == model.path.name else model.name,
        "base_model_source": model.source,
        "base_model_revision": model.revision,
        "base_model_hash": model.model_hash(),
        "architecture": model.architecture,
        **({"base_training": provenance.record()} if provenance else {}),
    }


def lora_metadata(plan: TrainingPlan, training_record: Mapping[str, Any]) -> dict[str, str]:
    """Return the header metadata of a LoRA file: artgen's record as JSON, and the keys that other tools read."""
    title = plan.paths.result.stem
    metadata = {
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
        metadata["modelspec.trigger_phrase"] = trigger
    return metadata


def _export_model_folder(setup: TrainingSetup, path: Path, training_record: Mapping[str, Any]) -> None:
    """Write the pipeline with the trained weights, so that it can be used with `--model`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clean_stale(path.parent)
    with atomic_folder(path, overwrite=True) as temporary:
        with pipeline_cache.silence_libraries():
            setup.pipe.save_pretrained(temporary, safe_serialization=True)
        config = {**_model_metadata(setup.plan), "training": dict(training_record)}
        config = {name: value for name, value in config.items() if value is not None}
        (temporary / "artgen.json").write_text(json.dumps(config, indent=1), "utf-8")


def _model_metadata(plan: TrainingPlan) -> dict[str, Any]:
    """Return the entries of `artgen.json` that describe the model; None is unknown."""
    if plan.base_model is None:
        images = counted(len(plan.dataset.images), "image")
        return {
            "width": plan.resolution,
            "height": plan.resolution,
            "description": f"Pixel-space model without prompts, trained on {images}",
        }
    model = plan.base_model
    return {
        "width": model.native_size[0], "height": model.native_size[1], "steps": model.steps,
        "guidance_scale": model.guidance_scale, "scheduler": model.scheduler, "sigmas": model.sigmas,
        "description": f"{model.short_name}, trained on",
    }  # fmt: skip
