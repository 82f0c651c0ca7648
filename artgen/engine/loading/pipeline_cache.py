"""A resolved model -> a diffusers pipeline, kept for the next request and shared between tasks."""

import contextlib
import gc
import inspect
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import dynamic_modules_utils
from safetensors import SafetensorError

from artgen.engine.acceleration import cuda_graphs
from artgen.engine.loading import components
from artgen.engine.loading import offload as offloading
from artgen.engine.loading.components import Pipeline
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.events import Listener
from artgen.registry import ResolvedModel

SD_PIPELINE_PATTERN = re.compile("(StableDiffusion(?:XL)?)(?:Img2Img|Inpaint)?Pipeline")
PIPELINE_SUFFIXES = {"Text2Image": "", "Image2Image": "Img2Img", "Inpainting": "Inpaint"}
"""The pipelines that are found by their names: diffusers' own table of them imports those of all other models too."""

LIBRARY_LOGGERS = (diffusers.logging, transformers.logging)

_cache: dict[tuple[Any, ...], Pipeline] = {}


def load_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    *,
    offload: str | None,
    vae_tiling: bool,
    safety_checker: bool,
    listener: Listener,
) -> Pipeline:
    """The model's own pipeline on its device; loaded once, kept until another model is asked for.

    With `text` on the CPU it has no text encoders: `load_reader` has them.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
        UsageError: offloading without a GPU.
    """

    def read() -> Pipeline:
        wanted = _is_denoiser_part if offload == "text" and not device_config.is_gpu else _any_component
        pipe = _read_pipeline(model, device_config, safety_checker, listener, wanted)
        pipe.set_progress_bar_config(disable=True)
        offloading.quantize_denoiser(pipe, device_config)
        offloading.apply_offload(pipe, device_config, offload)
        return pipe

    pipe = cached((model.path, model.revision, model.variant, device_config, offload, safety_checker), model, read)
    offloading.set_vae_tiling(pipe, vae_tiling)
    return pipe


def load_text_encoders(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> Pipeline:
    """The model's pipeline with its text encoders alone, on the CPU; it is not kept.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    with silence_libraries(), _no_remote_code(), _wrap_load_errors(model):
        return _read_pipeline(model, device_config, False, listener, lambda name: not _is_denoiser_part(name))


def _is_denoiser_part(name: str) -> bool:
    return not name.startswith("text_encoder")


def _any_component(_: str) -> bool:
    return True


def cached(key: tuple[Any, ...], model: ResolvedModel, loader: Callable[[], Any]) -> Any:
    """What was loaded under this key, or what `loader` loads now; it is kept until another is asked for.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    if key not in _cache:
        if _cache:
            clear_cache()
        with silence_libraries(), _no_remote_code(), _wrap_load_errors(model):
            _cache[key] = loader()
    return _cache[key]


def clear_cache() -> None:
    """Lets go of the kept pipeline and the memory it holds."""
    drop_cuda_graphs()
    _cache.clear()
    empty_cuda_cache()


def drop_cuda_graphs() -> bool:
    """Drops CUDA graphs of the kept pipeline, and the memory they work in; says whether there were any."""
    parts = [part for pipe in _cache.values() for part in getattr(pipe, "components", {}).values()]
    dropped = [cuda_graphs.drop_graphs(part) for part in parts if isinstance(part, torch.nn.Module)]
    return any(dropped)


def empty_cuda_cache() -> None:
    """Gives memory that nothing uses any more back to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def pipeline_for_task(pipe: Pipeline, diffusers_task: str, task: str) -> Pipeline:
    """The pipeline of a task over the components of `pipe`, without loading anything again.

    Args:
        pipe: the model's own pipeline.
        diffusers_task: what diffusers calls the task: `Text2Image`, `Image2Image` or `Inpainting`.
        task: what artgen calls it.

    Raises:
        ModelUnavailableError: diffusers has no pipeline of this task for this architecture.
    """
    try:
        with silence_libraries():
            family = SD_PIPELINE_PATTERN.fullmatch(type(pipe).__name__)
            if family:
                shared = _share_components(
                    pipe, getattr(diffusers, f"{family[1]}{PIPELINE_SUFFIXES[diffusers_task]}Pipeline")
                )
            else:
                shared = getattr(diffusers, f"AutoPipelineFor{diffusers_task}").from_pipe(pipe)
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


def _share_components(pipe: Pipeline, cls: Any) -> Pipeline:
    """A pipeline of class `cls` over the components of `pipe`, with what else of its configuration fits."""
    accepted = inspect.signature(cls.__init__).parameters
    return cls(**{name: value for name, value in {**pipe.config, **pipe.components}.items() if name in accepted})


def _read_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    safety_checker: bool,
    listener: Listener,
    component_filter: components.ComponentFilter = _any_component,
) -> Pipeline:
    """The pipeline with those components of its weights that are wanted, by name."""
    if model.is_file:
        return components.load_single_file_pipeline(model, device_config, listener, component_filter)
    return components.load_folder_pipeline(model, device_config, safety_checker, listener, component_filter)


@contextlib.contextmanager
def _wrap_load_errors(model: ResolvedModel) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise ModelUnavailableError(
            f"The model {model.name} cannot be loaded: {first_line(error)}", f"artgen models verify {model.name}"
        ) from error


def first_line(error: BaseException) -> str:
    """What a library says first of an error."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


@contextlib.contextmanager
def silence_libraries() -> Iterator[None]:
    """Keeps the libraries' log lines, warnings and bars off the terminal; artgen says itself what there is to know."""
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in LIBRARY_LOGGERS]
    for log in LIBRARY_LOGGERS:
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
