"""Fill in the defaults of a training, which depend on its mode and its model."""

import dataclasses
from typing import TYPE_CHECKING

from artgen.jobs import scratch_model

if TYPE_CHECKING:
    from artgen.jobs.training_plan import TrainingSettings
    from artgen.registry import ResolvedModel

DEFAULT_PERCEPTUAL_WEIGHT = 0.1
"""Default weight of the autoencoder's perceptual term."""
DEFAULT_SNR_GAMMA = 5.0
"""Default gamma of Hang et al., "Efficient diffusion training via min-SNR weighting strategy", ICCV 2023."""
DEFAULT_LEARNING_RATES = {"lora": 3e-4, "full": 1e-5, "vae": 1e-4, "scratch": 2e-4}
DEFAULT_STEPS = {"lora": 500, "full": 500, "vae": 500, "scratch": 10_000}
DEFAULT_EMA_DECAYS = {"lora": 0.0, "full": 0.0, "vae": 0.0, "scratch": 0.9999}
DEFAULT_BATCH_SIZE = 4
"""Default batch size of the modes with a base model."""


def fill_defaults(settings: "TrainingSettings", model: "ResolvedModel | None", resolution: int) -> "TrainingSettings":
    """Return the settings with a value for each unset setting. Without a model, the mode is scratch."""
    mode, training, loss = settings.mode, settings.training, settings.loss
    autoencoder = mode == "vae"
    weight = loss.perceptual_weight
    if weight is None:
        weight = DEFAULT_PERCEPTUAL_WEIGHT if autoencoder or loss.vgg is not None else 0.0
    gamma = loss.snr_gamma
    if gamma is None:
        gamma = DEFAULT_SNR_GAMMA if model is not None and model.prediction == "epsilon" else 0.0
    optimizer = settings.optimizer
    steps, warmup_steps, ema_decay = optimizer.train_steps, optimizer.lr_warmup_steps, optimizer.ema_decay
    steps = steps or DEFAULT_STEPS[mode]
    batch_size = DEFAULT_BATCH_SIZE if model is not None else scratch_model.default_batch_size(resolution)
    optimizer = dataclasses.replace(
        optimizer,
        train_steps=steps,
        train_batch_size=optimizer.train_batch_size or batch_size,
        learning_rate=optimizer.learning_rate or DEFAULT_LEARNING_RATES[mode],
        lr_warmup_steps=steps // 20 if warmup_steps is None else warmup_steps,
        ema_decay=DEFAULT_EMA_DECAYS[mode] if ema_decay is None else ema_decay,
    )
    return dataclasses.replace(
        settings,
        training=dataclasses.replace(
            training,
            target=training.target or ("decoder" if autoencoder else "attention"),
            alpha=training.alpha or float(training.rank),
            channels=None if model is not None else training.channels or scratch_model.DEFAULT_CHANNELS,
        ),
        loss=dataclasses.replace(loss, perceptual_weight=weight, snr_gamma=gamma),
        optimizer=optimizer,
    )
