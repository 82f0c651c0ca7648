"""What a request to denoise leaves open, and which models can do it."""

from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry import ResolvedModel
from artgen.spec.requests import Denoise, Request, generate_seed
from artgen.system import hardware

DEFAULT_DENOISER = "denoiser"
"""The model of pixels that is taken when none is named."""

DEFAULT_LATENT_STEPS = 4
"""Steps in latents when none are asked for."""

NUM_AUGMENTATIONS = 8
"""Flips and quarter turns of a picture."""


def model_name(request: Denoise) -> str | None:
    """The model that a request asks for, or that is taken for it; None for the classical methods."""
    if request.method in ("tv", "nlm"):
        return None
    return request.model or (hardware.default_model() if request.method == "latent" else DEFAULT_DENOISER)


def fill_defaults(request: Denoise, model: ResolvedModel | None) -> Denoise:
    """The request with nothing left open; a seed is drawn only where chance has a say.

    Raises:
        UsageError: settings that do not fit each other.
    """
    method = request.method or "pixel"
    filled: dict[str, Any] = {"method": method, "sigma": request.sigma or "auto"}
    if model is not None:
        steps = request.steps or (DEFAULT_LATENT_STEPS if method == "latent" else 1)
        _check_steps_and_ensemble(request, steps)
        filled |= {"model": model.name, "steps": steps, "self_ensemble": request.self_ensemble or 1}
        if method == "pixel" and steps > 1:
            filled |= {"fidelity": request.fidelity or 0.0, "eta": request.eta or 0.0}
    if request.seed is None and request.eta:
        filled["seed"] = generate_seed()
    return request.replace(**filled)


def _check_steps_and_ensemble(request: Denoise, steps: int) -> None:
    for name in ("eta", "fidelity"):
        if steps == 1 and getattr(request, name):
            raise UsageError(f"{name} needs 2 steps or more.", f"Add --steps 10, or leave --{name} out.")
    if not request.eta and (request.self_ensemble or 1) > NUM_AUGMENTATIONS:
        raise UsageError(
            f"A picture has {NUM_AUGMENTATIONS} flips and turns; --self-ensemble cannot be {request.self_ensemble}.",
            "Add --steps 10 --eta 1 for runs with different noise.",
        )


def check_model_type(request: Request, model: ResolvedModel) -> None:
    """Holds a task to its kind of model: unconditional models of pixels denoise, those that follow words do the rest.

    Raises:
        ModelUnavailableError: it is of the other kind.
    """
    method = (request.method or "pixel") if isinstance(request, Denoise) else None
    if method != "pixel" and model.architecture == "pixel":
        raise ModelUnavailableError(
            f"{model.name} is a diffusion model of pixels without words and cannot do {method or request.task}.",
            "Use it with `artgen denoise`, or choose another --model (`artgen models list`).",
        )
    if method == "pixel" and model.architecture != "pixel":
        raise ModelUnavailableError(
            f"{model.name} is no unconditional diffusion model of pixels.",
            "Add --method latent to denoise with it all the same, or leave --model out.",
        )
    if method == "latent" and model.architecture not in ("sd1", "sd2", "sdxl"):
        raise ModelUnavailableError(
            f"{model.name} cannot denoise in latents, which takes a Stable Diffusion 1, 2 or XL model.",
            "Choose another --model (`artgen models list`).",
        )
