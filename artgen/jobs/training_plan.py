"""Convert the settings of a training to a plan: validate the request and fill in defaults, without torch.

Cheap checks run first: numbers, output paths, the model's description, then the images.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import registry
from artgen.dataset import read
from artgen.dataset.buckets import nearest_bucket
from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, Notice, no_op
from artgen.jobs import checks, scratch_model, training_layout
from artgen.jobs.prompt_notes import plain_prompt_note
from artgen.jobs.training_conflicts import UNUSED_FROM_SCRATCH, check_conflicts, check_vgg
from artgen.jobs.training_defaults import DEFAULT_STEPS, fill_defaults
from artgen.spec.settings import (
    CheckpointSettings,
    DeviceSettings,
    LoraTrainingSettings,
    LossSettings,
    ModelRef,
    OptimizerSettings,
    canonical_keys,
    options_of,
)
from artgen.spec.settings.training import DatasetSettings

DEFAULT_NUM_SAMPLES = 4
MAX_LISTED_CHANGES = 4
"""Maximum number of changed settings in the error of a resumed training."""
BUCKET_MULTIPLE = 64
"""At resolutions of 512 pixels and more, bucket sides are multiples of this: each UNet level has an even size."""


@dataclass(frozen=True)
class TrainingSettings:
    """Store the settings of a training, by group."""

    dataset: DatasetSettings
    training: LoraTrainingSettings
    optimizer: OptimizerSettings
    loss: LossSettings
    checkpointing: CheckpointSettings
    device: DeviceSettings
    seed: int = 0

    @property
    def mode(self) -> str:
        """Return lora, full, vae or scratch."""
        return self.training.mode


@dataclass(frozen=True)
class TrainingPlan:
    """Represent a validated training.

    Attributes:
        settings: settings with all defaults of the mode filled in.
        base_model: base model; None for a training from random weights.
        dataset: training images.
        paths: output paths.
        resolution: side of a square in pixels; the area of each bucket is at most the area of this square.
    """

    settings: TrainingSettings
    base_model: registry.ResolvedModel | None
    dataset: read.Dataset
    paths: training_layout.TrainingPaths
    resolution: int

    @property
    def model(self) -> registry.ResolvedModel:
        """Return the base model.

        Raises:
            TypeError: the training starts from random weights.
        """
        if self.base_model is None:
            raise TypeError("a training from random weights has no base model")
        return self.base_model

    @property
    def model_name(self) -> str:
        """Return the short name of the trained model: of the base model, or of the result."""
        return self.paths.result.name if self.base_model is None else self.base_model.short_name

    @property
    def num_steps(self) -> int:
        """Return the number of optimizer steps."""
        return self.settings.optimizer.train_steps or DEFAULT_STEPS[self.settings.mode]

    @property
    def unet_config(self) -> dict[str, Any]:
        """Return the arguments of the `UNet2DModel` of a training from random weights."""
        return scratch_model.unet_config(self.resolution, self.settings.training.channels or 0)

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """Return the bucket size of each image, width and height in pixels."""
        if self.base_model is None:
            return [(self.resolution, self.resolution)] * len(self.dataset.images)
        multiple = BUCKET_MULTIPLE if self.resolution >= 512 else self.model.size_multiple
        return [nearest_bucket(each.width, each.height, self.resolution, multiple) for each in self.dataset.images]

    @property
    def captions(self) -> tuple[str, ...]:
        """Return the caption of each image. The trigger is added to captions that do not contain it."""
        trigger = self.settings.training.trigger
        return tuple(add_trigger(image.caption, trigger) for image in self.dataset.images)

    @property
    def sample_prompts(self) -> tuple[str, ...]:
        """Return the prompts of the sample images: the requested prompts, else the first distinct captions."""
        return self.settings.checkpointing.snapshot_prompts or tuple(dict.fromkeys(self.captions))[:DEFAULT_NUM_SAMPLES]

    def settings_record(self) -> dict[str, Any]:
        """Return everything that affects the trained weights: settings, model hash, image hashes and captions."""
        settings = self.settings
        groups = (settings.training, settings.optimizer, settings.loss, settings.dataset)
        record = {name: _json_value(value) for group in groups for name, value in dataclasses.asdict(group).items()}
        record.update(
            seed=settings.seed,
            dtype=settings.device.dtype,
            resolution=self.resolution,
            model=self.base_model and self.base_model.name,
        )
        if self.base_model is None:
            record |= {"unet": self.unet_config, "noise_schedule": scratch_model.scheduler_config()}
        else:
            record["model_hash"] = self.base_model.model_hash()
        record["images"] = [image.sha256 for image in self.dataset.images]
        record["captions"] = list(self.captions)
        unused = {"folder"}
        if self.base_model is None:
            unused |= {"captions"}.union(*UNUSED_FROM_SCRATCH.values())
        return {name: value for name, value in record.items() if name not in unused}


def add_trigger(caption: str, trigger: str | None) -> str:
    """Return `trigger, caption`, or the caption if it contains the trigger."""
    if not trigger or trigger.casefold() in caption.casefold():
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def create_training_plan(
    settings: TrainingSettings,
    model_ref: ModelRef,
    output: str | None,
    *,
    overwrite: bool = False,
    download: bool = True,
    listener: Listener = no_op,
) -> TrainingPlan:
    """Validate a training request and fill in its defaults.

    Args:
        settings: settings of the command.
        model_ref: base model; the default model of this machine if it is unset. Not used by the mode scratch.
        output: value of `--output`.
        overwrite: replace an existing result and its training folder.
        download: download the weights of the model.
        listener: receives download and image-checking events.

    Raises:
        UsageError: settings conflict with each other, with the machine, or with the checkpoint to resume.
        OutputError: the output exists or is not writable.
        ModelUnavailableError: the model is unknown, incomplete or cannot be trained.
        InputFileError: the folder has no usable image, no checkpoint exists for --resume, or the VGG16 file is invalid.
    """
    check_conflicts(settings, model_ref)
    checks.check_device(settings.device.device, None)
    if settings.loss.vgg is not None:
        check_vgg(settings.loss.vgg)
    paths = training_layout.resolve_training_paths(output, settings.dataset.folder, is_lora=settings.mode == "lora")
    training_layout.check_training_paths(paths, resume=settings.checkpointing.resume, overwrite=overwrite)
    model = None if settings.mode == "scratch" else _resolve_base_model(model_ref, settings.mode, download, listener)
    native_side = scratch_model.DEFAULT_SIZE_PX if model is None else min(model.native_size)
    resolution = settings.dataset.resolution or native_side
    if model is None:
        scratch_model.check_size(resolution)
    dataset_settings = dataclasses.replace(settings.dataset, resolution=resolution)
    dataset = read.read_dataset(dataset_settings, listener)
    settings = fill_defaults(dataclasses.replace(settings, dataset=dataset_settings), model, resolution)
    plan = TrainingPlan(settings, model, dataset, paths, resolution)
    if settings.checkpointing.resume:
        _check_resume_settings(plan)
    for prompt in plan.settings.checkpointing.snapshot_prompts:
        if note := plain_prompt_note(prompt, "snapshot prompt"):
            listener(Notice(note))
    return plan


def _resolve_base_model(model_ref: ModelRef, mode: str, download: bool, listener: Listener) -> registry.ResolvedModel:
    model = registry.resolve_usable_model(
        model_ref.model or registry.default_model(offline=model_ref.offline, listener=listener),
        lambda found: check_trainable(found, mode),
        offline=model_ref.offline,
        download=download,
        listener=listener,
    )
    if model.remote is not None:
        listener(Notice(model.download_note()))
    return model


def check_trainable(model: registry.ResolvedModel, mode: str) -> None:
    """Check that artgen can train a model.

    Raises:
        ModelUnavailableError: the architecture or the kind of model is not supported.
    """
    if mode == "vae" and model.architecture != "pixel":
        return
    if not model.pipeline_entry.supports("training"):
        raise ModelUnavailableError(
            f"Cannot train '{model.name}': {model.pipeline_entry.title} models are not supported, only Stable "
            "Diffusion 1, 2 and XL.",
            "Train a new model: --mode scratch, without --model."
            if model.architecture == "pixel"
            else "Choose another --model.",
        )
    if model.is_inpainting:
        raise ModelUnavailableError(
            f"Cannot train '{model.name}': inpainting models are not supported.",
            "Train the base model of this model. A LoRA of the base model also works with the inpainting model.",
        )
    if model.guidance_scale == 0 or model.scheduler == "lcm":
        raise ModelUnavailableError(
            f"Cannot train '{model.name}': training would undo its distillation to few steps.",
            "Train the model that it was distilled from. A LoRA of that model also works with the distilled model.",
        )


def _check_resume_settings(plan: TrainingPlan) -> None:
    """Check that the settings equal the settings of the checkpoint.

    Raises:
        UsageError: settings differ.
    """
    newest = plan.paths.newest_checkpoint()
    groups = (plan.settings.training, plan.settings.optimizer, plan.settings.loss, plan.settings.dataset)
    known = {name: field for group in groups for name, field in options_of(type(group)).items()}
    before = canonical_keys(training_layout.read_checkpoint_state(newest)["settings"], known) if newest else {}
    if "pictures" in before:  # the name of "images" in checkpoints of earlier versions
        before["images"] = before.pop("pictures")
    now = plan.settings_record()
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        changes = [
            f"{name} was {_format_value(before.get(name))} and is {_format_value(now.get(name))}"
            for name in differing[:MAX_LISTED_CHANGES]
        ]
        others = len(differing) - MAX_LISTED_CHANGES
        more = f", and {others} more" if others > 0 else ""
        raise UsageError(
            f"Cannot resume with other settings than the checkpoint: {'; '.join(changes)}{more}.",
            "Use the settings of the checkpoint, or start a new training with another --output.",
        )


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
