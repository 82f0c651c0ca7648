"""Compute the learning rate of a step: a linear warm-up, then a schedule."""

import math

from artgen.spec.settings import OptimizerSettings


def learning_rate_at(step: int, settings: OptimizerSettings) -> float:
    """Return the learning rate of one step.

    constant: the peak. cosine: half a cosine from the peak to 0 (Loshchilov and Hutter, "SGDR", ICLR 2017). step: a
    tenth of the peak after half of the steps, a hundredth after three quarters.

    Args:
        step: index of the step, counted from 0.
        settings: optimizer settings; `learning_rate` is the peak, reached after `lr_warmup_steps`.
    """
    peak = settings.learning_rate or 0.0
    warmup_steps, train_steps = settings.lr_warmup_steps or 0, settings.train_steps or 1
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if settings.lr_scheduler == "cosine":
        progress = (step - warmup_steps) / max(1, train_steps - warmup_steps)
        return peak * 0.5 * (1 + math.cos(math.pi * progress))
    if settings.lr_scheduler == "step":
        progress = step / train_steps
        return peak * (0.01 if progress >= 0.75 else 0.1 if progress >= 0.5 else 1.0)
    return peak
