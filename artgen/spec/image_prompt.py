"""Parse the values of `--image-prompt`: `FILE[:SCALE][,mask=FILE][,model=NAME]`."""

import math
import re
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError
from artgen.spec.control import format_number

MAX_IMAGE_PROMPT_SCALE = 10.0
IMAGE_PROMPT_KEYS = ("scale", "mask", "model")
_KEY_PATTERN = re.compile(r",\s*([A-Za-z_]+)=")
_SCALE_PATTERN = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|[-+]?(nan|inf|infinity)", re.IGNORECASE)
_EXAMPLE = "--image-prompt photo.png:0.6"


class ImagePromptSpec(NamedTuple):
    """Represent an image whose content or style the result takes.

    Attributes:
        image: the image file.
        scale: strength of the image, 0 to 10; 0 disables the image.
        mask: file of a mask; the image acts only where the mask is white. None: the whole image.
        model: name of the adapter; None is the default adapter of the model's architecture.
    """

    image: Path
    scale: float = 1.0
    mask: Path | None = None
    model: str | None = None

    def __str__(self) -> str:
        """Return the text from which `parse_image_prompt` reads the same value."""
        image = str(self.image)
        needs_scale = self.scale != 1.0 or _split_scale(image)[1] is not None
        parts = [f"{image}:{format_number(self.scale)}" if needs_scale else image]
        parts += [f"mask={self.mask}"] if self.mask is not None else []
        parts += [f"model={self.model}"] if self.model is not None else []
        return ",".join(parts)


def parse_image_prompt(text: str) -> ImagePromptSpec:
    r"""Parse a text such as `photo.png:0.6,mask=left.png`. Paths may contain colons (`C:\...`) and commas.

    Raises:
        UsageError: the file is missing, the scale is not a number from 0 to 10, or a key is unknown.
    """
    matches = list(_KEY_PATTERN.finditer(text))
    head = (text[: matches[0].start()] if matches else text).strip()
    values: dict[str, str] = {}
    ends = [*(match.start() for match in matches[1:]), len(text)]
    for match, end in zip(matches, ends, strict=False):
        key, value = match[1].lower(), text[match.end() : end].strip()
        if key not in IMAGE_PROMPT_KEYS:
            raise _error(f"image_prompt has the keys scale, mask and model, not {key[:80]!r}.")
        if key in values or not value:
            raise _error(f"The key {key} of image_prompt {'is given twice' if key in values else 'has no value'}.")
        values[key] = value
    image, scale = _split_scale(head)
    if scale is not None and "scale" in values:
        raise _error("The scale of image_prompt is given twice.")
    if not image:
        raise _error(f"image_prompt must be FILE[:SCALE], not {text[:80]!r}.")
    number = _parse_scale(values.get("scale", scale), image)
    mask = Path(values["mask"]) if "mask" in values else None
    return ImagePromptSpec(Path(image), number, mask, values.get("model"))


def recorded_image_prompt(spec: ImagePromptSpec) -> ImagePromptSpec:
    """Return an image prompt as a record contains it: without the folders of its files."""
    model = PureWindowsPath(spec.model).name if spec.model is not None else None
    mask = Path(spec.mask.name) if spec.mask is not None else None
    return spec._replace(image=Path(spec.image.name), mask=mask, model=model)


def normalize_image_prompt_list(value: object) -> object:
    """Convert a value of `image_prompt` to a tuple of canonical texts. Empty texts are removed.

    Raises:
        UsageError: a text is invalid; see `parse_image_prompt`.
    """
    if not isinstance(value, str | Path | list | tuple):
        return value  # `validate` raises the error.
    given: Iterable[object] = [value] if isinstance(value, str | Path) else value
    texts = (str(item) if isinstance(item, Path) else item for item in given if item != "")
    return tuple(str(parse_image_prompt(item)) if isinstance(item, str) else item for item in texts)


def _split_scale(text: str) -> tuple[str, str | None]:
    """Return the file and the text of the scale; None without a scale.

    A text after the last colon is a scale if it is a number, or if the part before it is the name of an image file.
    """
    name, colon, scale = text.rpartition(":")
    is_scale = bool(_SCALE_PATTERN.fullmatch(scale.strip()))
    after_file = bool(re.search(r"\.[A-Za-z0-9]{1,5}$", name)) and not re.search(r"[\\/.]", scale)
    return (name, scale.strip()) if colon and name and (is_scale or after_file) else (text, None)


def _parse_scale(text: str | None, image: str) -> float:
    if text is None:
        return 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_IMAGE_PROMPT_SCALE:
        raise UsageError(
            f"The scale of an image prompt must be a number from 0 to {MAX_IMAGE_PROMPT_SCALE:g}, not {text[:80]!r}.",
            f"--image-prompt {image}:0.6",
            settings=("image_prompt",),
        )
    return value


def _error(message: str) -> UsageError:
    return UsageError(message, f"{_EXAMPLE},mask=left.png", settings=("image_prompt",))
