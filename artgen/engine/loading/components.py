"""The parts of a model, read from a folder or a single file into a diffusers pipeline.

Components of a folder are loaded one by one so that their loading reports can be read: diffusers and transformers fill
a tensor that a file lacks with random numbers and only log it.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import transformers
from accelerate import init_empty_weights

from artgen.engine.loading import weights
from artgen.engine.loading.device import DeviceConfig
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, single_file_config
from artgen.registry.diffusers_folder import denoiser_name

# transformers ties or derives these; files written by older versions lack or add them.
DERIVED_TENSOR_SUFFIXES = ("position_ids",)

LIBRARY_MODULES = {
    "diffusers": "diffusers",
    "transformers": "transformers",
    "stable_diffusion": "diffusers.pipelines.stable_diffusion",
    "stable_diffusion_xl": "diffusers.pipelines.stable_diffusion_xl",
}
"""Where a model's classes may come from: its word for it -> the module."""

Pipeline = Any
"""A diffusers pipeline, of whatever class the model has."""

ComponentFilter = Callable[[str], bool]
"""Says by its name whether a component with weights is read."""


def load_folder_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    safety_checker: bool,
    listener: Listener,
    component_filter: ComponentFilter,
) -> Pipeline:
    """The pipeline in a model folder, with those of its components that are wanted.

    Raises:
        ModelUnavailableError: tensors are missing, or a class of the model is.
    """
    index = json.loads((model.path / "model_index.json").read_text("utf-8"))
    parts: dict[str, Any] = {}
    for name, entry in index.items():
        if isinstance(entry, list) and not any(entry):
            parts[name] = None  # an optional part that this model leaves out
            continue
        cls = _component_class(entry)
        if cls is not None and not component_filter(name):
            parts[name] = _placeholder(cls, model.path / name)
        elif cls is not None and (safety_checker or name != "safety_checker"):
            listener(Loading(name))
            parts[name] = load_component(cls, model, name, device_config)
    if not safety_checker and "safety_checker" in index:
        parts.update(safety_checker=None, requires_safety_checker=False)
    return diffusers.DiffusionPipeline.from_pretrained(
        model.path, dtype=device_config.torch_dtype, local_files_only=True, use_safetensors=True, **parts
    )


def _placeholder(cls: Any, folder: Path) -> Any:
    """What takes the place of a component that is not read: nothing.

    But for the transformer of Stable Diffusion 3, whose width its pipeline asks for where there is no T5.
    """
    if cls is not diffusers.SD3Transformer2DModel:
        return None
    with init_empty_weights():
        return cls.from_config(cls.load_config(folder))


def _component_class(entry: object) -> Any:
    """The class of a component that has weights, None for the rest (tokenizers, schedulers, absent ones)."""
    if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in LIBRARY_MODULES:
        return None
    cls = getattr(importlib.import_module(LIBRARY_MODULES[entry[0]]), entry[1], None)
    if cls is None:
        raise ModelUnavailableError(
            f"The model needs {entry[1]}, which the installed {entry[0]} does not have.",
            f"pip install --upgrade {entry[0]}",
        )
    return cls if issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel) else None


def load_component(cls: Any, model: ResolvedModel, name: str, device_config: DeviceConfig) -> Any:
    """One component with weights, of class `cls`; it may lie in the model's own folder in the oldest layout.

    Raises:
        ModelUnavailableError: tensors are missing.
    """
    inside = (model.path / name).is_dir()
    folder = Path(model.path) / name if inside else Path(model.path)
    variant = model.variant if model.variant and any(folder.glob(f"*.{model.variant}*safetensors*")) else None
    eighths = device_config.quantize == "fp8" and name == denoiser_name(model.path)
    module, lost = weights.load_converted_component(cls, folder, variant, device_config.torch_dtype, eighths)
    if module is None:
        module, report = cls.from_pretrained(
            model.path,
            subfolder=name if inside else None,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=device_config.torch_dtype,
        )
        lost = report["missing_keys"]
    missing = sorted(key for key in lost if not key.endswith(DERIVED_TENSOR_SUFFIXES))
    if missing:
        raise ModelUnavailableError(
            f"The {name} of {model.name} lacks {len(missing)} of its tensors, first {missing[0]}.",
            f"artgen models pull --force {model.name}",
        )
    return module


def load_single_file_pipeline(
    model: ResolvedModel, device_config: DeviceConfig, listener: Listener, component_filter: ComponentFilter
) -> Pipeline:
    """The pipeline in a single file, with those of its components that are wanted.

    Raises:
        ModelUnavailableError: tensors are missing.
    """
    listener(Loading(model.path.name))
    config = single_file_config(model)
    index = json.loads((config / "model_index.json").read_text("utf-8"))
    cls = getattr(diffusers, index["_class_name"])
    classes = {name: _component_class(entry) for name, entry in index.items()}
    absent = {
        name: _placeholder(part, config / name) for name, part in classes.items() if part and not component_filter(name)
    }
    parts = weights.load_converted_single_file(model.path, config, device_config.torch_dtype, component_filter) | absent
    pipe = cls.from_single_file(
        str(model.path), config=str(config), dtype=device_config.torch_dtype, local_files_only=True, **parts
    )
    for name, module in pipe.components.items():
        if name in absent:
            continue
        empty = [key for key, tensor in _named_parameters(module) if tensor.is_meta]
        if empty:
            raise ModelUnavailableError(
                f"{model.path.name} lacks {len(empty)} tensors of the {name}, first {empty[0]}.",
                "It may be a part of a model or a LoRA; a whole checkpoint is needed.",
            )
    return pipe


def _named_parameters(module: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(module, "named_parameters"):
        yield from module.named_parameters()
