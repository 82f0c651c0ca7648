"""The schedulers artgen offers, by every name the field calls them. Knows names only; the engine builds them.

Names follow AUTOMATIC1111 ("DPM++ 2M Karras", "Euler a"), k-diffusion and ComfyUI (`dpmpp_2m`, `euler_ancestral`),
stable-diffusion.cpp (`dpm++2m`, `euler_a`) and diffusers (`DPMSolverMultistepScheduler`). The correspondence is the
table in diffusers' documentation of schedulers. Case, spaces and punctuation do not matter.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from artgen.errors import UsageError

SIGMA_SPACINGS = ("normal", "karras", "exponential", "beta")
"""Spacings of the noise levels: the model's own, Karras et al. 2022, exponential, and the Beta distribution's."""


@dataclass(frozen=True)
class Scheduler:
    """One entry of the table.

    Attributes:
        name: artgen's own spelling, the one recorded.
        a1111_name: AUTOMATIC1111's display name, written into its metadata.
        class_name: diffusers' class.
        aliases: further names.
        config_overrides: values set over the model's own scheduler configuration.
        supports_sigmas: whether `--sigmas` other than `normal` applies.
        is_flow_matching: made for flow-matching models (Stable Diffusion 3, Flux) rather than for noise-predicting ones.
        required_packages: packages beyond artgen's own that its class needs.
        note: one line for `artgen schedulers`.
    """

    name: str
    a1111_name: str
    class_name: str
    aliases: tuple[str, ...] = ()
    config_overrides: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    supports_sigmas: bool = False
    is_flow_matching: bool = False
    required_packages: tuple[str, ...] = ()
    note: str = ""


def _freeze_config(**config: object) -> Mapping[str, object]:
    return MappingProxyType(config)


SCHEDULERS: tuple[Scheduler, ...] = (
    Scheduler(
        "dpm++2m", "DPM++ 2M", "DPMSolverMultistepScheduler", ("dpmpp_2m", "k_dpmpp_2m", "dpm-solver++", "dpmsolver"),
        _freeze_config(algorithm_type="dpmsolver++", solver_order=2), supports_sigmas=True, note="good from 15 steps; a safe choice",
    ),
    Scheduler(
        "dpm++2m-sde", "DPM++ 2M SDE", "DPMSolverMultistepScheduler", ("dpmpp_2m_sde", "k_dpmpp_2m_sde"),
        _freeze_config(algorithm_type="sde-dpmsolver++", solver_order=2), supports_sigmas=True, note="like dpm++2m with fresh noise",
    ),
    Scheduler(
        "dpm++3m", "DPM++ 3M", "DPMSolverMultistepScheduler", ("dpmpp_3m",),
        _freeze_config(algorithm_type="dpmsolver++", solver_order=3), supports_sigmas=True, note="third order; for many steps",
    ),
    Scheduler(
        "dpm++2s", "DPM++ 2S", "DPMSolverSinglestepScheduler", ("dpmpp_2s", "dpm++2s-a", "dpmpp_2s_ancestral"),
        _freeze_config(algorithm_type="dpmsolver++", solver_order=2, lower_order_final=True), supports_sigmas=True,
        note="single-step form of dpm++",
    ),
    Scheduler(
        "dpm++sde", "DPM++ SDE", "DPMSolverSDEScheduler", ("dpmpp_sde", "k_dpmpp_sde"),
        supports_sigmas=True, required_packages=("torchsde", "scipy"), note="stochastic; two model calls a step",
    ),
    Scheduler("euler", "Euler", "EulerDiscreteScheduler", ("k_euler",), supports_sigmas=True, note="plain and predictable"),
    Scheduler(
        "euler-a", "Euler a", "EulerAncestralDiscreteScheduler", ("euler_ancestral", "k_euler_a", "k_euler_ancestral"),
        note="adds fresh noise at each step",
    ),
    Scheduler(
        "heun", "Heun", "HeunDiscreteScheduler", ("k_heun",), supports_sigmas=True, note="second order; two model calls a step"
    ),
    Scheduler(
        "dpm2", "DPM2", "KDPM2DiscreteScheduler", ("dpm_2", "k_dpm_2"), supports_sigmas=True, note="two model calls a step"
    ),
    Scheduler(
        "dpm2-a", "DPM2 a", "KDPM2AncestralDiscreteScheduler", ("dpm_2_ancestral", "k_dpm_2_a", "k_dpm_2_ancestral"),
        supports_sigmas=True, note="dpm2 with fresh noise",
    ),
    Scheduler(
        "lms", "LMS", "LMSDiscreteScheduler", ("k_lms",), supports_sigmas=True, required_packages=("scipy",), note="linear multistep"
    ),
    Scheduler("ddim", "DDIM", "DDIMScheduler", note="the deterministic classic (Song et al. 2021)"),
    Scheduler("ddpm", "DDPM", "DDPMScheduler", note="the original (Ho et al. 2020); wants hundreds of steps"),
    # Without its Runge-Kutta warm-up, which fails below 4 steps: PLMS as Stable Diffusion 1 is configured.
    Scheduler(
        "pndm", "PLMS", "PNDMScheduler", ("plms",), _freeze_config(skip_prk_steps=True),
        note="what Stable Diffusion 1 shipped with",
    ),
    Scheduler("deis", "DEIS", "DEISMultistepScheduler", supports_sigmas=True, note="good in few steps"),
    Scheduler(
        "unipc", "UniPC", "UniPCMultistepScheduler", ("uni_pc", "uni_pc_bh2"), supports_sigmas=True, note="good in few steps"
    ),
    Scheduler("sa-solver", "SA Solver", "SASolverScheduler", supports_sigmas=True, note="stochastic Adams"),
    Scheduler("lcm", "LCM", "LCMScheduler", note="for latent consistency models, 4 to 8 steps"),
    Scheduler("tcd", "TCD", "TCDScheduler", note="for trajectory consistency models, 4 to 8 steps"),
    Scheduler(
        "flow-euler", "Euler (flow)", "FlowMatchEulerDiscreteScheduler", ("flow_match_euler", "rectified_flow"),
        supports_sigmas=True, is_flow_matching=True, note="Stable Diffusion 3 and Flux",
    ),
    Scheduler(
        "flow-heun", "Heun (flow)", "FlowMatchHeunDiscreteScheduler", ("flow_match_heun",),
        is_flow_matching=True, note="Stable Diffusion 3 and Flux; two model calls a step",
    ),
)  # fmt: skip


def normalize_name(name: str) -> str:
    """A name without case, spaces and punctuation, `++` and `pp` alike: what two spellings must share."""
    return re.sub(r"[^a-z0-9]", "", name.casefold().replace("++", "pp"))


def _build_index() -> dict[str, Scheduler]:
    index: dict[str, Scheduler] = {}
    for entry in SCHEDULERS:
        for name in (entry.name, entry.a1111_name, *entry.aliases):
            index[normalize_name(name)] = entry
        # A class that several entries share stands for the first of them.
        index.setdefault(normalize_name(entry.class_name), entry)
        index.setdefault(normalize_name(entry.class_name.removesuffix("Scheduler")), entry)
    return index


_BY_NAME = _build_index()


def find_scheduler(name: str) -> Scheduler:
    """The entry that `name` stands for, without regard to a sigma suffix.

    Raises:
        UsageError: no entry has that name; the close ones are listed.
    """
    return find_scheduler_with_sigmas(name)[0]


def find_scheduler_with_sigmas(name: str) -> tuple[Scheduler, str | None]:
    """The entry and the sigmas that a display name such as "DPM++ 2M Karras" carries (None when it says nothing).

    Raises:
        UsageError: no entry has that name; the close ones are listed.
    """
    folded = normalize_name(name)
    if folded in _BY_NAME:
        return _BY_NAME[folded], None
    for sigmas in SIGMA_SPACINGS:
        stem = folded.removesuffix(sigmas)
        if stem != folded and stem in _BY_NAME:
            return _BY_NAME[stem], sigmas
    import difflib

    folded_names = {normalize_name(entry.name): entry.name for entry in SCHEDULERS}
    close = difflib.get_close_matches(folded, folded_names, n=3, cutoff=0.4)
    hint = f"Close names: {', '.join(folded_names[match] for match in close)}. " if close else ""
    raise UsageError(f"There is no scheduler called {name!r}.", f"{hint}`artgen schedulers` lists all of them.")


def identify_scheduler(config: Mapping[str, object]) -> tuple[str | None, str | None]:
    """The name and sigmas of a model's own scheduler, when the table has exactly that one.

    Args:
        config: the content of a model's `scheduler_config.json`.

    Returns:
        `(None, None)` for a scheduler that the table cannot name without changing it.
    """
    assumed = {"algorithm_type": "dpmsolver++", "solver_order": 2}
    for entry in SCHEDULERS:
        same = all(config.get(key, assumed.get(key)) == value for key, value in entry.config_overrides.items())
        if entry.class_name == config.get("_class_name") and same:
            chosen = [name for name in SIGMA_SPACINGS if config.get(f"use_{name}_sigmas")]
            return entry.name, chosen[0] if chosen else None
    return None, None
