"""Define the mask of a request: an image, or a text that a mask model searches."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from artgen.errors import UsageError
from artgen.spec.mask_text import parse_mask_text
from artgen.spec.settings import MASK_MODELS, MaskSettings, MaskTextSettings

LOCAL_PREFIX = "local:"
"""Prefix of a mask model in a record that was a folder. The folder is private, so it is not recorded."""


@dataclass(frozen=True, kw_only=True)
class MaskSource(MaskTextSettings, MaskSettings):
    """Store the mask of a request, or the text that selects it.

    Attributes:
        recorded_mask: mask of `mask_text` in a record, see `artgen.jobs.text_masks`; empty if unknown. Untrusted.
        recorded_mask_source: origins of the mask model in a record; empty if unknown. Untrusted.
    """

    recorded_mask: str = dataclasses.field(default="", compare=False, repr=False)
    recorded_mask_source: tuple[str, ...] = dataclasses.field(default=(), compare=False, repr=False)

    def _normalize_mask_source(self, names: Collection[str]) -> None:
        """Convert the text to its canonical form, and check that no other setting contradicts it."""
        if self.mask_text is not None and "mask_text" in names:
            object.__setattr__(self, "mask_text", str(parse_mask_text(self.mask_text)))
        if self.mask_model is not None and "mask_model" in names:
            name = str(self.mask_model)
            object.__setattr__(self, "mask_model", name.lower() if name.lower() in MASK_MODELS else name)
        if self.mask is not None and self.mask_text is not None:
            raise UsageError(
                "Cannot combine mask and mask_text.", "Remove --mask or --mask-text.", settings=("mask", "mask_text")
            )
        if self.save_mask is not None:
            check_mask_file(str(self.save_mask), "save_mask", "--save-mask")
            if Path(self.save_mask) == getattr(self, "image", None):
                raise UsageError(
                    f"save_mask must be another file than the input image '{self.save_mask}'.",
                    f"--save-mask {Path(self.save_mask).stem}-mask.png",
                    settings=("save_mask",),
                )
        if self.mask_text is None:
            for name in ("grow", "mask_threshold", "mask_model", "save_mask"):
                if getattr(self, name) is not None:
                    option = f"--{name.replace('_', '-')}"
                    raise UsageError(
                        f"{name} needs mask_text.", f'Add --mask-text "the dog", or remove {option}.', settings=(name,)
                    )
            return
        for name in ("resize_mask", "soft_mask"):
            if getattr(self, name, False):
                option = f"--{name.replace('_', '-')}"
                raise UsageError(
                    f"Cannot combine {name} and mask_text.", f"Remove {option}.", settings=(name, "mask_text")
                )


def check_mask_file(destination: str, name: str, option: str) -> None:
    """Check that a mask can be saved under a name: a PNG file, a name without a suffix, or a folder.

    Args:
        destination: the name.
        name: name of the setting, for the message.
        option: name of the option, for the hint.

    Raises:
        UsageError: the name has another suffix.
    """
    path = PurePath(destination)
    if path.suffix and path.suffix.lower() != ".png" and not destination.endswith(("/", "\\")):
        raise UsageError(
            f"{name} must be a .png file or a folder, not {destination[:80]!r}: masks are saved as PNG.",
            f"{option} {path.stem}.png, or a folder: {option} masks/",
            settings=(name,),
        )


def recorded_mask_model(name: str) -> str:
    """Return the name of a mask model as a record contains it: without the folders of a local model."""
    if name in MASK_MODELS or name.startswith(LOCAL_PREFIX):
        return name
    return LOCAL_PREFIX + (PureWindowsPath(name).name if "\\" in name else PurePath(name).name)


def is_trusted_mask_model(value: Any) -> bool:
    """Return whether a recorded mask model is safe to use: a short name, or the mark of a local model."""
    return value in (None, *MASK_MODELS) or str(value).startswith(LOCAL_PREFIX)
