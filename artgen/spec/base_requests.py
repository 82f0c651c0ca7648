"""Define the settings and checks that the requests of several tasks share.

Settings may be unset (None). `artgen.jobs.prepare` fills in the defaults of the model before a pipeline runs and the
record is written.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from artgen.errors import UsageError
from artgen.spec import fast, memory_budget
from artgen.spec.control import ControlSpec, normalize_control_list, parse_control
from artgen.spec.embedding import EmbeddingSpec, normalize_embedding_list, parse_embedding
from artgen.spec.filter_policies import split_names
from artgen.spec.image_prompt import ImagePromptSpec, normalize_image_prompt_list, parse_image_prompt
from artgen.spec.lora import LoraSpec, normalize_lora_list, parse_lora
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.refiner import parse_refiner
from artgen.spec.schedulers import find_scheduler_with_sigmas
from artgen.spec.settings import (
    ComputeSettings,
    ControlSettings,
    DeviceSettings,
    FilterSettings,
    Img2ImgInput,
    ModelRef,
    ModelSettings,
    OpaqueInput,
    PresetSettings,
    PromptSettings,
    SamplingSettings,
    ScaledInput,
    SeedSettings,
    StepsSettings,
    VariationSettings,
    options_of,
    path_settings,
    settings_of,
    type_of,
    validate,
)


@dataclass(frozen=True, kw_only=True)
class Request(
    FilterSettings, PresetSettings, DeviceSettings, ModelRef, StepsSettings, SeedSettings
):  # The order of the fields is the reverse order of the bases.
    """Store the settings of all tasks.

    Attributes:
        unknown_fields: fields of a record that this version of artgen does not have. They have no effect, and the
            record of the new image contains them. Requests that differ only in these fields are equal.

    Raises:
        UsageError: a value has the wrong type or is outside the limits of its setting (on construction).
    """

    task: ClassVar[str]
    filename_template: ClassVar[str] = "{index:05}-{seed}-{prompt}"
    """Default file name of the images."""
    unknown_fields: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._normalize(options_of(type(self)).keys())

    def _normalize(self, names: Collection[str]) -> None:
        """Convert the settings in `names` to their canonical form, and validate them alone and together."""
        for name in set(path_settings(type(self))).intersection(names):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        if "lora" in names:
            object.__setattr__(self, "lora", normalize_lora_list(getattr(self, "lora", ())))
        if "control" in names:
            object.__setattr__(self, "control", normalize_control_list(getattr(self, "control", ())))
        if "image_prompt" in names:
            object.__setattr__(self, "image_prompt", normalize_image_prompt_list(getattr(self, "image_prompt", ())))
        if "embedding" in names:
            object.__setattr__(self, "embedding", normalize_embedding_list(getattr(self, "embedding", ())))
        if "filter" in names and self.filter:
            object.__setattr__(self, "filter", split_names(self.filter))
        validate(self, names)
        if "device" in names:
            check_device_name(self.device)

    @property
    def loras(self) -> tuple[LoraSpec, ...]:
        """Return the LoRAs, in order."""
        return tuple(parse_lora(text) for text in getattr(self, "lora", ()))

    @property
    def controls(self) -> tuple[ControlSpec, ...]:
        """Return the control images, in order."""
        return tuple(parse_control(text) for text in getattr(self, "control", ()))

    @property
    def image_prompts(self) -> tuple[ImagePromptSpec, ...]:
        """Return the image prompts, in order."""
        return tuple(parse_image_prompt(text) for text in getattr(self, "image_prompt", ()))

    @property
    def embeddings(self) -> tuple[EmbeddingSpec, ...]:
        """Return the embeddings, in order."""
        return tuple(parse_embedding(text) for text in getattr(self, "embedding", ()))

    @property
    def input_paths(self) -> dict[str, Path]:
        """Return the set input files by setting: image and mask."""
        return {name: path for name in path_settings(type(self)) if (path := getattr(self, name)) is not None}

    @property
    def unused_settings(self) -> frozenset[str]:
        """Return the settings that have no effect with the other settings. They are not recorded."""
        return frozenset()

    def group_key(self) -> "Request":
        """Return a request that is equal for all requests that one pipeline call can process if the sizes are equal."""
        return self

    @classmethod
    def from_settings(cls, *groups: Any, **overrides: Any) -> Self:
        """Build a request from groups of settings, and from single values, which have priority."""
        values = {f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)}
        return cls(**{**values, **overrides})

    def replace(self, **changes: Any) -> Self:
        """Return a copy with changed settings. Only the changed settings are validated.

        Raises:
            TypeError: a setting does not exist.
            UsageError: a value has the wrong type, is outside its limits or contradicts another setting.
        """
        if unknown := changes.keys() - options_of(type(self)).keys() - {"unknown_fields", "expansion"}:
            raise TypeError(f"{type(self).__name__} has no setting {', '.join(sorted(unknown))}")
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, **changes)
        new._normalize(changes)
        return new


@dataclass(frozen=True, kw_only=True)
class PromptRequest(ComputeSettings, ControlSettings, ModelSettings, SamplingSettings, Request, PromptSettings):
    """Store the settings of all tasks with a prompt.

    Attributes:
        expansion: facts about the expansion of the prompts; None before the expansion.
    """

    expansion: PromptExpansion | None = dataclasses.field(default=None, compare=False, repr=False)

    def group_key(self) -> Request:
        """Return a request without the values that may differ in a pipeline call: prompts, seed and input files."""
        blank: dict[type, Any] = {str: "", int: 0, Path: Path("any")}
        names = [name for name, setting in settings_of(type(self)).items() if setting.per_image]
        present = [name for name in names if getattr(self, name) is not None]
        controls = tuple(str(each._replace(image=Path("any"))) for each in self.controls)
        return self.replace(control=controls, **{name: blank[type_of(type(self), name)[0]] for name in present})

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if "scheduler" in names or "sigmas" in names:
            self._normalize_scheduler()
        if "memory_budget" in names and self.memory_budget is not None:
            memory_budget.parse_bytes(self.memory_budget)
        if self.quantize and self.lora:
            raise UsageError(
                "Cannot use a LoRA with --quantize.",
                "Remove --quantize or --lora.",
                settings=("quantize", "lora"),
            )
        if self.fast is not None and "fast" in names:
            object.__setattr__(self, "fast", fast.normalize(self.fast))
        if self.refiner is not None and "refiner" in names:
            object.__setattr__(self, "refiner", str(parse_refiner(self.refiner)))

    def _normalize_scheduler(self) -> None:
        """Replace the scheduler by its canonical name, so that all spellings have the same record."""
        if self.scheduler is None:
            return
        entry, sigmas = find_scheduler_with_sigmas(self.scheduler)
        if sigmas and self.sigmas and sigmas != self.sigmas:
            raise UsageError(
                f"The scheduler {self.scheduler!r} implies {sigmas} sigmas, but sigmas is {self.sigmas}.",
                "Remove one of them.",
                settings=("sigmas", "scheduler"),
            )
        object.__setattr__(self, "scheduler", entry.name)
        object.__setattr__(self, "sigmas", self.sigmas or sigmas)
        if self.sigmas not in (None, "normal") and not entry.supports_sigmas:
            raise UsageError(
                f"The scheduler {entry.name} does not support {self.sigmas} sigmas.",
                "Remove --sigmas, or use euler, dpm++2m or another scheduler that `artgen schedulers` marks.",
                settings=("sigmas", "scheduler"),
            )


@dataclass(frozen=True, kw_only=True)
class VariedRequest(VariationSettings, PromptRequest):
    """Store the settings of all tasks whose initial noise can be mixed with the noise of a second seed."""

    def group_key(self) -> Request:
        """Return a request without the values that may differ in a pipeline call."""
        key = super().group_key()
        is_mixed = bool(self.variation_strength)
        return key.replace(variation_strength=0.5 if is_mixed else None, variation_seed=0 if is_mixed else None)


@dataclass(frozen=True, kw_only=True)
class ImageRequest(ScaledInput, Request):
    """Store the settings of all tasks with an input image."""

    filename_template: ClassVar[str] = "{stem}-{seed}"

    def _normalize(self, names: Collection[str]) -> None:
        super()._normalize(names)
        if self.image is None:
            raise UsageError(f"{self.task} needs an input image.", f"artgen {self.task} input.png")


@dataclass(frozen=True, kw_only=True)
class OpaqueImageRequest(OpaqueInput, ImageRequest, PromptRequest):
    """Store the settings of all tasks with an input image and a prompt."""


@dataclass(frozen=True, kw_only=True)
class PromptedImageRequest(Img2ImgInput, OpaqueImageRequest):
    """Store the settings of all tasks with an input image, a prompt and a strength."""


def check_device_name(device: str) -> None:
    """Check the text of a device.

    Raises:
        UsageError: the text is not a device name of torch.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", device):
        from artgen.spec.synonyms import value_hint

        hint = value_hint("device", device, ("auto", "cpu", "mps", "cuda"))
        raise UsageError(f"device must be auto, cpu, mps, cuda or cuda:N, not {device!r}.", hint)
