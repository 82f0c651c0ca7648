"""Every setting, declared once: default, help, flags and limits stand on its field and nowhere else.

A group is a small frozen dataclass. The command line splices groups into a command's options; a request inherits
them; a record and a prompt file use the same field names. `check` holds the limits wherever a value came from.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from artgen.errors import UsageError
from artgen.schedulers import SIGMAS

MAX_SEED = 2**64 - 1
MAX_SIDE = 16_384
TASK_NAMES = ("txt2img", "img2img", "inpaint", "outpaint")
"""The tasks, by name; `artgen.requests.TASKS` has a class for each."""

BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its name, type and default.

    Attributes:
        help: one sentence for `--help`.
        flags: spellings shown in `--help`, short ones included; empty means `--name-with-dashes`.
        aliases: further spellings that are accepted and not shown.
        minimum, maximum: inclusive limits of a number.
        choices: the words allowed, matched without regard to case.
        positional: may be given without its flag.
        metavar: what stands for the value in `--help`.
    """

    help: str
    flags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    positional: bool = False
    metavar: str | None = None


def setting(default: Any, help: str, **rest: Any) -> Any:  # noqa: A002
    """A dataclass field that carries a `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, **rest)})


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What to draw."""

    prompt: str = setting("", "What to draw; `-` reads it from stdin.", flags=("-p", "--prompt"), positional=True)
    negative_prompt: str = setting(
        "", "What to keep out of the picture.", flags=("-n", "--negative-prompt"), aliases=("--negative",)
    )
    long_prompt: str = setting(
        "truncate",
        "A prompt over the model's limit (77 tokens): cut it with a note, encode it in chunks, or refuse it.",
        choices=("truncate", "chunk", "error"),
    )


@dataclass(frozen=True, kw_only=True)
class Seed:
    """Where chance starts."""

    seed: int | None = setting(
        None, "Where chance starts; drawn at random when not given.", minimum=0, maximum=MAX_SEED
    )


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How noise becomes a picture. What is not given comes from the model's own defaults."""

    steps: int | None = setting(None, "Denoising steps.", aliases=("--num-inference-steps",), minimum=1, maximum=1000)
    guidance_scale: float | None = setting(
        None,
        "How strictly the prompt is followed; 1 or less switches guidance off.",
        flags=("-g", "--guidance-scale"),
        aliases=("--cfg-scale", "--guidance"),
        minimum=0,
        maximum=100,
    )
    scheduler: str | None = setting(
        None, "Sampler; `artgen schedulers` lists them.", aliases=("--sampler",), metavar="NAME"
    )
    sigmas: str | None = setting(None, "Spacing of the noise levels.", choices=SIGMAS)


@dataclass(frozen=True, kw_only=True)
class Canvas:
    """How large, in pixels. Not given: the model's own size, or the input picture's."""

    width: int | None = setting(None, "Width in pixels.", flags=("-W", "--width"), minimum=1, maximum=MAX_SIDE)
    height: int | None = setting(None, "Height in pixels.", flags=("-H", "--height"), minimum=1, maximum=MAX_SIDE)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The picture to start from."""

    image: Path | None = setting(
        None, "The picture to start from.", flags=("-i", "--image"), aliases=("--init-image",), positional=True
    )
    strength: float | None = setting(
        None,
        "How much may change, 0 to 1; 1 ignores the picture. [img2img 0.6, inpaint and outpaint 1]",
        minimum=0,
        maximum=1,
    )
    background: str = setting("white", "The colour behind a transparent picture: a name or #rrggbb.")


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Which part to repaint."""

    mask: Path | None = setting(
        None, "A picture that is white where to repaint.", flags=("-M", "--mask"), aliases=("--mask-image",)
    )
    invert_mask: bool = setting(False, "Repaint where the mask is black instead.")
    fit_mask: bool = setting(False, "Resize a mask that has another size than the picture.")


@dataclass(frozen=True, kw_only=True)
class Blend:
    """How the new part joins the old."""

    feather: int = setting(
        0, "Soften the seam over this many pixels inside the repainted part.", minimum=0, maximum=512
    )
    paste: bool = setting(True, "Put the untouched pixels of the input back exactly.")


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """How far to extend the picture."""

    expand: str | None = setting(None, "Pixels to add: `64` on every side, or `left=64,top=32`.", metavar="PIXELS")
    to: str | None = setting(None, "Extend to this size, the picture in the middle: `768x512`.", metavar="WxH")


