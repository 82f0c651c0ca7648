"""What to make: one frozen request for one picture.

A request made by hand may leave settings open (None); `artgen.jobs.prepare` fills them from the model's defaults, and
what reaches a pipeline, and the record, is complete.
"""

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

from artgen.errors import UsageError
from artgen.spec import fast, memory_budget
from artgen.spec.lora import LoraSpec, normalize_lora_list, parse_lora
from artgen.spec.schedulers import find_scheduler_with_sigmas
from artgen.spec.settings import (
    CanvasSettings,
    ComputeSettings,
    DenoiseSettings,
    DeviceSettings,
    Img2ImgInput,
    InpaintBlend,
    InputImage,
    LoraSettings,
    MaskSettings,
    ModelRef,
    ModelSettings,
    OutpaintSettings,
    PromptSettings,
    SamplingSettings,
    SeedSettings,
    StepsSettings,
    options_of,
    path_settings,
    validate,
)


@dataclass(frozen=True, kw_only=True)
class Request(DeviceSettings, ModelRef, StepsSettings, SeedSettings):  # fields come in the order Seed ... Place
    """What all tasks share.

    Raises:
        UsageError: on construction, for a value outside its setting's type or limits.
    """

    task: ClassVar[str]
    filename_template: ClassVar[str] = "{index:05}-{seed}-{prompt}"
    """What pictures are called where nothing else is said."""

    def __post_init__(self) -> None:
        self._normalize(options_of(type(self)).keys())

    def _normalize(self, names: Collection[str]) -> None:
        """Brings the settings named to their one form, and checks them and what they mean for others."""
        for name in set(path_settings(type(self))).intersection(names):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        if "lora" in names:
            object.__setattr__(self, "lora", normalize_lora_list(getattr(self, "lora", ())))
        validate(self, names)
        if "device" in names:
            _check_device(self.device)

    @property
    def loras(self) -> tuple[LoraSpec, ...]:
        """The LoRAs to draw with, in order."""
        return tuple(parse_lora(text) for text in getattr(self, "lora", ()))

    @classmethod
    def from_settings(cls, *groups: Any, **overrides: Any) -> Self:
        """A request from the groups of settings that a command received, plus single values."""
        values = {f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)}
        return cls(**{**values, **overrides})

    def replace(self, **changes: Any) -> Self:
        """The same request with some settings changed; only what changed is checked again.

        Raises:
            TypeError: there is no such setting.
            UsageError: a value outside its setting's type or limits, or one that does not fit the others.
        """
        if wrong := changes.keys() - options_of(type(self)).keys():
            raise TypeError(f"{type(self).__name__} has no setting {', '.join(sorted(wrong))}")
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, **changes)
        new._normalize(changes)
        return new


@dataclass(frozen=True, kw_only=True)
class PromptRequest(
    ComputeSettings, ModelSettings, SamplingSettings, Request, PromptSettings
):  # fields come in the order Prompt ... Compute
    """What the tasks that follow a prompt share."""

    @property
    def uses_cfg(self) -> bool:
        """Whether classifier-free guidance is on, for which the denoiser works twice for each picture."""
        return (self.guidance_scale or 0) > 1

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if "scheduler" in names or "sigmas" in names:
            self._normalize_scheduler()
        if "memory_budget" in names and self.memory_budget is not None:
            memory_budget.parse_bytes(self.memory_budget)
        if self.quantize and self.lora:
            raise UsageError("A LoRA cannot be attached to weights in 8 bits.", "Leave --quantize or --lora out.")
        if self.fast is not None and "fast" in names:
            object.__setattr__(self, "fast", fast.normalize(self.fast))

    def _normalize_scheduler(self) -> None:
        # One spelling is recorded, whichever was typed.
        if self.scheduler is None:
            return
        entry, sigmas = find_scheduler_with_sigmas(self.scheduler)
        if sigmas and self.sigmas and sigmas != self.sigmas:
            raise UsageError(f"The scheduler {self.scheduler!r} says {sigmas} and sigmas says {self.sigmas}.")
        object.__setattr__(self, "scheduler", entry.name)
        object.__setattr__(self, "sigmas", self.sigmas or sigmas)
        if self.sigmas not in (None, "normal") and not entry.supports_sigmas:
            raise UsageError(
                f"The scheduler {entry.name} has no {self.sigmas} sigmas.",
                "Leave --sigmas out, or use euler, dpm++2m or another that `artgen schedulers` marks.",
            )


