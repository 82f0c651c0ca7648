"""A resolved model -> a diffusers pipeline, kept for the next request and shared between tasks.

Components are loaded one by one so that their loading reports can be read: diffusers and transformers fill a
tensor that a file lacks with random numbers and only log it.
"""

import contextlib
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diffusers
import transformers

from artgen.engine.device import Placement
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, single_file_config

# transformers ties or derives these; files written by older versions lack or add them.
DERIVED_SUFFIXES = ("position_ids",)

Pipeline = Any
"""A diffusers pipeline, of whatever class the model has."""

_kept: dict[tuple[Any, ...], Pipeline] = {}


def load(
    model: ResolvedModel,
    placement: Placement,
    *,
    offload: str | None,
    vae_tiling: bool,
    safety_checker: bool,
    listener: Listener,
) -> Pipeline:
    """The model's own pipeline on its device; loaded once, kept until another model is asked for.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
        UsageError: offloading without a GPU.
    """
    key = (model.path, model.revision, model.variant, placement, offload, vae_tiling, safety_checker)
    if key not in _kept:
        release()
        with _quiet(), _no_remote_code():
            pipe = _read(model, placement, safety_checker, listener)
        pipe.set_progress_bar_config(disable=True)
        put(pipe, placement, offload)
        if vae_tiling:
            tile(pipe)
        _kept[key] = pipe
    return _kept[key]


def release() -> None:
    """Lets go of the kept pipeline and the memory it holds."""
    import gc

    import torch

    _kept.clear()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def for_task(pipe: Pipeline, auto_pipeline: Any, task: str) -> Pipeline:
    """The pipeline of a task over the components of `pipe`, without loading anything again.

    Raises:
        ModelUnavailableError: diffusers has no pipeline of this task for this architecture.
    """
    try:
        with _quiet():
            shared = auto_pipeline.from_pipe(pipe)
    except ValueError as error:
        raise ModelUnavailableError(
            f"{type(pipe).__name__} models cannot do {task}.", "Choose another model: artgen models list"
        ) from error
    shared.set_progress_bar_config(disable=True)
    return shared


def put(pipe: Pipeline, placement: Placement, offload: str | None) -> None:
    """Moves a pipeline to its device, whole or part by part as `offload` says.

    Raises:
        UsageError: offloading without a GPU.
    """
    if offload in ("model", "sequential") and not placement.on_gpu:
        raise UsageError(f"--offload {offload} needs a GPU; this runs on the {placement.device}.", "Leave it out.")
    if offload == "model":
        pipe.enable_model_cpu_offload(device=placement.device)
    elif offload == "sequential":
        pipe.enable_sequential_cpu_offload(device=placement.device)
    else:
        pipe.to(placement.device)


def tile(pipe: Pipeline) -> None:
    """Decodes in slices and tiles from now on: less memory, the same picture up to faint seams."""
    for method in ("enable_slicing", "enable_tiling"):
        if hasattr(pipe.vae, method):
            getattr(pipe.vae, method)()


def _read(model: ResolvedModel, placement: Placement, safety_checker: bool, listener: Listener) -> Pipeline:
    try:
        if model.is_file:
            return _read_file(model, placement, listener)
        return _read_folder(model, placement, safety_checker, listener)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        if "out of memory" in str(error) or "can't allocate memory" in str(error):
            raise
        raise ModelUnavailableError(
            f"The model {model.name} cannot be loaded: {_first_line(error)}", f"artgen models verify {model.name}"
        ) from error


def _read_folder(
    model: ResolvedModel, placement: Placement, safety_checker: bool, listener: Listener
) -> Pipeline:
    index = json.loads((model.path / "model_index.json").read_text("utf-8"))
    components: dict[str, Any] = {}
    for name, entry in index.items():
        if isinstance(entry, list) and not any(entry):
            components[name] = None  # an optional part that this model leaves out
            continue
        cls = _weights_class(entry)
        if cls is not None:
            listener(Loading(name))
            components[name] = _read_component(cls, model, name, placement)
    if not safety_checker and "safety_checker" in index:
        components.update(safety_checker=None, requires_safety_checker=False)
    elif (index.get("safety_checker") or [None])[0]:
        listener(Loading("safety_checker"))
    return diffusers.DiffusionPipeline.from_pretrained(
        model.path, dtype=placement.torch_dtype, local_files_only=True, use_safetensors=True, **components
    )


def _weights_class(entry: object) -> Any:
    """The class of a component that has weights, None for the rest (tokenizers, schedulers, absent ones)."""
    if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in ("diffusers", "transformers"):
        return None
    cls = getattr(importlib.import_module(entry[0]), entry[1], None)
    if cls is None:
        raise ModelUnavailableError(
            f"The model needs {entry[1]}, which the installed {entry[0]} does not have.",
            f"pip install --upgrade {entry[0]}",
        )
    return cls if issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel) else None


def _read_component(cls: Any, model: ResolvedModel, name: str, placement: Placement) -> Any:
    folder = Path(model.path) / name
    variant = model.variant if model.variant and any(folder.glob(f"*.{model.variant}*safetensors*")) else None
    module, report = cls.from_pretrained(
        model.path,
        subfolder=name,
        variant=variant,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        dtype=placement.torch_dtype,
    )
    missing = sorted(key for key in report["missing_keys"] if not key.endswith(DERIVED_SUFFIXES))
    if missing:
        raise ModelUnavailableError(
            f"The {name} of {model.name} lacks {len(missing)} of its tensors, first {missing[0]}.",
            f"artgen models pull --force {model.name}",
        )
    return module


def _read_file(model: ResolvedModel, placement: Placement, listener: Listener) -> Pipeline:
    listener(Loading(model.path.name))
    config = single_file_config(model)
    index = json.loads((config / "model_index.json").read_text("utf-8"))
    cls = getattr(diffusers, index["_class_name"])
    pipe = cls.from_single_file(
        str(model.path), config=str(config), dtype=placement.torch_dtype, local_files_only=True
    )
    for name, module in pipe.components.items():
        empty = [key for key, tensor in _tensors(module) if tensor.is_meta]
        if empty:
            raise ModelUnavailableError(
                f"{model.path.name} lacks {len(empty)} tensors of the {name}, first {empty[0]}.",
                "It may be a part of a model or a LoRA; a whole checkpoint is needed.",
            )
    return pipe


def _tensors(module: Any) -> Iterator[tuple[str, Any]]:
    if hasattr(module, "named_parameters"):
        yield from module.named_parameters()


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the libraries' log lines and bars off the terminal; artgen reads their reports and says it itself."""
    levels = diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        diffusers.logging.set_verbosity(levels[0])
        transformers.logging.set_verbosity(levels[1])


@contextlib.contextmanager
def _no_remote_code() -> Iterator[None]:
    """No code from a model's repository runs, whatever its files say."""
    before = os.environ.get("DIFFUSERS_DISABLE_REMOTE_CODE")
    os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"]
        else:
            os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = before