@dataclass(frozen=True, kw_only=True)
class Model:
    """Which model draws."""

    model: str | None = setting(
        None,
        "An alias, a hub id (owner/name[@revision]), a folder or a .safetensors file. "
        "[sd15 with CUDA, the bundled `tiny` without]",
        flags=("-m", "--model"),
    )
    offline: bool = setting(False, "Never use the network.")
    safety_checker: bool = setting(True, "Use the model's own safety filter, when it ships one.")


@dataclass(frozen=True, kw_only=True)
class Compute:
    """Where the model runs."""

    device: str = setting("auto", "auto, cpu, mps, cuda or cuda:N.")
    dtype: str = setting(
        "auto", "Precision. [auto: fp16 on a GPU, fp32 on the CPU]", choices=("auto", "fp32", "fp16", "bf16")
    )
    offload: str | None = setting(
        None,
        "Keep parts of the model in main memory until they are needed: slower, much less GPU memory.",
        choices=("none", "model", "sequential"),
    )
    vae_tiling: bool = setting(False, "Decode in tiles: less memory for large pictures.")


@dataclass(frozen=True, kw_only=True)
class Series:
    """How many pictures. Each becomes a request of its own, with a seed of its own.

    Seeds that differ by a multiple of 2**32 draw the same picture: torch's CPU generator, from which all noise comes,
    takes the low 32 bits.
    """

    seed: str | None = setting(
        None,
        "Where chance starts: `7`, a list `1,2,5-8`, or -1 for random. [random, and always printed]",
        flags=("-s", "--seed"),
        metavar="SEED",
    )
    count: int = setting(
        1,
        "How many pictures, with seeds counting up.",
        flags=("-c", "--count"),
        aliases=("--num-images", "--batch-count"),
        minimum=1,
        maximum=100_000,
    )
    batch_size: str = setting(
        "1", "How many are drawn at the same time: a number, or `auto` to find the fastest.", metavar="N|auto"
    )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Settings to try out."""

    sweep: tuple[str, ...] = setting(
        (),
        "Try every value: steps=10,20,30 or guidance=3:9:2; repeat it for every combination. "
        "Draws labelled contact sheets too.",
        metavar="NAME=VALUES",
    )


@dataclass(frozen=True, kw_only=True)
class Run:
    """Which pictures of a batch are drawn, and by whom."""

    task: str | None = setting(None, "What lines ask for that do not say. [txt2img]", choices=TASK_NAMES)
    limit: int | None = setting(None, "Draw at most so many now.", minimum=1, maximum=10_000_000)
    shuffle: bool = setting(False, "Draw in random order; the pictures stay the same.", flags=("--shuffle",))
    shard: str | None = setting(None, "Draw only part i of n, counted from 0: one of several machines.", metavar="i/n")
    keep_going: bool = setting(False, "Draw what is right although other lines are wrong.", flags=("--keep-going",))
    retry_failed: bool = setting(False, "Try again what failed before.", flags=("--retry-failed",))
    workers: int = setting(1, "Processes on this machine: one for each GPU or group of cores.", minimum=1, maximum=256)
    ray: str | None = setting(
        None, "Draw on a Ray cluster: its address, or `auto` for the one at hand.", metavar="ADDRESS"
    )


@dataclass(frozen=True, kw_only=True)
class Size:
    """Width and height in one word."""

    size: str | None = setting(None, "Width and height in one word: 768x512.", metavar="WxH")


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where pictures go."""

    output: str | None = setting(
        None,
        "A file, a folder (with a trailing /) or a template such as `{seed}-{prompt}.png`. [outputs/]",
        flags=("-o", "--output"),
    )
    format: str | None = setting(None, "File format. [png]", choices=("png", "jpeg", "jpg", "webp"))
    quality: int | None = setting(None, "Quality of JPEG and WebP. [95]", minimum=1, maximum=100)
    overwrite: bool = setting(False, "Replace a file that exists.")
    metadata: str = setting(
        "full",
        "What the picture tells of its making: all, only that a model made it, or nothing.",
        choices=("full", "minimal", "none"),
    )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is printed."""

    json: bool = setting(False, "Print a JSON record for each picture instead of its path.", flags=("--json",))
    dry_run: bool = setting(False, "Check everything, print what would be made, draw nothing.", flags=("--dry-run",))
    quiet: bool = setting(False, "Only errors on stderr.", flags=("-q", "--quiet"))
    verbose: bool = setting(False, "Also say what is loaded and how long each picture took.", flags=("-v", "--verbose"))


def settings_of(group: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a group or request that are settings, by name."""
    return {f.name: f for f in dataclasses.fields(group) if "setting" in f.metadata}