@dataclass(frozen=True, kw_only=True)
class Txt2Img(CanvasSettings, PromptRequest):
    """Draw a picture from words."""

    task: ClassVar[str] = "txt2img"


@dataclass(frozen=True, kw_only=True)
class ImageRequest(InputImage, Request):
    """What the tasks that start from a picture share."""

    filename_template: ClassVar[str] = "{stem}-{seed}"

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if self.image is None:
            raise UsageError(f"{self.task} needs a picture to start from.", f"artgen {self.task} input.png")


@dataclass(frozen=True, kw_only=True)
class PromptedImageRequest(Img2ImgInput, ImageRequest, PromptRequest):
    """What the tasks that follow a prompt from a picture share."""

    default_strength: ClassVar[float]


@dataclass(frozen=True, kw_only=True)
class Img2Img(CanvasSettings, PromptedImageRequest):
    """Redraw a picture, guided by words."""

    task: ClassVar[str] = "img2img"
    default_strength: ClassVar[float] = 0.6


@dataclass(frozen=True, kw_only=True)
class Inpaint(InpaintBlend, MaskSettings, CanvasSettings, PromptedImageRequest):
    """Repaint the part of a picture that a mask marks."""

    task: ClassVar[str] = "inpaint"
    default_strength: ClassVar[float] = 1.0

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if self.mask is None:
            raise UsageError(
                "inpaint needs a mask, white where to repaint.", "artgen inpaint input.png --mask mask.png"
            )


@dataclass(frozen=True, kw_only=True)
class Outpaint(InpaintBlend, OutpaintSettings, PromptedImageRequest):
    """Extend a picture beyond its edges."""

    task: ClassVar[str] = "outpaint"
    default_strength: ClassVar[float] = 1.0

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if (self.expand is None) == (self.target_size is None):
            raise UsageError(
                "outpaint needs either --expand or --target-size.", "artgen outpaint input.png --expand 64"
            )


class SigmaSpec(NamedTuple):
    """What `--sigma` says: a standard deviation in grey levels, or None and what the estimate is multiplied with."""

    sigma: float | None
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Denoise(LoraSettings, DenoiseSettings, ImageRequest):
    """Remove noise from a picture."""

    task: ClassVar[str] = "denoise"
    filename_template: ClassVar[str] = "{stem}-denoised"

    @property
    def sigma_spec(self) -> SigmaSpec:
        """What `sigma` says; without it, the estimate."""
        text = (self.sigma or "auto").strip().casefold()
        if automatic := re.fullmatch(r"auto(?:\s*\*\s*(\d+\.?\d*|\.\d+))?", text):
            return SigmaSpec(None, float(automatic[1] or 1))
        try:
            return SigmaSpec(float(text))
        except ValueError:
            raise UsageError(
                f"sigma must be a number, auto or auto*1.2, not {self.sigma!r}.", "It counts grey levels: --sigma 15."
            ) from None

    def _normalize(self, names: Collection[str]) -> None:
        if isinstance(self.sigma, int | float) and not isinstance(self.sigma, bool):  # as JSON and Python write it
            object.__setattr__(self, "sigma", f"{self.sigma:g}")
        super()._normalize(names)
        sigma, factor = self.sigma_spec
        if sigma is not None and not 0 <= sigma <= 255:
            raise UsageError(f"sigma must be 0 to 255 grey levels, not {self.sigma}.")
        if not 0.1 <= factor <= 10:
            raise UsageError(f"sigma's estimate can be multiplied by 0.1 to 10, not {factor:g}.")
        self._check_method()

    def _check_method(self) -> None:
        method = self.method or "pixel"
        idle = {"pixel": (), "latent": ("eta", "fidelity")}.get(
            method, ("model", "steps", "eta", "self_ensemble", "fidelity")
        )
        for name in idle:
            if getattr(self, name) is not None:
                raise UsageError(f"The method {method} takes no {name}.", f"Leave --{name} out, or use --method pixel.")
        if self.lora and method != "latent":
            raise UsageError(f"The method {method} takes no lora.", "Leave --lora out, or use --method latent.")


TASKS: dict[str, type[Request]] = {cls.task: cls for cls in (Txt2Img, Img2Img, Inpaint, Outpaint, Denoise)}


def generate_seed() -> int:
    """A seed at random, 0 to 2**32 - 1: what other tools can take too."""
    import secrets  # it brings hashlib and random, which no `--help` needs

    return secrets.randbits(32)


def _check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", device):
        raise UsageError(f"device must be auto, cpu, mps, cuda or cuda:N, not {device!r}.")
