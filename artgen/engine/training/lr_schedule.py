"""The learning rate: a warm-up, then a schedule."""

import math

from artgen.spec.settings import OptimizerSettings


def learning_rate_at(step: int, settings: OptimizerSettings) -> float:
    """The learning rate of one step.

    constant: the peak. cosine: half a cosine down to nothing (Loshchilov and Hutter, "SGDR", ICLR 2017). step: a tenth
    of the peak from half of the steps on, a hundredth from three quarters.

    Args:
        step: counted from 0.
        settings: with a learning rate, the peak; it is reached after `lr_warmup_steps`.
    """
    peak = settings.learning_rate or 0.0
    warm_up = settings.lr_warmup_steps or 0
    if step < warm_up:
        return peak * (step + 1) / (warm_up + 1)
    share = (step - warm_up) / max(1, settings.train_steps - warm_up)
    if settings.lr_scheduler == "cosine":
        return peak * 0.5 * (1 + math.cos(math.pi * share))
    if settings.lr_scheduler == "step":
        done = step / settings.train_steps
        return peak * (0.01 if done >= 0.75 else 0.1 if done >= 0.5 else 1.0)
    return peak
