"""From the settings of a training to a plan that lacks nothing: all that can be refused is refused here, without torch.

The order is that of cost: numbers, places, the model's description, then the pictures.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import fitting, machine, registry
from artgen.checkpoints import read_header
from artgen.errors import InputFileError, ModelUnavailableError, UsageError
from artgen.events import Downloading, Listener, ignore
from artgen.settings import Learning, Loss, Optimisation, Place, Progress, Weights
from artgen.settings.training import Data
from artgen.training import collection, results
from artgen.training.buckets import bucket

TRAINABLE = ("sd1", "sd2", "sdxl")
PERCEPTUAL_WEIGHT = 0.1
"""Of the autoencoder's perceptual term, unless it is said."""
SNR_GAMMA = 5.0
"""As in the paper: Hang et al., "Efficient diffusion training via min-SNR weighting strategy", ICCV 2023."""
RATES = {"lora": 3e-4, "full": 1e-5, "autoencoder": 1e-4}
SNAPSHOTS = 4
COARSE = 64
"""Sides of models of 512 pixels and more are multiples of this, so that all levels of the network halve evenly."""
FREE = frozenset({"checkpoint_every", "keep", "snapshot_every", "snapshot_prompts", "resume", "lora_format"})
"""Settings that change nothing in what is learnt, and may change when it goes on."""


@dataclass(frozen=True)
class Settings:
    """The settings of a training, by group."""

    data: Data
    learning: Learning
    optimisation: Optimisation
    loss: Loss
    progress: Progress
    place: Place
    seed: int = 0

    @property
    def kind(self) -> str:
        """lora, full or autoencoder."""
        if self.learning.train_task == "autoencoder":
            return "autoencoder"
        return "full" if self.learning.full else "lora"


@dataclass(frozen=True)
class Plan:
    """A training that lacks nothing.

    Attributes:
        settings: none that the kind of training needs is None.
        model: what is trained on from.
        pictures: what is learnt from.
        layout: where everything goes.
        resolution: side in pixels of the square whose area a picture gets.
    """

    settings: Settings
    model: registry.ResolvedModel
    pictures: collection.Collection
    layout: results.Layout
    resolution: int

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """The shape that each picture is trained at, width and height in pixels."""
        multiple = COARSE if self.resolution >= 512 else self.model.multiple
        return [bucket(each.width, each.height, self.resolution, multiple) for each in self.pictures.examples]

    @property
    def captions(self) -> tuple[str, ...]:
        """A caption for each picture, the trigger in front where it is not in it."""
        trigger = self.settings.learning.trigger
        captions = (example.caption for example in self.pictures.examples)
        return tuple(with_trigger(caption, trigger) for caption in captions)

    @property
    def snapshot_prompts(self) -> tuple[str, ...]:
        """What snapshots draw: what was asked for, else the first different captions."""
        return self.settings.progress.snapshot_prompts or tuple(dict.fromkeys(self.captions))[:SNAPSHOTS]

    def record(self) -> dict[str, Any]:
        """What decides what is learnt: settings by name, the model's hash, the hashes of the pictures."""
        given = self.settings
        groups = (given.learning, given.optimisation, given.loss, given.data)
        found = {name: _plain(value) for group in groups for name, value in dataclasses.asdict(group).items()}
        found.update(seed=given.seed, dtype=given.place.dtype, resolution=self.resolution, model=self.model.name)
        found["model_hash"] = self.model.model_hash()
        found["pictures"] = [example.sha256 for example in self.pictures.examples]
        found["captions"] = list(self.captions)
        return {name: value for name, value in found.items() if name not in FREE and name != "folder"}


def with_trigger(caption: str, trigger: str | None) -> str:
    """`trigger, caption`, or the caption where it says the word already."""
    if not trigger or trigger.casefold() in caption.casefold():
        return caption
    return f"{trigger}, {caption}" if caption else trigger


def plan(
    settings: Settings, weights: Weights, output: str | None, *, overwrite: bool = False, listener: Listener = ignore
) -> Plan:
    """Checks and completes what was asked for.

    Raises:
        UsageError: settings that do not fit each other or the machine.
        OutputError: the result's place is taken or cannot be written.
        ModelUnavailableError: the model is not to be had, or is of a kind that is not trained.
        InputFileError: the folder has no usable picture; nothing to resume; no VGG16 in the file given.
    """
    _check_together(settings)
    fitting.check_device(settings.place.device, None)
    if settings.loss.vgg is not None:
        check_vgg(settings.loss.vgg)
    layout = results.layout(output, whole=settings.kind != "lora")
    results.check_free(layout, resume=settings.progress.resume, overwrite=overwrite)
    model = registry.resolve(
        weights.model or machine.default_model(),
        offline=weights.offline,
        on_download=lambda file, done, total: listener(Downloading(file, done, total)),
    )
    registry.check(model)
    check_model(model, settings.kind)
    resolution = settings.data.resolution or min(model.native)
    data = dataclasses.replace(settings.data, resolution=resolution)
    pictures = collection.read(data, listener)
    found = Plan(_completed(dataclasses.replace(settings, data=data), model), model, pictures, layout, resolution)
    if settings.progress.resume:
        _check_same(found)
    return found


