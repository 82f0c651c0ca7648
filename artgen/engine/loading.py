"""A resolved model -> a diffusers pipeline, kept for the next request and shared between tasks.

Components are loaded one by one so that their loading reports can be read: diffusers and transformers fill a
tensor that a file lacks with random numbers and only log it.
"""

import contextlib
import gc
import importlib
import inspect
import json
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import dynamic_modules_utils
from safetensors import SafetensorError

from artgen.engine import offloading, weights
from artgen.engine.device import Placement
from artgen.engine.memory import is_exhaustion
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.registry import ResolvedModel, single_file_config

# transformers ties or derives these; files written by older versions lack or add them.
DERIVED_SUFFIXES = ("position_ids",)

LIBRARIES = {
    "diffusers": "diffusers",
    "transformers": "transformers",
    "stable_diffusion": "diffusers.pipelines.stable_diffusion",
    "stable_diffusion_xl": "diffusers.pipelines.stable_diffusion_xl",
}
"""Where a model's classes may come from: its word for it -> the module."""

FAMILY = re.compile("(StableDiffusion(?:XL)?)(?:Img2Img|Inpaint)?Pipeline")
KINDS = {"Text2Image": "", "Image2Image": "Img2Img", "Inpainting": "Inpaint"}
"""The pipelines that are found by their names: diffusers' own table of them imports those of all other models too."""

LOGS = (diffusers.logging, transformers.logging)

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

    def read() -> Pipeline:
        pipe = _read(model, placement, safety_checker, listener)
        pipe.set_progress_bar_config(disable=True)
        offloading.store(pipe, placement)
        offloading.put(pipe, placement, offload)
        return pipe

    pipe = kept((model.path, model.revision, model.variant, placement, offload, safety_checker), model, read)
    offloading.tile(pipe, vae_tiling)
    return pipe


def kept(key: tuple[Any, ...], model: ResolvedModel, read: Callable[[], Any]) -> Any:
    """What was loaded under this key, or what `read` loads now; it is kept until another is asked for.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    if key not in _kept:
        if _kept:
            release()
        with quiet(), _no_remote_code(), _damage_told(model):
            _kept[key] = read()
    return _kept[key]


def release() -> None:
    """Lets go of the kept pipeline and the memory it holds."""
    _kept.clear()
    collect()


def collect() -> None:
    """Gives memory that nothing uses any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def for_task(pipe: Pipeline, kind: str, task: str) -> Pipeline:
    """The pipeline of a task over the components of `pipe`, without loading anything again.

    Args:
        pipe: the model's own pipeline.
        kind: what diffusers calls the task: `Text2Image`, `Image2Image` or `Inpainting`.
        task: what artgen calls it.

    Raises:
        ModelUnavailableError: diffusers has no pipeline of this task for this architecture.
    """
    try:
        with quiet():
            family = FAMILY.fullmatch(type(pipe).__name__)
            if family:
                shared = _over(pipe, getattr(diffusers, f"{family[1]}{KINDS[kind]}Pipeline"))
            else:
                shared = getattr(diffusers, f"AutoPipelineFor{kind}").from_pipe(pipe)
    except ValueError as error:
        raise ModelUnavailableError(
            f"{type(pipe).__name__} models cannot do {task}.", "Choose another model: artgen models list"
        ) from error
    shared.set_progress_bar_config(disable=True)
    # With these diffusers moves each part back to main memory after a call; it does not hand them on itself.
    for name in ("_all_hooks", "_offload_device", "_offload_gpu_id"):
        if hasattr(pipe, name):
            setattr(shared, name, getattr(pipe, name))
    return shared


def _over(pipe: Pipeline, cls: Any) -> Pipeline:
    """A pipeline of class `cls` over the components of `pipe`, with what else of its configuration fits."""
    accepted = inspect.signature(cls.__init__).parameters
    return cls(**{name: value for name, value in {**pipe.config, **pipe.components}.items() if name in accepted})


def _read(model: ResolvedModel, placement: Placement, safety_checker: bool, listener: Listener) -> Pipeline:
    if model.is_file:
        return _read_file(model, placement, listener)
    return _read_folder(model, placement, safety_checker, listener)


@contextlib.contextmanager
def _damage_told(model: ResolvedModel) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if is_exhaustion(error):
            raise
        raise ModelUnavailableError(
            f"The model {model.name} cannot be loaded: {first_line(error)}", f"artgen models verify {model.name}"
        ) from error


def _read_folder(model: ResolvedModel, placement: Placement, safety_checker: bool, listener: Listener) -> Pipeline:
    index = json.loads((model.path / "model_index.json").read_text("utf-8"))
    components: dict[str, Any] = {}
    for name, entry in index.items():
        if isinstance(entry, list) and not any(entry):
            components[name] = None  # an optional part that this model leaves out
            continue
        cls = _weights_class(entry)
        if cls is not None and (safety_checker or name != "safety_checker"):
            listener(Loading(name))
            components[name] = read_component(cls, model, name, placement)
    if not safety_checker and "safety_checker" in index:
        components.update(safety_checker=None, requires_safety_checker=False)
    return diffusers.DiffusionPipeline.from_pretrained(
        model.path, dtype=placement.torch_dtype, local_files_only=True, use_safetensors=True, **components
    )


def _weights_class(entry: object) -> Any:
    """The class of a component that has weights, None for the rest (tokenizers, schedulers, absent ones)."""
    if not isinstance(entry, list) or len(entry) != 2 or entry[0] not in LIBRARIES:
        return None
    cls = getattr(importlib.import_module(LIBRARIES[entry[0]]), entry[1], None)
    if cls is None:
        raise ModelUnavailableError(
            f"The model needs {entry[1]}, which the installed {entry[0]} does not have.",
            f"pip install --upgrade {entry[0]}",
        )
    return cls if issubclass(cls, diffusers.ModelMixin | transformers.PreTrainedModel) else None


def read_component(cls: Any, model: ResolvedModel, name: str, placement: Placement) -> Any:
    """One component with weights, of class `cls`; it may lie in the model's own folder in the oldest layout.

    Raises:
        ModelUnavailableError: tensors are missing.
    """
    inside = (model.path / name).is_dir()
    folder = Path(model.path) / name if inside else Path(model.path)
    variant = model.variant if model.variant and any(folder.glob(f"*.{model.variant}*safetensors*")) else None
    module, lost = weights.read(cls, folder, variant, placement.torch_dtype)
    if module is None:
        module, report = cls.from_pretrained(
            model.path,
            subfolder=name if inside else None,
            variant=variant,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            dtype=placement.torch_dtype,
        )
        lost = report["missing_keys"]
    missing = sorted(key for key in lost if not key.endswith(DERIVED_SUFFIXES))
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
    parts = weights.read_parts(model.path, config, placement.torch_dtype)
    pipe = cls.from_single_file(
        str(model.path), config=str(config), dtype=placement.torch_dtype, local_files_only=True, **parts
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


def first_line(error: Exception) -> str:
    """What a library says first of an error."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the libraries' log lines, warnings and bars off the terminal; artgen says itself what there is to know."""
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in LOGS]
    for log in LOGS:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level, bars in before:
            log.set_verbosity(level)
            if bars:
                log.enable_progress_bar()


@contextlib.contextmanager
def _no_remote_code() -> Iterator[None]:
    """No code from a model's repository runs, whatever its files say.

    DIFFUSERS_DISABLE_REMOTE_CODE is read once, when diffusers is imported; this is the same switch at run time.
    """
    before = dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE
    dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE = True
    try:
        yield
    finally:
        dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE = before
