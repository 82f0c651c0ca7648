"""Detect how a single checkpoint must be sampled: prediction type, zero-SNR schedule, EDM, distilled variant.

The tensors of a denoiser do not contain these facts. Sources, in this order: `NAME.artgen.json` next to the file,
marker tensors, metadata (https://github.com/Stability-AI/ModelSpec, kohya's sd-scripts), the name of the file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError
from artgen.registry.checkpoint_content import FileContent
from artgen.registry.safetensors_header import read_small_tensor
from artgen.registry.variants import Variant, detect_variant, name_words

_V_NAMES = re.compile(r"\bv ?pred(?:iction)?\b|\b768 v\b")
_ZERO_SNR_NAMES = re.compile(r"\bzt ?snr\b|\bz ?snr\b|\bzero (?:terminal )?snr\b|\bterminal snr\b")
_SD2_EPSILON_NAMES = re.compile(r"\bbase\b|\b512\b|\bturbo\b")
_EDM_V_KEYS = ("edm_vpred.sigma_min", "edm_vpred.sigma_max")
_EDM_MEAN_KEYS = ("edm_mean", "edm_std")
_SIGMA_LIMITS = (1e-6, 1e6)
_STATISTICS_LIMIT = 1e3


@dataclass(frozen=True)
class Edm:
    """Describe a model of Karras et al. 2022 (arXiv 2206.00364), whose noise levels are continuous.

    Attributes:
        name: name of the published model with this format.
        sigma_min: smallest noise level.
        sigma_max: largest noise level.
        sigma_data: standard deviation of the latents in training.
        prediction: prediction type of diffusers' EDM schedulers.
        latents_mean: mean of each latent channel of the VAE; empty if the latents are not normalized by channel.
        latents_std: standard deviation of each latent channel of the VAE.
    """

    name: str
    sigma_min: float
    sigma_max: float
    sigma_data: float
    prediction: str
    latents_mean: tuple[float, ...] = ()
    latents_std: tuple[float, ...] = ()


@dataclass(frozen=True)
class SamplingFacts:
    """Store how a single checkpoint must be sampled.

    Attributes:
        prediction: epsilon, v_prediction, sample or flow.
        zero_snr: whether the last noise level has no signal (Lin et al. 2023, arXiv 2305.08891).
        edm: EDM model, else None.
        variant: distilled variant, else None.
        notes: sentences for the user about what was detected.
    """

    prediction: str
    zero_snr: bool = False
    edm: Edm | None = None
    variant: Variant | None = None
    notes: tuple[str, ...] = ()


def detect_sampling(path: Path, content: FileContent, fields: Mapping[str, Any]) -> SamplingFacts:
    """Detect how a file with a denoiser must be sampled.

    Args:
        path: the file.
        content: its content.
        fields: validated content of `NAME.artgen.json`.

    Raises:
        InputFileError: the parameters of an EDM model are not valid, or a field does not fit the file.
    """
    denoiser = content.denoiser
    architecture = denoiser.architecture if denoiser else "other"
    variant = detect_variant(
        path.stem,
        architecture,
        time_cond_dim=denoiser.time_cond_dim if denoiser else None,
    )
    notes = [] if variant is None else [f"Detected {variant}."]
    if architecture not in ("sd1", "sd2", "sdxl", "sdxl-refiner"):
        _check_fields(path, fields, ("flow",), "a flow-matching model")
        return SamplingFacts("flow", variant=variant, notes=tuple(notes))
    if edm := _edm(path, content):
        _check_fields(path, fields, (edm.prediction,), f"a {edm.name} model")
        notes.insert(0, f"Detected {edm.name}: sampling with the EDM scheduler of this model.")
        return SamplingFacts(edm.prediction, edm=edm, variant=variant, notes=tuple(notes))
    _check_fields(path, fields, ("epsilon", "v_prediction", "sample"), "a model with a UNet", zero_snr=True)
    prediction, source = _prediction(path, content, fields, variant)
    zero_snr, zero_source = _zero_snr(path, content, fields)
    if zero_snr and prediction != "v_prediction":
        notes.append(
            f"The zero-SNR schedule ({zero_source}) is not used, because the prediction is {prediction}. "
            f"{_override_hint(path, 'prediction', 'v_prediction')}"
        )
        zero_snr = False
    if prediction == "v_prediction":
        schedule = f"a zero-SNR schedule ({zero_source})" if zero_snr else "no zero-SNR schedule"
        notes.insert(0, f"Detected v-prediction ({source}) with {schedule}.")
    if source == "assumed":
        notes[0] = (
            "Assuming v-prediction, as in Stable Diffusion 2.1 at 768 pixels: the file does not contain its prediction "
            f"type. {_override_hint(path, 'prediction', 'epsilon')}"
        )
    return SamplingFacts(prediction, zero_snr, variant=variant, notes=tuple(notes))


def _check_fields(
    path: Path, fields: Mapping[str, Any], predictions: tuple[str, ...], kind: str, *, zero_snr: bool = False
) -> None:
    """Reject values of `NAME.artgen.json` that the file cannot have.

    Raises:
        InputFileError: the prediction is not one of `predictions`, or a zero-SNR schedule is not possible.
    """
    is_unfit = {
        "prediction": fields.get("prediction", predictions[0]) not in predictions,
        "zero_snr": fields.get("zero_snr", False) and not zero_snr,
    }
    for key in (key for key, unfit in is_unfit.items() if unfit):
        raise InputFileError(
            f"Cannot use '{path.stem}.artgen.json': {key} cannot be {fields[key]!r}, because '{path.name}' is {kind}.",
            f"Remove {key} from the file.",
        )


def _override_hint(path: Path, key: str, value: str) -> str:
    return f'To change this, write {{"{key}": "{value}"}} to \'{path.stem}.artgen.json\' next to the file.'


def _prediction(
    path: Path, content: FileContent, fields: Mapping[str, Any], variant: Variant | None
) -> tuple[str, str]:
    """Return the prediction type and its source."""
    metadata, words = content.header.metadata, name_words(path.stem)
    if "prediction" in fields:
        return fields["prediction"], f"from {path.stem}.artgen.json"
    if "v_pred" in content.shapes:
        return "v_prediction", "tensor v_pred"
    if stated := metadata.get("modelspec.prediction_type", "").strip().lower():
        return "v_prediction" if stated.startswith("v") else "epsilon", "metadata modelspec.prediction_type"
    if metadata.get("ss_v_parameterization", "").strip().lower() == "true":
        return "v_prediction", "metadata ss_v_parameterization"
    if _V_NAMES.search(words):
        return "v_prediction", "name of the file"
    if variant is not None:
        return str(variant.scheduler.get("prediction_type", "epsilon")), "variant"
    denoiser = content.denoiser
    if denoiser and denoiser.architecture == "sd2" and denoiser.channels == 4 and not _SD2_EPSILON_NAMES.search(words):
        return "v_prediction", "assumed"
    return "epsilon", "default"


def _zero_snr(path: Path, content: FileContent, fields: Mapping[str, Any]) -> tuple[bool, str]:
    """Return whether the file requires a zero-SNR schedule, and the source of this fact."""
    if "zero_snr" in fields:
        return fields["zero_snr"], f"from {path.stem}.artgen.json"
    if "ztsnr" in content.shapes:
        return True, "tensor ztsnr"
    if content.header.metadata.get("ss_zero_terminal_snr", "").strip().lower() == "true":
        return True, "metadata ss_zero_terminal_snr"
    return bool(_ZERO_SNR_NAMES.search(name_words(path.stem))), "name of the file"


def _edm(path: Path, content: FileContent) -> Edm | None:
    """Return the EDM parameters of CosXL (v-prediction) and of Playground 2.5 (epsilon)."""
    if any(key in content.shapes for key in _EDM_V_KEYS):
        low, high = (
            _sigma(path, content, key, default) for key, default in zip(_EDM_V_KEYS, (0.002, 120.0), strict=True)
        )
        if low >= high:
            raise InputFileError(f"Cannot use '{path}': its smallest noise level is not below its largest one.", "")
        return Edm("CosXL", low, high, 1.0, "v_prediction")
    if any(key in content.shapes for key in _EDM_MEAN_KEYS):
        mean, std = (_statistics(path, key) for key in _EDM_MEAN_KEYS)
        return Edm("Playground 2.5", 0.002, 80.0, 0.5, "epsilon", mean, std)
    return None


def _sigma(path: Path, content: FileContent, key: str, default: float) -> float:
    if key not in content.shapes:
        return default
    values = read_small_tensor(path, key)
    if len(values) != 1 or not _SIGMA_LIMITS[0] <= values[0] <= _SIGMA_LIMITS[1]:
        raise InputFileError(f"Cannot use '{path}': {key} is not a noise level.", "Download it again.")
    return values[0]


def _statistics(path: Path, key: str) -> tuple[float, ...]:
    values = read_small_tensor(path, key)
    if len(values) != 4 or not all(abs(value) <= _STATISTICS_LIMIT for value in values):
        raise InputFileError(f"Cannot use '{path}': {key} does not have 4 finite values.", "Download it again.")
    return values
