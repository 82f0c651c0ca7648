"""Define the names of other tools' samplers that artgen does not have, and the spacings in sampler names."""

from collections.abc import Mapping
from types import MappingProxyType

UNSUPPORTED_SCHEDULERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "DPM++ 2S a": ("euler-a", "dpm2-a", "dpm++2s"),
        "dpmpp_2s_ancestral": ("euler-a", "dpm2-a", "dpm++2s"),
        "k_dpmpp_2s_a": ("euler-a", "dpm2-a", "dpm++2s"),
        "k_dpmpp_2s_ancestral": ("euler-a", "dpm2-a", "dpm++2s"),
        "DPM++ 2M SDE Heun": ("dpm++2m-sde",),
        "dpmpp_2m_sde_heun_gpu": ("dpm++2m-sde",),
        # The third-order SDE solver of diffusers 0.42 has another coefficient than k-diffusion's `sample_dpmpp_3m_sde`.
        "DPM++ 3M SDE": ("dpm++2m-sde", "dpm++3m"),
        "dpmpp_3m_sde_gpu": ("dpm++2m-sde", "dpm++3m"),
        "DDIM CFG++": ("ddim",),
        "ddim_cfgpp": ("ddim",),
        "euler_cfg_pp": ("euler",),
        "euler_ancestral_cfg_pp": ("euler-a",),
        "dpmpp_2m_cfg_pp": ("dpm++2m",),
        "dpmpp_2s_ancestral_cfg_pp": ("euler-a", "dpm2-a"),
        "res_multistep": ("dpm++2m", "deis"),
        "res_multistep_ancestral": ("euler-a",),
        "er_sde": ("dpm++2m-sde", "sa-solver"),
        "gradient_estimation": ("euler", "dpm++2m"),
        "seeds_2": ("dpm++sde", "euler-a"),
        "seeds_3": ("dpm++sde", "euler-a"),
        "sa_solver_pece": ("sa-solver",),
        "ddim_v3": ("ddim",),
        "unipc_snr": ("unipc",),
        "unipc_tu": ("unipc",),
        "unipc_tq": ("unipc",),
        "unipc_snr_2": ("unipc",),
        "unipc_tu_2": ("unipc",),
        "dpm++2mv2": ("dpm++2m",),
        "DPM-Solver": ("dpm++2m", "dpm++2s"),
        "DPM-Solver++": ("dpm++2m", "dpm++2s", "dpm++3m"),
        "DPM fast": ("dpm++2s", "dpm++2m"),
        "k_dpm_fast": ("dpm++2s", "dpm++2m"),
        "DPM adaptive": ("dpm++2m", "dpm++3m"),
        "k_dpm_ad": ("dpm++2m", "dpm++3m"),
        "k_dpm_adaptive": ("dpm++2m", "dpm++3m"),
        "heunpp2": ("heun",),
        "Restart": ("heun", "euler-a"),
        "iPNDM": ("pndm", "deis"),
        "ipndm_v": ("pndm", "deis"),
    }
)
"""Names of other tools' schedulers that artgen does not have, and the closest schedulers that it has."""


SPACING_SUFFIXES = (
    "align your steps", "ddim uniform", "sgm uniform", "kl optimal", "polyexponential", "exponential", "automatic",
    "linear quadratic", "trailing", "uniform", "substep", "karras", "normal", "simple", "turbo", "beta", "ays",
)  # fmt: skip
"""Spacings of the noise levels that other tools append to the names of schedulers."""

_AUTOMATIC_SIGMAS: Mapping[str, str] = MappingProxyType(
    {
        "DPM++ 2M": "karras",
        "DPM++ SDE": "karras",
        "DPM++ 2S a": "karras",
        "DPM++ 2M SDE": "exponential",
        "DPM++ 2M SDE Heun": "exponential",
        "DPM++ 3M SDE": "exponential",
        "DPM2": "karras",
        "DPM2 a": "karras",
        "Restart": "karras",
    }
)


def automatic_sigmas(sampler: str) -> str | None:
    """Return the spacing that "Automatic" means for a sampler of AUTOMATIC1111 1.9 (`sd_samplers_kdiffusion.py`)."""
    return _AUTOMATIC_SIGMAS.get(sampler)


def split_spacing(name: str) -> tuple[str, str | None]:
    """Split the name of another tool's sampler: "DPM++ 2M Karras" -> ("DPM++ 2M", "karras").

    InvokeAI and A1111 abbreviate Karras: `dpmpp_2m_k`, `k_dpmpp_2m_ka`.
    """
    for suffix in ("_ka", "_k"):
        if name.endswith(suffix):
            return name.removesuffix(suffix), "karras"
    lowered = name.casefold()
    for spacing in SPACING_SUFFIXES:
        for separator in (" ", "_"):
            suffix = separator + spacing.replace(" ", separator)
            if lowered.endswith(suffix) and len(name) > len(suffix):
                return name[: len(name) - len(suffix)], spacing
    return name, None
