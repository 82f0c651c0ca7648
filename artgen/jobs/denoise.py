"""Fill in the defaults of denoise requests and check that a model supports the method."""

from typing import Any

from artgen.errors import ModelUnavailableError, UsageError
from artgen.events import Listener, no_op
from artgen.registry import ResolvedModel, default_model
from artgen.spec.restoration_requests import Denoise
from artgen.spec.seeds import generate_seed

DEFAULT_DENOISER = "denoiser"
"""Name of the default model of the method pixel."""

DEFAULT_LATENT_STEPS = 4

NUM_AUGMENTATIONS = 8
"""Number of flips and quarter turns of an image."""


def model_name(request: Denoise, listener: Listener = no_op) -> str | None:
    """Return the model of a request, or the default model; None for the classical methods.

    The listener receives a note about the download of the default model.
    """
    if request.method in ("tv", "nlm"):
        return None
    if request.model is None and request.method == "latent":
        return default_model(offline=request.offline, listener=listener)
    return request.model or DEFAULT_DENOISER


def fill_defaults(request: Denoise, model: ResolvedModel | None) -> Denoise:
    """Return the request with all defaults filled in. Only a request with random noise gets a seed.

    Raises:
        UsageError: settings contradict each other.
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
            raise UsageError(
                f"{name} needs 2 steps or more.", f"Add --steps 10, or remove --{name}.", settings=(name, "steps")
            )
    if not request.eta and (request.self_ensemble or 1) > NUM_AUGMENTATIONS:
        raise UsageError(
            f"--self-ensemble cannot be {request.self_ensemble}: an image has {NUM_AUGMENTATIONS} flips and rotations.",
            "Add --steps 10 --eta 1 for runs with different noise.",
            settings=("self_ensemble",),
        )


def check_model_type(request: Denoise, model: ResolvedModel) -> None:
    """Check that a model supports the method of a denoise request.

    Raises:
        ModelUnavailableError: the model has another architecture.
    """
    if request.method == "latent":
        _check_latent_model(model)
    elif model.architecture != "pixel":
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' with --method pixel: it is not an unconditional pixel-space diffusion model.",
            "Add --method latent, or remove --model.",
            settings=("model",),
        )


def _check_latent_model(model: ResolvedModel) -> None:
    if model.architecture == "pixel":
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' with --method latent: it is a pixel-space diffusion model without a prompt.",
            "Use the model with --method pixel, or choose another --model (`artgen models list`).",
            settings=("model",),
        )
    if not model.pipeline_entry.supports("latent-denoise"):
        raise ModelUnavailableError(
            f"Cannot use '{model.name}' with --method latent: it is a {model.pipeline_entry.title} model, not a Stable "
            "Diffusion 1, 2 or XL model.",
            "Choose another --model (`artgen models list`).",
            settings=("model",),
        )
