"""What to make: one frozen request for one picture.

A request made by hand may leave settings open (None); `artgen.prepare` fills them from the model's defaults, and
what reaches a pipeline, and the record, is complete.
"""

import dataclasses
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from artgen.errors import UsageError
from artgen.schedulers import find_with_sigmas
from artgen.settings import (
    Blend,
    Canvas,
    Compute,
    Expansion,
    Mask,
    Model,
    Prompt,
    Sampling,
    Seed,
    Source,
    check,
    settings_of,
)

_PATHS = frozenset({"image", "mask"})


@dataclass(frozen=True, kw_only=True)
class Request(Compute, Model, Sampling, Seed, Prompt):  # fields come in the order Prompt ... Compute
    """What all tasks share.

    Raises:
        UsageError: on construction, for a value outside its setting's type or limits.
    """

    task: ClassVar[str]
    default_strength: ClassVar[float | None] = None

    def __post_init__(self) -> None:
        self._settle(settings_of(type(self)).keys())

    def _settle(self, names: Collection[str]) -> None:
        """Brings the settings named to their one form, and checks them and what they mean for others."""
        for name in _PATHS.intersection(names):
            if isinstance(value := getattr(self, name), str):
                object.__setattr__(self, name, Path(value))
        check(self, names)
        if "scheduler" in names or "sigmas" in names:
            self._settle_scheduler()
        if "device" in names:
            _check_device(self.device)

    def _settle_scheduler(self) -> None:
        # One spelling is recorded, whichever was typed.
        if self.scheduler is None:
            return
        entry, sigmas = find_with_sigmas(self.scheduler)
        if sigmas and self.sigmas and sigmas != self.sigmas:
            raise UsageError(f"The scheduler {self.scheduler!r} says {sigmas} and sigmas says {self.sigmas}.")
        object.__setattr__(self, "scheduler", entry.name)
        object.__setattr__(self, "sigmas", self.sigmas or sigmas)
        if self.sigmas not in (None, "normal") and not entry.sigmas:
            raise UsageError(
                f"The scheduler {entry.name} has no {self.sigmas} sigmas.",
                "Leave --sigmas out, or use euler, dpm++2m or another that `artgen schedulers` marks.",
            )

    @classmethod
    def of(cls, *groups: Any, **more: Any) -> Self:
        """A request from the groups of settings that a command received, plus single values."""
        values = {f.name: getattr(group, f.name) for group in groups for f in dataclasses.fields(group)}
        return cls(**{**values, **more})

    def replace(self, **changes: Any) -> Self:
        """The same request with some settings changed; only what changed is checked again.

        Raises:
            TypeError: there is no such setting.
            UsageError: a value outside its setting's type or limits, or one that does not fit the others.
        """
        if wrong := changes.keys() - settings_of(type(self)).keys():
            raise TypeError(f"{type(self).__name__} has no setting {', '.join(sorted(wrong))}")
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, **changes)
        new._settle(changes)
        return new


@dataclass(frozen=True, kw_only=True)
class Txt2Img(Canvas, Request):
    """Draw a picture from words."""

    task: ClassVar[str] = "txt2img"


@dataclass(frozen=True, kw_only=True)
class FromImage(Source, Request):
    """What the tasks that start from a picture share."""

    def _settle(self, names: Collection[str]) -> None:
        super()._settle(names)
        if self.image is None:
            raise UsageError(f"{self.task} needs a picture to start from.", f"artgen {self.task} input.png")


@dataclass(frozen=True, kw_only=True)
class Img2Img(Canvas, FromImage):
    """Redraw a picture, guided by words."""

    task: ClassVar[str] = "img2img"
    default_strength: ClassVar[float | None] = 0.6


@dataclass(frozen=True, kw_only=True)
class Inpaint(Blend, Mask, Canvas, FromImage):
    """Repaint the part of a picture that a mask marks."""

    task: ClassVar[str] = "inpaint"
    default_strength: ClassVar[float | None] = 1.0

    def _settle(self, names: Collection[str]) -> None:
        super()._settle(names)
        if self.mask is None:
            raise UsageError(
                "inpaint needs a mask, white where to repaint.", "artgen inpaint input.png --mask mask.png"
            )


@dataclass(frozen=True, kw_only=True)
class Outpaint(Blend, Expansion, FromImage):
    """Extend a picture beyond its edges."""

    task: ClassVar[str] = "outpaint"
    default_strength: ClassVar[float | None] = 1.0

    def _settle(self, names: Collection[str]) -> None:
        super()._settle(names)
        if (self.expand is None) == (self.to is None):
            raise UsageError("outpaint needs either --expand or --to.", "artgen outpaint input.png --expand 64")


TASKS: dict[str, type[Request]] = {cls.task: cls for cls in (Txt2Img, Img2Img, Inpaint, Outpaint)}


def draw_seed() -> int:
    """A seed at random, 0 to 2**32 - 1: what other tools can take too."""
    import secrets  # it brings hashlib and random, which no `--help` needs

    return secrets.randbits(32)


def _check_device(device: str) -> None:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:[0-9]{1,3})?", device):
        raise UsageError(f"device must be auto, cpu, mps, cuda or cuda:N, not {device!r}.")
