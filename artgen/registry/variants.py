"""Detect distilled variants of a model: by the contents of its files first, by its name last.

Sources of the settings: the model cards of SDXL Turbo, SDXL Lightning, Hyper-SD, DMD2, LCM, TCD, Stable Diffusion 3.5
Large Turbo, Qwen-Image-Lightning, Z-Image, HiDream-I1, ERNIE-Image, Chroma1 Flash and Hunyuan-DiT. The table of
pipelines has the variants with their own pipeline or configuration, such as Flux.1 schnell and Flux.2 klein.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from artgen.system.counts import counted

Z_IMAGE_SHIFT = 6.0
"""Smallest shift of the scheduler of Z-Image, which is not distilled. The table of pipelines has Z-Image-Turbo."""

MAX_VARIANT_STEPS = 16
"""Largest number of steps that a file name can set, as in `sdxl_lightning_8step`."""


@dataclass(frozen=True)
class Variant:
    """Describe the sampling of a distilled model.

    Attributes:
        name: name of the distillation, for users.
        steps: default number of steps.
        guidance_scale: default guidance scale; 0 or 1 disables guidance.
        scheduler: scheduler class and the values that differ from the configuration of the undistilled model; empty
            keeps the scheduler of the model.
        native_size: width and height in pixels; None keeps the size of the architecture.
        source: where the variant was detected: its tensors, its scheduler or its name.
    """

    name: str
    steps: int
    guidance_scale: float
    scheduler: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    native_size: tuple[int, int] | None = None
    source: str = "name"

    def __str__(self) -> str:
        return f"{self.name} (from the {self.source}): {counted(self.steps, 'step')}, guidance {self.guidance_scale:g}"


def _scheduler(class_name: str, **values: object) -> Mapping[str, Any]:
    return MappingProxyType({"_class_name": class_name, **values})


_EULER = _scheduler("EulerDiscreteScheduler", timestep_spacing="trailing")
_EULER_A = _scheduler("EulerAncestralDiscreteScheduler", timestep_spacing="trailing")
_DDIM = _scheduler("DDIMScheduler", timestep_spacing="trailing")
_LCM = _scheduler("LCMScheduler")
_TCD = _scheduler("TCDScheduler")

_UNETS = ("sd1", "sd2", "sdxl")
_BY_NAME: tuple[tuple[str, tuple[str, ...], Variant], ...] = (
    ("lightning", _UNETS, Variant("Lightning", 4, 0.0, _EULER)),
    ("hyper", _UNETS, Variant("Hyper-SD", 8, 0.0, _DDIM)),
    ("hypersd", _UNETS, Variant("Hyper-SD", 8, 0.0, _DDIM)),
    ("dmd2", _UNETS, Variant("DMD2", 4, 0.0, _LCM)),
    ("dmd", _UNETS, Variant("DMD2", 4, 0.0, _LCM)),
    ("lcm", _UNETS, Variant("LCM", 4, 1.0, _LCM)),
    ("tcd", _UNETS, Variant("TCD", 4, 0.0, _TCD)),
    ("turbo", ("sdxl",), Variant("SDXL Turbo", 4, 0.0, _EULER_A)),
    ("turbo", ("sd1", "sd2"), Variant("SD Turbo", 4, 0.0, _EULER)),
    ("turbo", ("sd3",), Variant("Stable Diffusion 3.5 Large Turbo", 4, 0.0)),
    ("lightning", ("qwen-image",), Variant("Qwen-Image-Lightning", 8, 1.0)),
    ("fast", ("hidream",), Variant("HiDream-I1 Fast", 16, 0.0)),
    ("dev", ("hidream",), Variant("HiDream-I1 Dev", 28, 0.0)),
    ("turbo", ("ernie-image",), Variant("ERNIE-Image Turbo", 8, 1.0)),
    ("flash", ("chroma",), Variant("Chroma1 Flash", 18, 1.0)),
    ("distilled", ("hunyuandit",), Variant("distilled Hunyuan-DiT", 25, 5.0)),
)
"""Words of a model's name, architectures, variant."""

