"""Find the fields of a request that A1111 supports and artgen does not. The response lists them."""

from collections.abc import Iterator, Mapping
from typing import Any

from artgen.spec.fields import describe_value

UNSUPPORTED_FIELDS: Mapping[str, tuple[Any, ...]] = {
    "eta": (0, 1),  # 1 is A1111's default for ancestral samplers, and the default of webuiapi
    "image_cfg_scale": (1.5,),
    "infotext": ("",),
    "initial_noise_multiplier": (1,),
    "latent_mask": (),
    "mask_blur_x": (0, 4),
    "mask_blur_y": (0, 4),
    "mask_round": (True,),
    "refiner_checkpoint": ("", "None"),
    "restore_faces": (False,),
    "s_churn": (0,),
    "s_min_uncond": (0,),
    "s_noise": (1,),
    "s_tmax": (0,),
    "s_tmin": (0,),
    "save_images": (False,),
    "script_name": ("", "None"),
    "seed_resize_from_h": (-1, 0),
    "seed_resize_from_w": (-1, 0),
}
"""Fields of A1111 without an equivalent -> values that have no effect, in addition to null."""

UNSUPPORTED_HIRES_FIELDS: Mapping[str, tuple[Any, ...]] = {
    "firstphase_height": (0,),
    "firstphase_width": (0,),
    "hr_checkpoint_name": ("", "Use same checkpoint"),
    "hr_negative_prompt": ("",),
    "hr_prompt": ("",),
    "hr_sampler_name": ("", "Use same sampler"),
    "hr_scheduler": ("", "Use same scheduler"),
}
"""The same for fields of hires fix, which have an effect only with `enable_hr`."""

SUPPORTED_OVERRIDES = ("sd_model_checkpoint", "CLIP_stop_at_last_layers")
"""Keys of `override_settings` that are used. Other keys are options of A1111, some of which are paths."""

_SCRIPTS_WITHOUT_EFFECT = frozenset({"controlnet"})
"""Names of always-on scripts, in lower case, that are used, and not listed."""


def unsupported_fields(body: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of fields of a request that have no effect in artgen, with their values as text."""
    tables = [UNSUPPORTED_FIELDS, *([UNSUPPORTED_HIRES_FIELDS] if body.get("enable_hr") is True else [])]
    found: dict[str, str] = {}
    for table in tables:
        for name, neutral in table.items():
            value = body.get(name)
            if value is not None and value not in neutral:
                found[name] = describe_value(value)
    found |= {f"override_settings.{name}": text for name, text in _overrides(body)}
    found |= {f"alwayson_scripts.{name}": text for name, text in _scripts(body)}
    return found


def _overrides(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    overrides = body.get("override_settings")
    for name, value in overrides.items() if isinstance(overrides, dict) else ():
        if name not in SUPPORTED_OVERRIDES and value not in (None, "", []):
            yield str(name)[:64], describe_value(value)


def _scripts(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    scripts = body.get("alwayson_scripts")
    for name, script in scripts.items() if isinstance(scripts, dict) else ():
        args = script.get("args") if isinstance(script, dict) else None
        is_off = args in (None, [], {}) or (isinstance(args, list) and args[0] is False)
        if str(name).lower() not in _SCRIPTS_WITHOUT_EFFECT and not is_off:
            yield str(name)[:64], "on"
