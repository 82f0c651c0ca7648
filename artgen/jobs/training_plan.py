"""From the settings of a training to a plan that lacks nothing: all that can be refused is refused here, without torch.

The order is that of cost: numbers, places, the model's description, then the pictures.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import registry
from artgen.dataset import read
from artgen.dataset.buckets import nearest_bucket
from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, no_op
from artgen.jobs import checks, training_layout
from artgen.registry.safetensors_header import read_header
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
from artgen.system import hardware

TRAINABLE_ARCHITECTURES = ("sd1", "sd2", "sdxl")
DEFAULT_PERCEPTUAL_WEIGHT = 0.1
"""Of the autoencoder's perceptual term, unless it is said."""
DEFAULT_SNR_GAMMA = 5.0
"""As in the paper: Hang et al., "Efficient diffusion training via min-SNR weighting strategy", ICCV 2023."""
DEFAULT_LEARNING_RATES = {"lora": 3e-4, "full": 1e-5, "vae": 1e-4}
DEFAULT_NUM_SAMPLES = 4
BUCKET_MULTIPLE = 64
"""Sides of models of 512 pixels and more are multiples of this, so that all levels of the network halve evenly."""
RESUME_MUTABLE = frozenset(
    {"checkpoint_every", "keep_checkpoints", "snapshot_every", "snapshot_prompts", "resume", "lora_format"}
)
"""Settings that change nothing in what is learnt, and may change when it goes on."""


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training, by group."""

    dataset: DatasetSettings
    training: LoraTrainingSettings
    optimizer: OptimizerSettings
    loss: LossSettings
    checkpointing: CheckpointSettings
    device: DeviceSettings
    seed: int = 0

    @property
    def mode(self) -> str:
        """lora, full or vae."""
        return self.training.mode


@dataclass(frozen=True)
class TrainingPlan:
    """A training that lacks nothing.

    Attributes:
        settings: none that the kind of training needs is None.
        model: what is trained on from.
        dataset: what is learnt from.
        paths: where everything goes.
        resolution: side in pixels of the square whose area a picture gets.
    """

    settings: TrainingSettings
    model: registry.ResolvedModel
    dataset: read.Dataset
    paths: training_layout.TrainingPaths
    resolution: int

    @property
    def image_sizes(self) -> list[tuple[int, int]]:
        """The shape that each picture is trained at, width and height in pixels."""
        multiple = BUCKET_MULTIPLE if self.resolution >= 512 else self.model.size_multiple
        return [nearest_bucket(each.width, each.height, self.resolution, multiple) for each in self.dataset.images]

    @property
    def captions(self) -> tuple[str, ...]:
        """A caption for each picture, the trigger in front where it is not in it."""
        trigger = self.settings.training.trigger
        captions = (example.caption for example in self.dataset.images)
        return tuple(add_trigger(caption, trigger) for caption in captions)

    @property
    def sample_prompts(self) -> tuple[str, ...]:
        """What snapshots draw: what was asked for, else the first different captions."""
        return self.settings.checkpointing.snapshot_prompts or tuple(dict.fromkeys(self.captions))[:DEFAULT_NUM_SAMPLES]

    def settings_record(self) -> dict[str, Any]:
        """What decides what is learnt: settings by name, the model's hash, the hashes of the pictures."""
        given = self.settings
        groups = (given.training, given.optimizer, given.loss, given.dataset)
        found = {name: _json_value(value) for group in groups for name, value in dataclasses.asdict(group).items()}
        found.update(seed=given.seed, dtype=given.device.dtype, resolution=self.resolution, model=self.model.name)
        found["model_hash"] = self.model.model_hash()
        found["pictures"] = [example.sha256 for example in self.dataset.images]
        found["captions"] = list(self.captions)
        return {name: value for name, value in found.items() if name not in RESUME_MUTABLE and name != "folder"}


