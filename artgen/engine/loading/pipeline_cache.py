"""Load the diffusers pipeline of a resolved model, and cache it for later requests and other tasks."""

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import dynamic_modules_utils

from artgen.engine.acceleration import cuda_graphs
from artgen.engine.loading import components, free_memory, loaded_models, preflight, single_files
from artgen.engine.loading import offload as offloading
from artgen.engine.loading.components import Pipeline, denoiser_of
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ArtgenError, ModelUnavailableError
from artgen.events import Event, Listener
from artgen.jobs.guidance import pag_layers
from artgen.registry import ResolvedModel
from artgen.registry.task_support import check_task
from artgen.system.command_state import register_reset

LIBRARY_LOGGERS = (diffusers.logging, transformers.logging)

# torch starts each process with the same seed
register_reset(functools.partial(torch.manual_seed, torch.initial_seed()))


def load_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    *,
    offload: str | None,
    vae_tiling: bool,
    safety_checker: bool,
    listener: Listener,
    keep_others: bool = False,
    make_room: Callable[[], None] | None = None,
) -> Pipeline:
    """Return the model's pipeline on its device. It is cached until another model is requested.

    See `cached` for `keep_others` and `make_room`.

    With `--offload text` on the CPU, the pipeline has no text encoders; `load_text_encoders` loads them.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
        UsageError: the offload mode needs a GPU.
    """

    def read(listener: Listener) -> Pipeline:
        component_filter = _is_denoiser_part if offload == "text" and not device_config.is_gpu else _any_component
        pipe = _read_pipeline(model, device_config, safety_checker, listener, component_filter)
        pipe.set_progress_bar_config(disable=True)
        offloading.quantize_denoiser(pipe, device_config)
        offloading.apply_offload(pipe, device_config, offload)
        return pipe

    key = (device_config, offload, safety_checker)
    pipe = cached(key, model, device_config, read, listener, keep_others=keep_others, make_room=make_room)
    offloading.set_vae_tiling(pipe, vae_tiling)
    return pipe


def load_text_encoders(model: ResolvedModel, device_config: DeviceConfig, listener: Listener) -> Pipeline:
    """Load the model's pipeline with only its text encoders, on the CPU. The pipeline is not cached.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture.
    """
    _check_unchanged(model)
    check_loadable(model)
    with silence_libraries(), _no_remote_code(), _wrap_load_errors(model):
        pipe = _read_pipeline(model, device_config, False, listener, lambda name: not _is_denoiser_part(name))
    _check_unchanged(model)
    return pipe


def _is_denoiser_part(name: str) -> bool:
    return not name.startswith("text_encoder")


def _any_component(_: str) -> bool:
    return True


def cached(
    key: tuple[Any, ...],
    model: ResolvedModel,
    device_config: DeviceConfig,
    loader: Callable[[Listener], Any],
    listener: Listener,
    *,
    keep_others: bool = False,
    make_room: Callable[[], None] | None = None,
) -> Any:
    """Return the cached object of a key, or load it. The object is active until another key is requested.

    Args:
        key: properties of the object besides the model.
        model: the model; an object is loaded again after the contents of a file of the model have changed.
        device_config: device and precision of the object.
        loader: loads the object and sends events to a listener.
        listener: receives the events of the loader. It also receives them if an earlier command loaded the object.
        keep_others: whether objects of other keys stay active.
        make_room: unloads idle models until the object and its work fit into the memory. None: unload as many as a
            model of its size without an estimate of its work needs.

    Raises:
        ModelUnavailableError: weights are missing, damaged or of another architecture, or a file has changed after the
            model was resolved: its recorded hash would be wrong.
    """
    _check_unchanged(model)
    key = (*loaded_models.object_key(model), *key)
    entry = loaded_models.find(model, key)
    if entry is None or not entry.active:
        if not keep_others:
            loaded_models.deactivate_all()
        check_loadable(model)
    events = () if entry is None or entry.active else entry.events
    if entry is not None:
        entry.active = entry.used = True
    if make_room is None:
        free_memory.make_room_for_model(model, device_config)
    else:
        make_room()
    if entry is None:
        return _load(key, model, device_config, loader, listener)
    for event in events:
        listener(event)
    return entry.value


def _load(
    key: tuple[Any, ...],
    model: ResolvedModel,
    device_config: DeviceConfig,
    loader: Callable[[Listener], Any],
    listener: Listener,
) -> Any:
    """Load an object, add it to the loaded models, and return it."""
    events: list[Event] = []

    def record(event: Event) -> None:
        events.append(event)
        listener(event)

    loaded_models.reserve_place()
    with silence_libraries(), _no_remote_code(), _wrap_load_errors(model):
        loaded = loader(record)
    file_hashes = loaded_models.file_hashes(model.files)
    _check_unchanged(model)
    device_bytes = free_memory.count_bytes(loaded)
    description = loaded_models.LoadedModel(
        model.name, device_config.device, device_config.dtype, sum(device_bytes.values())
    )
    loaded_models.add(
        loaded_models.Entry(key, model.files, description, loaded, device_bytes, tuple(events), file_hashes)
    )
    return loaded


