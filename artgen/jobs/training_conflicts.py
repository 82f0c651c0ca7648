"""Check that the settings of a training do not contradict each other."""

from pathlib import Path
from typing import TYPE_CHECKING

from artgen.errors import InputFileError, UsageError
from artgen.jobs import scratch_model
from artgen.jobs.training_defaults import DEFAULT_LEARNING_RATES, DEFAULT_STEPS
from artgen.registry.safetensors_header import read_header
from artgen.spec.settings import ModelRef, options_of
from artgen.system.counts import counted

if TYPE_CHECKING:
    from artgen.jobs.training_plan import TrainingSettings


def check_conflicts(settings: "TrainingSettings", model_ref: ModelRef) -> None:
    """Check the settings of a request.

    Raises:
        UsageError: two settings contradict each other, or a setting has no effect in the mode.
    """
    training = settings.training
    autoencoder = settings.mode == "vae"
    conflicts = (
        (training.train_text_encoder and autoencoder, "--text-encoder", "--mode vae"),
        (training.train_text_encoder and settings.mode == "full", "--text-encoder", "--mode full"),
        (training.target == "decoder" and not autoencoder, "--target decoder", "a LoRA"),
        (training.target in ("attention", "linear") and autoencoder, f"--target {training.target}", "--mode vae"),
        (bool(training.target) and settings.mode == "full", "--target", "--mode full"),
        (settings.loss.vgg is not None and settings.loss.perceptual_weight == 0, "--vgg", "--perceptual-weight 0"),
    )
    for is_conflict, first, second in conflicts:
        if is_conflict:
            raise UsageError(f"Cannot combine {first} with {second}.", "Remove one of them.")
    if settings.mode == "scratch":
        _check_scratch_conflicts(settings, model_ref)
    elif training.channels is not None:
        raise UsageError(
            "Cannot use --channels: only --mode scratch creates a new network.",
            "Remove --channels, or add --mode scratch.",
            settings=("channels",),
        )
    optimizer = settings.optimizer
    if optimizer.learning_rate == 0:
        raise UsageError(
            "Cannot train with --learning-rate 0: the weights would not change.",
            f"The default is {DEFAULT_LEARNING_RATES[settings.mode]:g}.",
        )
    steps = optimizer.train_steps or DEFAULT_STEPS[settings.mode]
    if (optimizer.lr_warmup_steps or 0) > steps:
        raise UsageError(
            f"Cannot warm up for {counted(optimizer.lr_warmup_steps or 0, 'step')}: the training has "
            f"{counted(steps, 'step')}.",
            "Use a smaller --lr-warmup-steps.",
        )


UNUSED_FROM_SCRATCH = {
    "training": ("rank", "alpha", "target", "train_text_encoder", "trigger", "caption_dropout"),
    "loss": ("perceptual_weight", "vgg"),
    "checkpointing": ("snapshot_prompts", "lora_format"),
    "dataset": ("caption_template",),
}
"""Settings without an effect on a model without prompts, autoencoder and LoRA, by group."""


def _check_scratch_conflicts(settings: "TrainingSettings", model_ref: ModelRef) -> None:
    """Check that no setting of a training from random weights needs a base model, a prompt or a LoRA."""
    given = [
        (name, (field.metadata["setting"].flags or (f"--{name.replace('_', '-')}",))[-1])
        for group, names in UNUSED_FROM_SCRATCH.items()
        for name, field in options_of(type(getattr(settings, group))).items()
        if name in names and getattr(getattr(settings, group), name) != field.default
    ]
    if model_ref.model is not None:
        given.insert(0, ("model", "--model"))
    for name, flag in given:
        raise UsageError(
            f"Cannot combine {flag} with --mode scratch, which trains a new model without prompts from random weights.",
            f"Remove {flag}, or use --mode lora.",
            settings=(name,),
        )
    scratch_model.check_channels(settings.training.channels or scratch_model.DEFAULT_CHANNELS)


def check_vgg(path: Path) -> None:
    """Check that a file contains the convolutions of VGG16.

    Raises:
        InputFileError: the file cannot be read, or a tensor is missing.
    """
    names = {name.rpartition("features.")[2] for name in read_header(path).tensors if "features." in name}
    missing = [f"features.{number}.weight" for number in VGG_CONV_INDICES if f"{number}.weight" not in names]
    if missing:
        raise InputFileError(
            f"Cannot use '{path}' as VGG16: {missing[0]} is missing.", "Save torchvision's vgg16 as .safetensors."
        )


VGG_CONV_INDICES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21)
"""Indices of the convolutions up to conv4_3 in torchvision's `vgg16().features`."""