def check_model(model: registry.ResolvedModel, kind: str) -> None:
    """Refuses models that are not trained here.

    Raises:
        ModelUnavailableError: saying what kind of model it is.
    """
    if kind == "autoencoder" and model.architecture != "pixel":
        return
    if model.architecture not in TRAINABLE:
        known = {"sd3": "Stable Diffusion 3", "flux": "Flux", "pixel": "pixel"}.get(model.architecture, "such")
        raise ModelUnavailableError(
            f"{model.name}: {known} models cannot be trained here; Stable Diffusion 1, 2 and XL can.",
            "Choose another --model.",
        )
    if model.inpainting:
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
    lacking = [f"features.{number}.weight" for number in VGG_LAYERS if f"{number}.weight" not in names]
    if lacking:
        raise InputFileError(
            f"'{path}' holds no VGG16: it lacks {lacking[0]}.", "Save torchvision's vgg16 as .safetensors."
        )


VGG_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
"""Numbers of the convolutions up to conv4_3 in torchvision's `vgg16().features`."""


def _check_together(settings: Settings) -> None:
    learning = settings.learning
    autoencoder = settings.kind == "autoencoder"
    clashes = (
        (learning.full and autoencoder, "--full", "--task autoencoder"),
        (learning.train_text_encoder and autoencoder, "--text-encoder", "--task autoencoder"),
        (learning.train_text_encoder and settings.kind == "full", "--text-encoder", "--full"),
        (learning.target == "decoder" and not autoencoder, "--target decoder", "a LoRA"),
        (learning.target in ("attention", "linear") and autoencoder, f"--target {learning.target}", "an autoencoder"),
        (bool(learning.target) and settings.kind == "full", "--target", "--full"),
        (settings.loss.vgg is not None and settings.loss.perceptual_weight == 0, "--vgg", "--perceptual-weight 0"),
    )
    for wrong, one, other in clashes:
        if wrong:
            raise UsageError(f"{one} does not go with {other}.", "Leave one of them out.")
    optimisation = settings.optimisation
    if optimisation.learning_rate == 0:
        raise UsageError("--learning-rate 0 learns nothing.", f"The usual is {RATES[settings.kind]:g}.")
    if (optimisation.lr_warmup_steps or 0) > optimisation.train_steps:
        raise UsageError(
            f"The warm-up of {optimisation.lr_warmup_steps} steps is longer than the {optimisation.train_steps} steps "
            "of the training.",
            "Shorten it: --lr-warmup-steps.",
        )


def _completed(settings: Settings, model: registry.ResolvedModel) -> Settings:
    """Every open setting filled."""
    kind, learning, loss = settings.kind, settings.learning, settings.loss
    autoencoder = kind == "autoencoder"
    weight = loss.perceptual_weight
    if weight is None:
        weight = PERCEPTUAL_WEIGHT if autoencoder or loss.vgg is not None else 0.0
    gamma = loss.snr_gamma
    if gamma is None:
        gamma = SNR_GAMMA if model.prediction == "epsilon" else 0.0
    optimisation = settings.optimisation
    warm_up = optimisation.lr_warmup_steps
    optimisation = dataclasses.replace(
        optimisation,
        learning_rate=optimisation.learning_rate or RATES[kind],
        lr_warmup_steps=optimisation.train_steps // 20 if warm_up is None else warm_up,
    )
    return dataclasses.replace(
        settings,
        learning=dataclasses.replace(
            learning,
            target=learning.target or ("decoder" if autoencoder else "attention"),
            alpha=learning.alpha or float(learning.rank),
        ),
        loss=dataclasses.replace(loss, perceptual_weight=weight, snr_gamma=gamma),
        optimisation=optimisation,
    )


def _check_same(found: Plan) -> None:
    """Refuses to go on with other settings than those that the checkpoint was made with."""
    newest = found.layout.newest()
    before = results.read_state(newest)["settings"] if newest else {}
    now = found.record()
    differing = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    if differing:
        told = [f"{name} was {_short(before.get(name))} and is {_short(now.get(name))}" for name in differing[:4]]
        more = f", and {len(differing) - 4} more" if len(differing) > 4 else ""
        raise UsageError(
            f"The checkpoint was made with other settings: {'; '.join(told)}{more}.",
            "Give the same ones to go on, or begin another training with another --output.",
        )


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} others"
    return repr(value)


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