def add_trigger(caption: str, trigger: str | None) -> str:
    """`trigger, caption`, or the caption where it says the word already."""
    if not trigger or trigger.casefold() in caption.casefold():
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def create_training_plan(
    settings: TrainingSettings,
    model_ref: ModelRef,
    output: str | None,
    *,
    overwrite: bool = False,
    listener: Listener = no_op,
) -> TrainingPlan:
    """Checks and completes what was asked for.

    Raises:
        UsageError: settings that do not fit each other or the machine.
        OutputError: the result's place is taken or cannot be written.
        ModelUnavailableError: the model is not to be had, or is of a kind that is not trained.
        InputFileError: the folder has no usable picture; nothing to resume; no VGG16 in the file given.
    """
    _check_conflicts(settings)
    checks.check_device(settings.device.device, None)
    if settings.loss.vgg is not None:
        check_vgg(settings.loss.vgg)
    layout = training_layout.resolve_training_paths(output, is_model_folder=settings.mode != "lora")
    training_layout.check_training_paths(layout, resume=settings.checkpointing.resume, overwrite=overwrite)
    model = registry.resolve_model(
        model_ref.model or hardware.default_model(),
        offline=model_ref.offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    registry.check_model_files(model)
    check_trainable(model, settings.mode)
    resolution = settings.dataset.resolution or min(model.native_size)
    data = dataclasses.replace(settings.dataset, resolution=resolution)
    pictures = read.read_dataset(data, listener)
    found = TrainingPlan(
        _fill_defaults(dataclasses.replace(settings, dataset=data), model), model, pictures, layout, resolution
    )
    if settings.checkpointing.resume:
        _check_resume_settings(found)
    return found


def check_trainable(model: registry.ResolvedModel, mode: str) -> None:
    """Refuses models that are not trained here.

    Raises:
        ModelUnavailableError: saying what kind of model it is.
    """
    if mode == "vae" and model.architecture != "pixel":
        return
    if model.architecture not in TRAINABLE_ARCHITECTURES:
        known = {"sd3": "Stable Diffusion 3", "flux": "Flux", "pixel": "pixel"}.get(model.architecture, "such")
        raise ModelUnavailableError(
            f"{model.name}: {known} models cannot be trained here; Stable Diffusion 1, 2 and XL can.",
            "Choose another --model.",
        )
    if model.is_inpainting:
        raise ModelUnavailableError(
            f"{model.name} is an inpainting model, and its masks are not trained here.",
            "Train on the model it was made from; a LoRA of that works with it too.",
        )
    if model.guidance_scale == 0 or model.scheduler == "lcm":
        raise ModelUnavailableError(
            f"{model.name} is distilled to a few steps, which training on would undo.",
            "Train on the model it was distilled from; a LoRA of that works with it too.",
        )


def check_vgg(path: Path) -> None:
    """Refuses a file that does not hold the convolutions of VGG16.

    Raises:
        InputFileError: naming what it lacks.
    """
    names = {name.rpartition("features.")[2] for name in read_header(path).tensors if "features." in name}
    lacking = [f"features.{number}.weight" for number in VGG_CONV_INDICES if f"{number}.weight" not in names]
    if lacking:
        raise InputFileError(
            f"'{path}' holds no VGG16: it lacks {lacking[0]}.", "Save torchvision's vgg16 as .safetensors."
        )


VGG_CONV_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
"""Numbers of the convolutions up to conv4_3 in torchvision's `vgg16().features`."""


def _check_conflicts(settings: TrainingSettings) -> None:
    learning = settings.training
    autoencoder = settings.mode == "vae"
    clashes = (
        (learning.train_text_encoder and autoencoder, "--text-encoder", "--mode vae"),
        (learning.train_text_encoder and settings.mode == "full", "--text-encoder", "--mode full"),
        (learning.target == "decoder" and not autoencoder, "--target decoder", "a LoRA"),
        (learning.target in ("attention", "linear") and autoencoder, f"--target {learning.target}", "--mode vae"),
        (bool(learning.target) and settings.mode == "full", "--target", "--mode full"),
        (settings.loss.vgg is not None and settings.loss.perceptual_weight == 0, "--vgg", "--perceptual-weight 0"),
    )
    for wrong, one, other in clashes:
        if wrong:
            raise UsageError(f"{one} does not go with {other}.", "Leave one of them out.")
    optimisation = settings.optimizer
    if optimisation.learning_rate == 0:
        raise UsageError(
            "--learning-rate 0 learns nothing.", f"The usual is {DEFAULT_LEARNING_RATES[settings.mode]:g}."
        )
    if (optimisation.lr_warmup_steps or 0) > optimisation.train_steps:
        raise UsageError(
            f"The warm-up of {optimisation.lr_warmup_steps} steps is longer than the {optimisation.train_steps} steps "
            "of the training.",
            "Shorten it: --lr-warmup-steps.",
        )


def _fill_defaults(settings: TrainingSettings, model: registry.ResolvedModel) -> TrainingSettings:
    """Every open setting filled."""
    kind, learning, loss = settings.mode, settings.training, settings.loss
    autoencoder = kind == "vae"
    weight = loss.perceptual_weight
    if weight is None:
        weight = DEFAULT_PERCEPTUAL_WEIGHT if autoencoder or loss.vgg is not None else 0.0
    gamma = loss.snr_gamma
    if gamma is None:
        gamma = DEFAULT_SNR_GAMMA if model.prediction == "epsilon" else 0.0
    optimisation = settings.optimizer
    warm_up = optimisation.lr_warmup_steps
    optimisation = dataclasses.replace(
        optimisation,
        learning_rate=optimisation.learning_rate or DEFAULT_LEARNING_RATES[kind],
        lr_warmup_steps=optimisation.train_steps // 20 if warm_up is None else warm_up,
    )
    return dataclasses.replace(
        settings,
        training=dataclasses.replace(
            learning,
            target=learning.target or ("decoder" if autoencoder else "attention"),
            alpha=learning.alpha or float(learning.rank),
        ),
        loss=dataclasses.replace(loss, perceptual_weight=weight, snr_gamma=gamma),
        optimizer=optimisation,
    )


def _check_resume_settings(plan: TrainingPlan) -> None:
    """Refuses to go on with other settings than those that the checkpoint was made with."""
    newest = plan.paths.newest_checkpoint()
    groups = (plan.settings.training, plan.settings.optimizer, plan.settings.loss, plan.settings.dataset)
    known = {name: field for group in groups for name, field in options_of(type(group)).items()}
    before = canonical_keys(training_layout.read_checkpoint_state(newest)["settings"], known) if newest else {}
    now = plan.settings_record()
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        told = [
            f"{name} was {_format_value(before.get(name))} and is {_format_value(now.get(name))}"
            for name in differing[:4]
        ]
        more = f", and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UsageError(
            f"The checkpoint was made with other settings: {'; '.join(told)}{more}.",
            "Give the same ones to go on, or begin another training with another --output.",
        )


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} others"
    return repr(value)


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
