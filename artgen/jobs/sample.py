"""Check requests for images from noise, fill in their defaults, and find the class of a class-conditional model."""

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry import ResolvedModel, diffusers_folder, task_support
from artgen.registry.describe import vae_scale_factor
from artgen.registry.pipeline_entry import PipelineEntry
from artgen.spec.requests import Sample
from artgen.spec.schedulers import identify_scheduler
from artgen.spec.seeds import generate_seed
from artgen.spec.settings import describe_value, parse_whole_number
from artgen.system.counts import counted

FAST_STEPS = 50
"""Number of DDIM steps that a note suggests instead of many DDPM steps."""
SLOW_STEPS = 250
"""Default number of steps from which the note is printed."""
MAX_LISTED_CLASSES = 5
DIT_NULL_CLASS = 1000
"""Class of diffusers' `DiTPipeline` for guidance. It is the class after the last one of ImageNet."""
FIXED_SCHEDULERS = {"DDIMPipeline": "ddim", "PNDMPipeline": None}
"""Default scheduler of pipelines that convert the scheduler of the model; None if artgen has no name for it."""


class ClassLabel(NamedTuple):
    """Represent a class of a model: its number, from 0, and its name; an empty name if the model has no class names."""

    number: int
    name: str


def model_name(request: Sample) -> str:
    """Return the model of a request, which has no default.

    Raises:
        UsageError: the request has no model.
    """
    if request.model is None:
        raise UsageError(
            "sample needs a model without a prompt: --model is missing.", "artgen sample -m google/ddpm-church-256"
        )
    return request.model


def entry_of(model: ResolvedModel) -> PipelineEntry:
    """Return the entry of a model's pipeline, which supports the task sample.

    Raises:
        ModelUnavailableError: the pipeline is unknown, or needs a prompt or an image.
    """
    try:
        task_support.check_task(model.pipeline_entry, Sample.task, model.name)
    except ModelUnavailableError as error:
        raise ModelUnavailableError(error.message, error.hint, settings=("model",)) from None
    return model.pipeline_entry


def check_model(model: ResolvedModel) -> None:
    """Check that a model can generate from noise: its pipeline, and the channels and the size of its denoiser.

    Raises:
        ModelUnavailableError: the model needs a prompt or an image, or its denoiser does not fit its pipeline.
    """
    entry, config = entry_of(model), _denoiser_config(model)
    size, channels = config.get("sample_size"), config.get("in_channels")
    is_pair = isinstance(size, list) and len(size) == 2 and model.pipeline in ("DDPMPipeline", "DDIMPipeline")
    if not isinstance(size, int) and not is_pair:
        raise _unfit(model, f"the sample_size of its {entry.denoiser} is {size}")
    if entry.pixel_space and channels not in ((3,) if model.pipeline == "ScoreSdeVePipeline" else (1, 3)):
        raise _unfit(model, f"its {entry.denoiser} has {channels} input channels, and an image has 3")
    is_conditional = config.get("num_class_embeds") is not None or config.get("class_embed_type") is not None
    if is_conditional and model.pipeline not in ("ConsistencyModelPipeline", "DiTPipeline"):
        raise _unfit(model, f"its {entry.denoiser} needs a class, and {model.pipeline} has none")


def model_channels(model: ResolvedModel) -> tuple[int, int]:
    """Return the channels of the state and of the model output that the scheduler receives.

    A `DiTPipeline` removes the learned variance from the output.
    """
    config = _denoiser_config(model)
    channels = int(config["in_channels"])
    return channels, channels if model.pipeline == "DiTPipeline" else int(config.get("out_channels") or channels)


def image_size(model: ResolvedModel) -> tuple[int, int]:
    """Return the width and height of the images of a model in pixels; `check_model` accepts the model."""
    entry, size = entry_of(model), _denoiser_config(model)["sample_size"]
    factor = 1
    if entry.vae is not None:
        factor = vae_scale_factor(diffusers_folder.read_optional_config(model.path / entry.vae / "config.json"))
    height, width = (size, size) if isinstance(size, int) else size
    return width * factor, height * factor


def fill_defaults(request: Sample, model: ResolvedModel, scheduler_config: Mapping[str, Any]) -> Sample:
    """Return the request with all defaults filled in. The class is replaced by its number.

    Args:
        request: request with unset settings.
        model: model that `check_model` accepts.
        scheduler_config: configuration of the model's scheduler.

    Raises:
        UsageError: a setting has no effect on the model, or the class is missing or unknown.
    """
    entry = entry_of(model)
    _check_settings(request, model, entry)
    found = find_class(request, model)
    steps = request.steps or min(model.steps, _max_steps(entry, scheduler_config))
    _check_steps(steps, model, entry, scheduler_config)
    guidance_scale = request.guidance_scale
    if guidance_scale is None and entry.guidance != "none":
        guidance_scale = model.guidance_scale
    scheduler = request.scheduler
    if scheduler is None:
        name = FIXED_SCHEDULERS.get(model.pipeline, identify_scheduler(scheduler_config)[0])
        scheduler = name if name in entry.schedulers else None
    return request.replace(
        steps=steps,
        guidance_scale=guidance_scale,
        scheduler=scheduler,
        class_label=None if found is None else str(found.number),
        seed=generate_seed() if request.seed is None else request.seed,
    )


def notes(request: Sample, filled: Sample) -> tuple[str, ...]:
    """Return a note if a request without steps takes many steps, and DDIM needs fewer."""
    if request.steps is not None or (filled.steps or 0) < SLOW_STEPS or filled.scheduler != "ddpm":
        return ()
    return (
        f"The default of this model is {filled.steps} steps of DDPM. --scheduler ddim --steps {FAST_STEPS} is faster.",
    )


