"""Generate artgen/api/keyword_types.py, the types of the keywords of the Python API, from the settings.

python docs/generate_keywords.py
"""

from pathlib import Path

from artgen.api.function_keywords import FUNCTIONS, FunctionSpec, keyword_class, keyword_defaults
from artgen.spec.settings import options_of, settings_of, type_of

MODULE = Path(__file__).parents[1] / "artgen" / "api" / "keyword_types.py"
HEADER = '''"""Define the types of the keywords of the functions.

`docs/generate_keywords.py` generates this module from `artgen.api.function_keywords`. Do not edit it.
"""

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypedDict

from artgen.events import Listener

if TYPE_CHECKING:
    from artgen.api.inputs import ImageInput
'''

NUMBER_OR_TEXT = {
    "sigma": "float | str",
    "noise_levels": "float | Sequence[float] | str",
    "class_label": "int | str",
    "expand": "int | str | Mapping[str, int]",
    "fast": "str",
}
SIZES = ("size", "target_size")
PATH_TYPE = "str | PathLike[str]"
IMAGE_TYPES = {
    "control": '"str | Mapping[str, object] | Sequence[str | Mapping[str, object]] | None"',
    "image_prompt": '"ImageInput | Mapping[str, object] | Sequence[ImageInput | Mapping[str, object]] | None"',
    "reference": '"ImageInput | Sequence[ImageInput] | None"',
}
"""Types of keywords with images, for all functions except `batch`."""


def render() -> str:
    """Return the code of the module."""
    classes = "".join(_class(name, spec) for name, spec in FUNCTIONS.items())
    return HEADER + classes


def _class(function: str, spec: FunctionSpec) -> str:
    lines = [
        f"\n\nclass {keyword_class(function)}(TypedDict, total=False):",
        f'    """Store the keywords of `{function}`."""',
        "",
    ]
    for name in keyword_defaults(spec):
        if name in ("seed", "count") and "count" in keyword_defaults(spec) and function != "batch":  # overloads
            continue
        is_image = name in IMAGE_TYPES and name not in spec.extra and function != "batch"
        lines.append(f"    {name}: {IMAGE_TYPES[name] if is_image else _type(name, spec)}")
    return "\n".join(lines) + "\n"


def _type(name: str, spec: FunctionSpec) -> str:
    if name in spec.extra:
        text = spec.extra[name].type
        return f'"{text}"' if "ImageInput" in text else text
    group = next(group for group in spec.groups if name in options_of(group))
    kind, _ = type_of(group, name)
    setting = settings_of(group)[name]
    text = kind.__name__
    if setting.choices:
        text = f"Literal[{', '.join(map(_quoted, setting.choices))}]"
    elif name in NUMBER_OR_TEXT:
        text = NUMBER_OR_TEXT[name]
    elif name in SIZES:
        text = "str | tuple[int, int]"
    elif name == "batch_size":
        text = 'int | Literal["auto"]'
    elif kind is tuple:
        text = f"{PATH_TYPE} | Sequence[{PATH_TYPE}]" if setting.is_path else "str | Sequence[str]"
    elif kind is Path or (kind is str and setting.is_path):
        text = PATH_TYPE
    return f"{text} | None"


def _quoted(text: str) -> str:
    return f'"{text}"'


if __name__ == "__main__":
    MODULE.write_text(render(), "utf-8")
