"""Convert values of the Python API to the types of the settings."""

import os
from typing import Any

from artgen.errors import UsageError
from artgen.spec.fields import describe_value


def plain_value(value: Any) -> Any:
    """Return a number of numpy as a number of Python, and an array with one dimension as a list.

    A device or a dtype of torch is returned as text, such as `cuda:0` and `float16`. Other values are unchanged.
    """
    module = type(value).__module__.partition(".")[0]
    if module == "torch" and type(value).__name__ in ("device", "dtype"):
        return str(value).removeprefix("torch.")
    is_numpy = module == "numpy" and hasattr(value, "tolist")
    return value.tolist() if is_numpy and len(value.shape) < 2 else value


def path_text(value: object, name: str, example: str = "fox.png") -> str:
    """Return a path as text. `~` at the beginning is replaced by the home folder, as a shell does.

    Args:
        value: text, bytes or object with `__fspath__`.
        name: name of the parameter, for messages.
        example: path for the hint.

    Raises:
        UsageError: the value has another type, or is empty.
    """
    if not isinstance(value, str | bytes | os.PathLike):
        hint = f'For example: "{example}".'
        if hasattr(value, "write"):
            hint = "Use a path. `GeneratedImage.to_file().content` contains the bytes of a PNG file."
        raise UsageError(f"{name} must be a path, not {describe_value(value)}.", hint)
    text = os.fsdecode(value)
    if not text:
        raise UsageError(f"{name} is empty.", f'For example: "{example}".')
    return os.path.expanduser(text)  # noqa: PTH111 - Path.expanduser raises for an unknown ~user


def output_text(path: object, name: str, example: str = "fox.png") -> str:
    """Return a path as the value of `--output`. Braces of a `Path` are not fields, and `-` is not standard output.

    Raises:
        UsageError: see `path_text`.
    """
    text = path_text(path, name, example)
    if not isinstance(path, str):
        text = text.replace("{", "{{").replace("}", "}}")
    return f".{os.sep}-" if text == "-" else text