def find_class(request: Sample, model: ResolvedModel) -> ClassLabel | None:
    """Return the class of a request; None for an unconditional model.

    Raises:
        UsageError: the class is missing or unknown, or the model has no classes.
    """
    names = _class_names(model)
    count = _num_classes(model)
    text = None if request.class_label is None else request.class_label.strip()
    if not count:
        if text is not None:
            raise UsageError(
                f"--class has no effect on '{model.name}': it is an unconditional model.",
                "Remove --class.",
                settings=("class_label",),
            )
        return None
    examples = ", ".join(list(names)[:MAX_LISTED_CLASSES]) or f"0 to {count - 1}"
    if not text:
        raise UsageError(
            f"'{model.name}' generates images of one of {counted(count, 'class', 'classes')}: --class is missing.",
            f"Use a name or a number with --class: {examples}{', ...' if len(names) > MAX_LISTED_CLASSES else ''}.",
        )
    number = parse_whole_number(text)
    if number is None:
        number = names.get(text) or {name.casefold(): value for name, value in names.items()}.get(text.casefold())
    if number is None or not 0 <= number < count:
        close = difflib.get_close_matches(text, list(names), n=3)
        hint = f"Similar classes: {', '.join(close)}." if close else f"Examples: {examples}."
        expected = f"a number from 0 to {count - 1}" + (" or a name of a class" if names else "")
        raise UsageError(
            f"'{model.name}' has no class {describe_value(text)}; expected {expected}.", hint, settings=("class_label",)
        )
    return ClassLabel(number, next((name for name, value in names.items() if value == number), ""))


def _check_settings(request: Sample, model: ResolvedModel, entry: PipelineEntry) -> None:
    """Check that the settings have an effect on the model."""
    if request.guidance_scale is not None and entry.guidance == "none":
        kind = "class-conditional without guidance" if _num_classes(model) else "unconditional"
        raise UsageError(
            f"--guidance-scale has no effect on '{model.name}': it is {kind}.",
            "Remove --guidance-scale.",
            settings=("guidance_scale",),
        )
    if request.scheduler is not None and request.scheduler not in entry.schedulers:
        supported = ", ".join(entry.schedulers)
        raise UsageError(
            f"Cannot use --scheduler {request.scheduler} with '{model.name}', a model of the type {model.pipeline}.",
            f"Supported schedulers: {supported}."
            if supported
            else "Remove --scheduler: only the scheduler of the model works.",
            settings=("scheduler",),
        )
    if request.dtype in ("fp16", "bf16") and not entry.supports("half-precision"):
        raise UsageError(
            f"Cannot use --dtype {request.dtype} with '{model.name}': {model.pipeline} computes in fp32.",
            "Remove --dtype.",
            settings=("dtype",),
        )
    scale = model.guidance_scale if request.guidance_scale is None else request.guidance_scale
    if model.pipeline == "DiTPipeline" and scale > 1 and _num_classes(model) != DIT_NULL_CLASS:
        raise UsageError(
            f"Cannot use guidance with '{model.name}': it has {_num_classes(model)} classes, and the guidance of "
            f"DiTPipeline needs {DIT_NULL_CLASS}.",
            "Add --guidance-scale 1.",
        )


def _check_steps(steps: int, model: ResolvedModel, entry: PipelineEntry, scheduler_config: Mapping[str, Any]) -> None:
    limit = _max_steps(entry, scheduler_config)
    if steps > limit:
        raise UsageError(
            f"Cannot use {counted(steps, 'step')} with '{model.name}': its scheduler has "
            f"{counted(limit, 'training timestep')}.",
            f"Use --steps {limit} or fewer.",
            settings=("steps",),
        )


def _max_steps(entry: PipelineEntry, scheduler_config: Mapping[str, Any]) -> int:
    """Return the number of training timesteps. The continuous schedule of `ScoreSdeVePipeline` has no limit."""
    limit = scheduler_config.get("num_train_timesteps", 1000)
    return limit if isinstance(limit, int) and entry.name != "score-sde-ve" else entry.steps


def _denoiser_config(model: ResolvedModel) -> Mapping[str, Any]:
    index = diffusers_folder.read_model_index(model.path)
    classes = {name: class_name for name, _, class_name in diffusers_folder.iter_components(index)}
    name = model.pipeline_entry.denoiser
    folder = diffusers_folder.component_folder(model.path, name, classes.get(name, ""))
    return diffusers_folder.read_optional_config(folder / "config.json")


def _num_classes(model: ResolvedModel) -> int:
    """Return the number of classes of a class-conditional model; 0 for an unconditional model."""
    config = _denoiser_config(model)
    count = config.get("num_embeds_ada_norm" if model.pipeline == "DiTPipeline" else "num_class_embeds")
    return count if isinstance(count, int) else 0


def _class_names(model: ResolvedModel) -> dict[str, int]:
    """Return the classes by name, as in diffusers' `DiTPipeline`: `id2label` has several names for a number."""
    labels = diffusers_folder.read_model_index(model.path).get("id2label")
    found: dict[str, int] = {}
    for key, value in labels.items() if isinstance(labels, dict) else ():
        if isinstance(value, str) and (number := parse_whole_number(str(key))) is not None:
            found |= {name.strip(): number for name in value.split(",") if name.strip()}
    return found


def _unfit(model: ResolvedModel, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(f"Cannot generate with '{model.name}': {reason}.", "Use another copy of the model.")