_OFFICIAL_TURBO = re.compile(r"^(?:sd turbo|sd xl turbo|sdxl turbo)\b")
"""Words of the names of Stability AI's files, which were trained at 512x512. Merges of other authors were not."""


def detect_variant(
    name: str,
    architecture: str,
    *,
    scheduler: Mapping[str, Any] = MappingProxyType({}),
    time_cond_dim: int | None = None,
) -> Variant | None:
    """Return the distilled variant of a model; None for a model that is not known to be distilled.

    Args:
        name: hub id, or name of the folder or file without its suffix.
        architecture: architecture of the model, such as sdxl.
        scheduler: content of the `scheduler_config.json`; empty for a single file.
        time_cond_dim: width of the UNet's guidance embedding (`time_cond_proj_dim`); None without it.
    """
    words = name_words(name)
    if time_cond_dim:
        return Variant("latent consistency model", 4, 8.0, _LCM, source="tensors")
    if found := _from_scheduler(architecture, scheduler, words):
        return _with_steps(found, words)
    for text, architectures, variant in _BY_NAME:
        if architecture in architectures and f" {text} " in f" {words} ":
            return _with_name_details(variant, words)
    return None


def _from_scheduler(architecture: str, scheduler: Mapping[str, Any], words: str) -> Variant | None:
    """Return the variant that a scheduler configuration implies.

    Models distilled to a few steps ("turbo") have an Euler scheduler with trailing timesteps and epsilon prediction.
    HiDream-I1 Dev and Fast have an LCM scheduler. The shift of Z-Image is 6, that of Z-Image-Turbo is 3.
    """
    class_name = str(scheduler.get("_class_name", ""))
    if architecture == "hidream" and class_name == "FlowMatchLCMScheduler":
        name, steps = ("HiDream-I1 Fast", 16) if " fast " in f" {words} " else ("HiDream-I1 Dev", 28)
        return Variant(name, steps, 0.0, source="scheduler")
    if architecture == "z-image" and scheduler.get("shift", 0) >= Z_IMAGE_SHIFT:
        return Variant("Z-Image", 50, 4.0, source="scheduler")
    if class_name == "LCMScheduler":
        return Variant("latent consistency model", 4, 1.0, source="scheduler")
    if class_name == "TCDScheduler":
        return Variant("TCD", 4, 0.0, source="scheduler")
    is_trailing = class_name.startswith("Euler") and scheduler.get("timestep_spacing") == "trailing"
    if is_trailing and scheduler.get("prediction_type", "epsilon") == "epsilon":
        return Variant("few-step distillation", 4, 0.0, source="scheduler")
    return None


def _with_name_details(variant: Variant, words: str) -> Variant:
    if "Turbo" in variant.name and _OFFICIAL_TURBO.match(words):
        variant = replace(variant, native_size=(512, 512))
    if variant.name == "Hyper-SD" and " cfg" in f" {words}":
        variant = replace(variant, guidance_scale=5.0)
    changed = _with_steps(variant, words)
    if changed.steps == 1 and variant.name == "Lightning":  # `sdxl_lightning_1step_x0` predicts the image
        return replace(changed, scheduler=MappingProxyType({**_EULER, "prediction_type": "sample"}))
    if changed.steps == 1 and variant.name == "Hyper-SD":
        return replace(changed, scheduler=_TCD)
    return changed


def _with_steps(variant: Variant, words: str) -> Variant:
    """Return the variant with the number of steps that the name contains, as in `lightning 4 step`."""
    match = re.search(r"\b(\d{1,2}) ?steps?\b", words)
    steps = int(match[1]) if match else 0
    return replace(variant, steps=steps) if 1 <= steps <= MAX_VARIANT_STEPS else variant


def name_words(name: str) -> str:
    """Return the words of a model's name in lower case, separated by spaces; case changes separate words.

    The words of `owner/dreamshaperXL_v21TurboDPMSDE` are `dreamshaper xl v 21 turbo dpmsde`.
    """
    name = name.rstrip("/").replace("\\", "/").rpartition("/")[2][:200]
    return " ".join(re.findall(r"dmd2|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+", name)).lower()