@cache
def _declared(group: Callable[..., object]) -> dict[str, tuple[type, bool, Setting]]:
    hints = typing.get_type_hints(group)
    fields = settings_of(typing.cast(type, group))
    return {name: (*_plain(hints[name]), f.metadata["setting"]) for name, f in fields.items()}


def _plain(hint: Any) -> tuple[type, bool]:
    if isinstance(hint, types.UnionType):
        return next(part for part in typing.get_args(hint) if part is not type(None)), True
    return typing.get_origin(hint) or hint, False


def type_of(group: type, name: str) -> tuple[type, bool]:
    """The plain type of a setting (`int`, `float`, `bool`, `str`, `Path`, `tuple`) and whether None will do."""
    kind, optional, _ = _declared(group)[name]
    return kind, optional


def check(values: Any, names: Container[str] | None = None) -> None:
    """Holds the values of a dataclass, all or those named, to their settings' types and limits.

    Raises:
        UsageError: naming the setting, what was wanted and what came.
    """
    group: type = type(values)
    for name, (kind, optional, spec) in _declared(group).items():
        if names is not None and name not in names:
            continue
        value = getattr(values, name)
        if value is None and optional:
            continue
        _check_type(name, value, kind)
        _check_limits(name, value, spec)


def _check_type(name: str, value: object, kind: type) -> None:
    # bool is a subclass of int, and an int will do for a float.
    fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if not fits or (isinstance(value, bool) and kind is not bool):
        raise UsageError(f"{name} must be {_article(kind)}, not {value!r}.")
    if isinstance(value, str | Path):
        _check_text(name, str(value))


def _check_text(name: str, text: str) -> None:
    if "\0" in text:
        raise UsageError(f"{name} contains a NUL character.", "Remove it; text ends there for many programs.")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        # File names may hold bytes that are no text; the operating system takes them as they are.
        if name not in PATH_SETTINGS:
            raise UsageError(
                f"{name} is not valid UTF-8.", "Save the file or set the terminal to UTF-8 and try again."
            ) from None


PATH_SETTINGS = frozenset({"image", "mask", "model"})


def _check_limits(name: str, value: Any, spec: Setting) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, not {value}.", describe_limits(spec))
    if spec.choices and value not in spec.choices:
        import difflib

        close = difflib.get_close_matches(str(value), spec.choices, n=1)
        raise UsageError(
            f"{name} must be one of {', '.join(spec.choices)}, not {value!r}.",
            f"Did you mean {close[0]}?" if close else "",
        )
    too_small = spec.minimum is not None and value < spec.minimum
    too_large = spec.maximum is not None and value > spec.maximum
    if too_small or too_large:
        raise UsageError(f"{name} must be {describe_limits(spec)}, not {value}.")


def describe_limits(spec: Setting) -> str:
    """`1 to 1000`, or an empty string for a setting without limits."""
    if spec.minimum is None or spec.maximum is None:
        return ""
    return f"{spec.minimum:,} to {spec.maximum:,}"


def parse(group: type, name: str, text: str) -> Any:
    """The value of setting `name` written as text: a cell of a table, or the right side of `--set steps=50`.

    Raises:
        UsageError: there is no such setting, or the text is not of its type.
    """
    if name not in settings_of(group):
        raise UsageError(*unknown(name, settings_of(group)))
    kind, optional = type_of(group, name)
    if optional and text == "":
        return None
    if kind is bool:
        words = {
            "true": True,
            "yes": True,
            "on": True,
            "1": True,
            "false": False,
            "no": False,
            "off": False,
            "0": False,
        }
        if text.casefold() not in words:
            raise UsageError(f"{name} must be true or false, not {text!r}.")
        return words[text.casefold()]
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{name} must be {_article(kind)}, not {text!r}.") from None


def unknown(name: str, known: Mapping[str, object] | typing.Iterable[str]) -> tuple[str, str]:
    """The message and hint for a setting name that does not exist."""
    import difflib

    close = difflib.get_close_matches(name.replace("-", "_"), list(known), n=3)
    return f"There is no setting called {name!r}.", f"Close names: {', '.join(close)}." if close else ""


def _article(kind: type) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    return names.get(kind, kind.__name__)