def check_loadable(model: ResolvedModel, *, safety_checker: bool = False) -> None:
    """Check that a model can be loaded, without reading its weights. See `preflight.check_loadable`.

    Raises:
        ModelUnavailableError: the model cannot be loaded.
    """
    with silence_libraries(), _no_remote_code():
        preflight.check_loadable(model, safety_checker=safety_checker)


def _check_unchanged(model: ResolvedModel) -> None:
    if model.file_identities() != model.files:
        raise ModelUnavailableError(
            f"Cannot use '{model.name}': its files changed while it was used.", "Run the command again."
        )


def clear_cache() -> None:
    """Release the active objects and their memory."""
    drop_cuda_graphs()
    loaded_models.unload_active()
    loaded_models.empty_device_cache()


def drop_cuda_graphs() -> bool:
    """Release the CUDA graphs of the active pipelines and their memory. Return whether there were any."""
    modules = [each for pipe in loaded_models.active_values() for each in getattr(pipe, "components", {}).values()]
    dropped = [cuda_graphs.drop_graphs(module) for module in modules if isinstance(module, torch.nn.Module)]
    return any(dropped)


def pipeline_for_task(pipe: Pipeline, model: ResolvedModel, task: str, *, pag: bool = False) -> Pipeline:
    """Return the pipeline of a task with the components of `pipe`.

    Args:
        pipe: the model's pipeline.
        model: the model, whose entry in the table of pipelines names the class.
        task: task name of artgen.
        pag: use the pipeline with perturbed-attention guidance.

    Raises:
        ModelUnavailableError: the model does not support the task.
    """
    entry = model.pipeline_entry
    check_task(entry, task, model.name)
    class_name, denoiser_config = (entry.pag if pag else entry.tasks)[task], entry.denoiser_config
    if denoiser_config and not denoiser_config.keys() <= denoiser_of(pipe).config.keys():
        denoiser_of(pipe).register_to_config(**denoiser_config)
    with silence_libraries():
        layers = pag_layers(denoiser_of(pipe).config) if pag else None
        replaced = {} if layers is None else {"pag_applied_layers": layers}
        shared = share_components(pipe, getattr(diffusers, class_name), **replaced)
    shared.set_progress_bar_config(disable=True)
    return shared


def share_components(pipe: Pipeline, cls: Any, **components: Any) -> Pipeline:
    """Return a pipeline of class `cls` with the components and the supported configuration of `pipe`.

    Args:
        pipe: the model's pipeline.
        cls: pipeline class of diffusers.
        components: components that replace the components of `pipe`.
    """
    accepted = inspect.signature(cls.__init__).parameters
    values = {**pipe.config, **pipe.components, **components}
    shared = cls(**{name: value for name, value in values.items() if name in accepted})
    # diffusers does not copy these attributes to the new pipeline: the state of offloading, and an argument of
    # InstructPix2Pix XL that is not in the configuration of the pipeline.
    for name in ("_all_hooks", "_offload_device", "_offload_gpu_id", "is_cosxl_edit"):
        if hasattr(pipe, name):
            setattr(shared, name, getattr(pipe, name))
    return shared


def _read_pipeline(
    model: ResolvedModel,
    device_config: DeviceConfig,
    safety_checker: bool,
    listener: Listener,
    component_filter: components.ComponentFilter = _any_component,
) -> Pipeline:
    """Load the pipeline with the components that the filter selects."""
    if model.is_file:
        return single_files.load_single_file_pipeline(model, device_config, listener, component_filter)
    return components.load_folder_pipeline(model, device_config, safety_checker, listener, component_filter)


@contextlib.contextmanager
def _wrap_load_errors(model: ResolvedModel) -> Iterator[None]:
    try:
        yield
    except ArtgenError:
        raise
    except Exception as error:  # A constructor can raise any exception for an invalid configuration.
        if is_oom(error) or is_device_lost(error):
            raise
        raise ModelUnavailableError(
            f"Cannot load the model '{model.name}': {first_line(error)}", f"artgen models verify {model.name}"
        ) from error


@contextlib.contextmanager
def silence_libraries() -> Iterator[None]:
    """Suppress log messages, warnings and progress bars of the libraries; artgen prints its own."""
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
    """Prevent the execution of code from a model's repository.

    diffusers reads the environment variable DIFFUSERS_DISABLE_REMOTE_CODE when it is imported. This function sets the
    same switch at run time.
    """
    before = dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE
    dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE = True
    try:
        yield
    finally:
        dynamic_modules_utils.DIFFUSERS_DISABLE_REMOTE_CODE = before
