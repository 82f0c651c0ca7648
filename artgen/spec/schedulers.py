"""Define the supported schedulers and their names in other tools. The engine creates the schedulers.

Accepted names: AUTOMATIC1111 ("DPM++ 2M Karras", "Euler a"), k-diffusion and ComfyUI (`dpmpp_2m`, `euler_ancestral`),
stable-diffusion.cpp (`dpm++2m`, `euler_a`) and diffusers (`DPMSolverMultistepScheduler`). Case, spaces and punctuation
are ignored. A name selects only the algorithm that it names: another algorithm of the same family is an alternative in
the hint of the error.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from artgen.errors import UsageError
from artgen.spec.sampler_names import UNSUPPORTED_SCHEDULERS

SIGMA_SPACINGS = ("normal", "karras", "exponential", "beta")
"""Spacings of the noise levels: default of the model, Karras et al. 2022, exponential, Beta distribution."""


@dataclass(frozen=True)
class Scheduler:
    """Represent one scheduler.

    Attributes:
        name: name in artgen and in records.
        a1111_name: display name in AUTOMATIC1111, written to A1111 metadata.
        class_name: name of the diffusers class.
        aliases: other accepted names.
        config_overrides: values that override the scheduler configuration of the model.
        supports_zero_snr: the class has `rescale_betas_zero_snr`. Other classes ignore it: their first noise level is
            lower than the level of the model (Lin et al. 2023, arXiv 2305.08891).
        supports_sigmas: `--sigmas` supports values other than `normal`.
        is_flow_matching: the scheduler supports only flow-matching models (Stable Diffusion 3, Flux).
        required_packages: packages that the class needs and that artgen does not install by default.
        note: one line for `artgen schedulers`.
    """

    name: str
    a1111_name: str
    class_name: str
    aliases: tuple[str, ...] = ()
    config_overrides: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    supports_sigmas: bool = False
    supports_zero_snr: bool = False
    is_flow_matching: bool = False
    required_packages: tuple[str, ...] = ()
    note: str = ""


def _freeze_config(**config: object) -> Mapping[str, object]:
    return MappingProxyType(config)


SCHEDULERS: tuple[Scheduler, ...] = (
    Scheduler(
        "dpm++2m", "DPM++ 2M", "DPMSolverMultistepScheduler", ("dpmpp_2m", "k_dpmpp_2m", "dpmpp_2", "k_dpmpp_2"),
        _freeze_config(algorithm_type="dpmsolver++", solver_order=2), supports_sigmas=True, supports_zero_snr=True,
        note="second order; 15 steps or more",
    ),
    Scheduler(
        "dpm++2m-sde", "DPM++ 2M SDE", "DPMSolverMultistepScheduler",
        ("dpmpp_2m_sde", "k_dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
        _freeze_config(algorithm_type="sde-dpmsolver++", solver_order=2), supports_sigmas=True, supports_zero_snr=True,
        note="dpm++2m; adds noise at each step",
    ),
    Scheduler(
        "dpm++3m", "DPM++ 3M", "DPMSolverMultistepScheduler", ("dpmpp_3m",),
        _freeze_config(algorithm_type="dpmsolver++", solver_order=3), supports_sigmas=True, supports_zero_snr=True,
        note="third order; for many steps",
    ),
    Scheduler(
        "dpm++2s", "DPM++ 2S", "DPMSolverSinglestepScheduler", ("dpmpp_2s",),
        _freeze_config(algorithm_type="dpmsolver++", solver_order=2, lower_order_final=True), supports_sigmas=True,
        note="single-step variant of dpm++2m; deterministic",
    ),
    Scheduler(
        "dpm++sde", "DPM++ SDE", "DPMSolverSDEScheduler", ("dpmpp_sde", "k_dpmpp_sde", "dpmpp_sde_gpu"),
        supports_sigmas=True, required_packages=("torchsde",), note="stochastic; two model calls per step",
    ),
    Scheduler(
        "euler", "Euler", "EulerDiscreteScheduler", ("k_euler",), supports_sigmas=True, supports_zero_snr=True,
        note="first order",
    ),
    Scheduler(
        "euler-a", "Euler a", "EulerAncestralDiscreteScheduler", ("euler_ancestral", "k_euler_a", "k_euler_ancestral"),
        supports_zero_snr=True, note="adds noise at each step",
    ),
    Scheduler(
        "heun", "Heun", "HeunDiscreteScheduler", ("k_heun",), supports_sigmas=True,
        note="second order; two model calls per step",
    ),
    Scheduler(
        "dpm2", "DPM2", "KDPM2DiscreteScheduler", ("dpm_2", "k_dpm_2", "kdpm_2"), supports_sigmas=True,
        note="second order; two model calls per step",
    ),
    Scheduler(
        "dpm2-a", "DPM2 a", "KDPM2AncestralDiscreteScheduler",
        ("dpm_2_ancestral", "k_dpm_2_a", "k_dpm_2_ancestral", "kdpm_2_a"),
        supports_sigmas=True, note="dpm2; adds noise at each step",
    ),
    Scheduler("lms", "LMS", "LMSDiscreteScheduler", ("k_lms", "LMSD"), supports_sigmas=True, note="linear multistep"),
    Scheduler("ddim", "DDIM", "DDIMScheduler", supports_zero_snr=True, note="deterministic (Song et al. 2021)"),
    Scheduler(
        "ddpm", "DDPM", "DDPMScheduler", supports_zero_snr=True,
        note="stochastic (Ho et al. 2020); needs hundreds of steps",
    ),
    # The Runge-Kutta warm-up fails below 4 steps. Stable Diffusion 1 disables the warm-up too.
    Scheduler(
        "pndm", "PLMS", "PNDMScheduler", ("plms",), _freeze_config(skip_prk_steps=True),
        note="default of Stable Diffusion 1",
    ),
    Scheduler(
        "deis", "DEIS", "DEISMultistepScheduler", (), _freeze_config(algorithm_type="deis"), supports_sigmas=True,
        note="for few steps",
    ),
    Scheduler(
        "unipc", "UniPC", "UniPCMultistepScheduler", ("uni_pc", "uni_pc_bh2"), supports_sigmas=True,
        supports_zero_snr=True, note="for few steps; B(h) variant bh2",
    ),
    Scheduler(
        "sa-solver", "SA Solver", "SASolverScheduler", (), _freeze_config(algorithm_type="data_prediction"),
        supports_sigmas=True, note="stochastic Adams",
    ),
    Scheduler(
        "lcm", "LCM", "LCMScheduler", supports_zero_snr=True, note="for latent consistency models, 4 to 8 steps"
    ),
    Scheduler(
        "tcd", "TCD", "TCDScheduler", supports_zero_snr=True, note="for trajectory consistency models, 4 to 8 steps"
    ),
    Scheduler(
        "flow-euler", "Euler (flow)", "FlowMatchEulerDiscreteScheduler",
        ("flow_match_euler", "euler_flow_match", "rectified_flow"),
        supports_sigmas=True, is_flow_matching=True, note="for Stable Diffusion 3 and Flux",
    ),
    Scheduler(
        "flow-heun", "Heun (flow)", "FlowMatchHeunDiscreteScheduler", ("flow_match_heun", "heun_flow_match"),
        is_flow_matching=True, note="for Stable Diffusion 3 and Flux; two model calls per step",
    ),
)  # fmt: skip


def normalize_name(name: str) -> str:
    """Return `name` in lower case, with `++` as `pp` and without spaces and punctuation, for comparison."""
    return re.sub(r"[^a-z0-9]", "", name.casefold().replace("++", "pp"))


def _build_index() -> dict[str, Scheduler]:
    index: dict[str, Scheduler] = {}
    for entry in SCHEDULERS:
        for name in (entry.name, entry.a1111_name, *entry.aliases):
            index[normalize_name(name)] = entry
        # A class name that several entries share refers to the first entry.
        index.setdefault(normalize_name(entry.class_name), entry)
        index.setdefault(normalize_name(entry.class_name.removesuffix("Scheduler")), entry)
    return index


_BY_NAME = _build_index()
_ALTERNATIVES = {normalize_name(name): alternatives for name, alternatives in UNSUPPORTED_SCHEDULERS.items()}


def find_scheduler(name: str) -> Scheduler:
    """Return the scheduler named `name`; ignore a suffix for the sigma spacing.

    Raises:
        UsageError: the name is unknown; the hint lists similar names.
    """
    return find_scheduler_with_sigmas(name)[0]


def find_scheduler_with_sigmas(name: str) -> tuple[Scheduler, str | None]:
    """Return the scheduler and the sigma spacing of a name such as "DPM++ 2M Karras".

    The spacing is None if the name has no suffix for the spacing.

    Raises:
        UsageError: the name is unknown; the hint lists similar names.
    """
    folded = normalize_name(name.removeprefix("sample_"))
    if folded in _BY_NAME:
        return _BY_NAME[folded], None
    if name.endswith(("_k", "_ka")) and (stem := normalize_name(name.rpartition("_")[0])) in _BY_NAME:
        return _BY_NAME[stem], "karras"
    for sigmas in SIGMA_SPACINGS:
        stem = folded.removesuffix(sigmas)
        if stem != folded and stem in _BY_NAME:
            return _BY_NAME[stem], sigmas
    for stem in (folded, *(folded.removesuffix(sigmas) for sigmas in SIGMA_SPACINGS)):
        if stem in _ALTERNATIVES:
            raise UsageError(
                f"Cannot use the scheduler '{name}': artgen does not have this algorithm.",
                f"Similar schedulers: {', '.join(_ALTERNATIVES[stem])}.",
            )
    import difflib

    folded_names = {normalize_name(entry.name): entry.name for entry in SCHEDULERS}
    close = difflib.get_close_matches(folded, folded_names, n=3, cutoff=0.4)
    hint = f"Similar names: {', '.join(folded_names[match] for match in close)}. " if close else ""
    raise UsageError(f"Unknown scheduler: '{name}'.", f"{hint}`artgen schedulers` lists all schedulers.")


_DEFAULT_ALGORITHMS = {"DEISMultistepScheduler": "deis", "SASolverScheduler": "data_prediction"}
"""Default of `algorithm_type` in the classes whose default is not dpmsolver++."""


def identify_scheduler(config: Mapping[str, object]) -> tuple[str | None, str | None]:
    """Return the name and the sigma spacing of a model's default scheduler.

    Args:
        config: content of the `scheduler_config.json` of the model.

    Returns:
        (None, None) if no entry has the same class and configuration.
    """
    class_name = str(config.get("_class_name"))
    defaults = {"algorithm_type": _DEFAULT_ALGORITHMS.get(class_name, "dpmsolver++"), "solver_order": 2}
    for entry in SCHEDULERS:
        matches = all(config.get(key, defaults.get(key)) == value for key, value in entry.config_overrides.items())
        if entry.class_name == class_name and matches:
            spacings = [name for name in SIGMA_SPACINGS if config.get(f"use_{name}_sigmas")]
            return entry.name, spacings[0] if spacings else None
    return None, None
