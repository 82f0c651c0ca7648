"""Parse the values of `--control`: `KIND=IMAGE[,scale=0.8][,from=0][,until=0.6][,model=ID]`."""

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

from artgen.errors import UsageError

CONTROL_KINDS = ("canny", "depth", "pose", "lineart", "scribble", "seg", "tile", "gray", "raw")
MAX_CONTROL_SCALE = 10.0
CONTROL_KEYS = ("scale", "from", "until", "model")
_KEYS = {"scale": "scale", "from": "start", "until": "end", "model": "model"}
"""Name of the attribute for each key of the text."""

_KEY_SYNONYMS = {
    "weight": "scale", "strength": "scale", "start": "from", "end": "until", "stop": "until", "net": "model"
}  # fmt: skip
_KEY_PATTERN = re.compile(r",\s*([A-Za-z_]+)=")
_PATH_PATTERN = re.compile(r"^[./~]|\\|^[A-Za-z]:")
"""Start or part of a name of a net that is a path, not a hub id."""
_EXAMPLE = "--control canny=photo.png"


class ControlSpec(NamedTuple):
    """Represent a control image and the net that reads its control map.

    Attributes:
        kind: preprocessor of the image, one of `CONTROL_KINDS`; `raw` if the image is already a control map.
        image: the image file.
        scale: conditioning scale, 0 to 10; 0 disables the net.
        start: fraction of the steps before which the net is inactive, 0 to 1.
        end: fraction of the steps after which the net is inactive, 0 to 1, greater than `start`.
        model: name of the net; None is the default net of the kind and the architecture of the model.
    """

    kind: str
    image: Path
    scale: float = 1.0
    start: float = 0.0
    end: float = 1.0
    model: str | None = None

    def __str__(self) -> str:
        """Return the text from which `parse_control` reads the same value. Default values are omitted."""
        numbers = (("scale", self.scale, 1.0), ("from", self.start, 0.0), ("until", self.end, 1.0))
        parts = [f"{key}={format_number(value)}" for key, value, default in numbers if value != default]
        return ",".join([f"{self.kind}={self.image}", *parts, *([f"model={self.model}"] if self.model else [])])


def map_kind(spec: ControlSpec) -> str:
    """Return the kind of the control map. The map of `raw=map.png,model=canny` is a canny map."""
    return spec.model if spec.kind == "raw" and spec.model in CONTROL_KINDS else spec.kind


def recorded_control(spec: ControlSpec) -> ControlSpec:
    """Return a control image as a record contains it: without the folders of the image and of a local net."""
    model = spec.model
    if model is not None and (_PATH_PATTERN.search(model) or model.count("/") > 2):
        model = PureWindowsPath(model).name
    return spec._replace(image=Path(spec.image.name), model=model)


def format_number(value: float) -> str:
    """Return the shortest text of a number, from which the same number is parsed."""
    return repr(float(value)).removesuffix(".0")


def parse_control(text: str) -> ControlSpec:
    """Parse a text such as `canny=photo.png,scale=0.8,until=0.6`.

    Raises:
        UsageError: the kind or a key is unknown, the image is missing, a number is invalid, or `until` is not greater
            than `from`.
    """
    kind, equals, rest = text.partition("=")
    kind = kind.strip().lower()
    if kind not in CONTROL_KINDS:
        raise _kind_error(text, kind if equals else "")
    image, values = _split_keys(rest)
    if not image:
        raise UsageError(f"control needs an image file after '{kind}='.", _EXAMPLE)
    numbers = {_KEYS[key]: _parse_number(key, value) for key, value in values.items() if key != "model"}
    spec = ControlSpec(kind, Path(image), model=values.get("model"), **numbers)
    if spec.end <= spec.start:
        raise UsageError(
            f"until must be greater than from: the net is active between these fractions of the steps. Received from="
            f"{spec.start:g} and until={spec.end:g}.",
            f"--control {kind}={image},from=0,until=0.6",
        )
    return spec


def split_controls(text: str) -> tuple[str, ...]:
    """Return the control images in a text such as `canny=a.png,scale=0.8,depth=b.png`; each begins with a kind."""
    return tuple(each.strip() for each in re.split(rf",\s*(?=(?:{'|'.join(CONTROL_KINDS)})=)", text) if each.strip())


def _kind_error(text: str, kind: str) -> UsageError:
    if not kind:
        return UsageError(
            f"control must be KIND=IMAGE, not {text[:80]!r}. The kinds are {', '.join(CONTROL_KINDS)}.",
            f"--control canny={text}" if text.strip() and not re.search("[,=]", text) else _EXAMPLE,
        )
    from artgen.spec.synonyms import value_hint

    return UsageError(
        f"The kind of control must be one of {', '.join(CONTROL_KINDS)}, not {kind[:80]!r}.",
        value_hint("control", kind, CONTROL_KINDS) or _EXAMPLE,
    )


def _split_keys(text: str) -> tuple[str, dict[str, str]]:
    """Return the image and the text of each key. A comma without a key after it is a part of a value."""
    matches = list(_KEY_PATTERN.finditer(text))
    image = text[: matches[0].start()] if matches else text
    values: dict[str, str] = {}
    ends = [*(match.start() for match in matches[1:]), len(text)]
    for match, end in zip(matches, ends, strict=False):
        key, value = match[1].lower(), text[match.end() : end].strip()
        if key not in _KEYS:
            near = _KEY_SYNONYMS.get(key) or next(iter(difflib.get_close_matches(key, _KEYS, 1)), "")
            raise UsageError(
                f"control has the keys {', '.join(_KEYS)}, not {key[:80]!r}.",
                f"Use {near}={value}." if near else "A file name that contains this text must be renamed.",
            )
        if key in values or not value:
            problem = "is given twice" if key in values else "has no value"
            raise UsageError(f"The key {key} of control {problem}.", f"{_EXAMPLE},scale=0.8")
        values[key] = value
    return image.strip(), values


def _parse_number(key: str, text: str) -> float:
    maximum = MAX_CONTROL_SCALE if key == "scale" else 1.0
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= maximum:
        hint = f"Did you mean {key}={value / 100:g}?" if key != "scale" and 1 < value <= 100 else ""
        raise UsageError(
            f"{key} of control must be a number from 0 to {maximum:g}, not {text[:80]!r}.",
            hint or f"{_EXAMPLE},{key}=0.8",
        )
    return value


def normalize_control_list(value: object) -> object:
    """Convert a value of `control` to a tuple of canonical texts. Empty texts are removed.

    Raises:
        UsageError: a text is invalid; see `parse_control`.
    """
    given: Iterable[object] = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else ()
    if not isinstance(value, str | list | tuple):
        return value  # `validate` raises the error.
    return tuple(str(parse_control(item)) if isinstance(item, str) else item for item in given if item != "")
