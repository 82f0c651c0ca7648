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

from artgen.engine import components, graphs, offloading
from artgen.engine.components import Pipeline
from artgen.engine.device import Placement
from artgen.engine.memory import is_exhaustion, is_lost
from artgen.errors import ModelUnavailableError
from artgen.events import Listener
from artgen.registry import ResolvedModel

FAMILY = re.compile("(StableDiffusion(?:XL)?)(?:Img2Img|Inpaint)?Pipeline")
KINDS = {"Text2Image": "", "Image2Image": "Img2Img", "Inpainting": "Inpaint"}
"""The pipelines that are found by their names: diffusers' own table of them imports those of all other models too."""

LOGS = (diffusers.logging, transformers.logging)

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

    With `text` on the CPU it has no text encoders: `load_reader` has them.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
        UsageError: offloading without a GPU.
    """

    def read() -> Pipeline:
        wanted = _draws if offload == "text" and not placement.on_gpu else _any
        pipe = _read(model, placement, safety_checker, listener, wanted)
        pipe.set_progress_bar_config(disable=True)
        offloading.store(pipe, placement)
        offloading.put(pipe, placement, offload)
        return pipe

    pipe = kept((model.path, model.revision, model.variant, placement, offload, safety_checker), model, read)
    offloading.tile(pipe, vae_tiling)
    return pipe


def load_reader(model: ResolvedModel, placement: Placement, listener: Listener) -> Pipeline:
    """The model's pipeline with its text encoders alone, on the CPU; it is not kept.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    with quiet(), _no_remote_code(), _damage_told(model):
        return _read(model, placement, False, listener, lambda name: not _draws(name))


def _draws(name: str) -> bool:
    return not name.startswith("text_encoder")


def _any(_: str) -> bool:
    return True


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
    drop_recordings()
    _kept.clear()
    collect()


def drop_recordings() -> bool:
    """Drops CUDA graphs of the kept pipeline, and the memory they work in; says whether there were any."""
    parts = [part for pipe in _kept.values() for part in getattr(pipe, "components", {}).values()]
    dropped = [graphs.forget(part) for part in parts if isinstance(part, torch.nn.Module)]
    return any(dropped)


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


def _read(
    model: ResolvedModel,
    placement: Placement,
    safety_checker: bool,
    listener: Listener,
    wanted: components.Wanted = _any,
) -> Pipeline:
    """The pipeline with those components of its weights that are wanted, by name."""
    if model.is_file:
        return components.read_file(model, placement, listener, wanted)
    return components.read_folder(model, placement, safety_checker, listener, wanted)


@contextlib.contextmanager
def _damage_told(model: ResolvedModel) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if is_exhaustion(error) or is_lost(error):
            raise
        raise ModelUnavailableError(
            f"The model {model.name} cannot be loaded: {first_line(error)}", f"artgen models verify {model.name}"
        ) from error


def first_line(error: BaseException) -> str:
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
