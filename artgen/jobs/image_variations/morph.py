"""Plan a morph: the requests of the frames between images of artgen."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import InputFileError, UsageError
from artgen.jobs.replay import ReplaySpec, read_replay_spec
from artgen.spec.initial_noise import initial_noise
from artgen.spec.records import WRITER_FIELDS
from artgen.spec.requests import Txt2Img
from artgen.spec.settings import options_of, settings_of
from artgen.system.memory_file import MemoryFile

MORPH_TASK = "morph"
"""Value of `task` in the record of an animation."""

MAX_KEYS = 1000
MAX_FRAMES = 10_000
FPS_LIMITS = (0.1, 60)

_MIXED = frozenset(
    {
        "prompt", "negative_prompt", "style", "seed", "variation_seed", "variation_strength", "morph_prompt",
        "morph_negative_prompt", "morph_seed", "morph_position",
    }
)  # fmt: skip
"""Settings that may differ between the images."""

_OF_FIRST = ("steps", "scheduler", "sigmas", "device", "dtype", "acceleration", "vae_tiling", "offload")
"""Settings of which the value of the first image is used."""


@dataclass(frozen=True)
class MorphPlan:
    """Represent a morph.

    Attributes:
        requests: request of each frame.
        specs: replay of each image.
        key_frames: index of the frame of each image.
        loop: whether the last image changes back to the first.
        notes: sentences for the user.
    """

    requests: Sequence[Txt2Img]
    specs: Sequence[ReplaySpec]
    key_frames: Sequence[int]
    loop: bool
    notes: tuple[str, ...]

    def record(
        self, key_records: Sequence[Mapping[str, Any]], fps: float | None = None, quality: int | None = None
    ) -> dict[str, Any]:
        """Return the record of the animation.

        Args:
            key_records: record of the frame of each image.
            fps: frames per second; None: the default.
            quality: WebP quality; None: the default.
        """
        encoding = {name: value for name, value in (("fps", fps), ("quality", quality)) if value is not None}
        facts = {"frames": len(self.requests), "loop": self.loop, **encoding}
        return {"task": MORPH_TASK, **facts, "keys": [dict(each) for each in key_records], **WRITER_FIELDS}


@dataclass(frozen=True)
class MorphSource:
    """Represent the images of a morph and its length.

    Attributes:
        names: name of each image for messages.
        paths: file with the record of each image.
        frames: number of frames.
        loop: whether the last image changes back to the first.
        fps: frames per second; None: the default.
        quality: WebP quality, 1 to 100; None: the default.
    """

    names: Sequence[str]
    paths: Sequence[Path]
    frames: int
    loop: bool
    fps: float | None = None
    quality: int | None = None


def recorded_morph(path: Path) -> MorphSource | None:
    """Return the images and the length in the record of an animation; None for a record of another task.

    Raises:
        InputFileError: the file has no record, or the record is invalid.
    """
    record: Mapping[str, Any] | None = metadata.read_metadata(path).record
    if record is None or record.get("task") != MORPH_TASK:
        return None
    keys, frames, fps, quality = (record.get(name) for name in ("keys", "frames", "fps", "quality"))
    is_valid = fps is None or _is_between(fps, *FPS_LIMITS)
    is_valid &= quality is None or (_is_between(quality, 1, 100) and isinstance(quality, int))
    is_valid &= _is_between(frames, 2, MAX_FRAMES) and isinstance(keys, list) and 1 < len(keys) <= MAX_KEYS
    if not is_valid or not isinstance(frames, int) or not all(isinstance(each, dict) for each in keys or ()):
        raise InputFileError(f"Cannot replay '{path}': its record of a morph is invalid.", "Use another copy.")
    files = [MemoryFile.create(f"key-{i}.json", json.dumps(key).encode()) for i, key in enumerate(keys or (), 1)]
    names = [f"image {i} of '{path.name}'" for i in range(1, len(files) + 1)]
    return MorphSource(names, files, frames, bool(record.get("loop")), fps, quality)


def _is_between(value: Any, minimum: float, maximum: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and minimum <= value <= maximum


def plan_morph(source: MorphSource, changes: Mapping[str, Any], *, is_remote: bool = False) -> MorphPlan:
    """Return the requests of the frames of a morph.

    Args:
        source: images and length.
        changes: setting name -> text as typed, or value; applied to all images.
        is_remote: see `read_replay_spec`.

    Raises:
        InputFileError: the noise of an image is unknown.
        UsageError: the images have different settings, or the number of frames is too small.
        ModelUnavailableError, RefusedError: see `read_replay_spec`.
    """
    named = zip(source.names, source.paths, strict=True)
    specs = [_read_key(name, path, changes, is_remote=is_remote) for name, path in named]
    notes = list(dict.fromkeys(text for spec in specs for text in spec.notes if "batch size" not in text))
    keys = [_key_request(spec) for spec in specs]
    for name, key in zip(source.names[1:], keys[1:], strict=True):
        notes += _check_equal(source.names[0], keys[0], name, key)
    shared = {name: getattr(keys[0], name) for name in _OF_FIRST}
    keys = [keys[0], *(key.replace(**shared) for key in keys[1:])]
    for name, spec in zip(source.names, specs, strict=True):
        if spec.batch_size > 1:
            notes.append(f"{name} was generated with batch size {spec.batch_size}: its frame may differ slightly.")
    key_frames = frame_numbers(len(keys), source.frames, loop=source.loop)
    requests: list[Txt2Img] = []
    ends = [*key_frames[1:], *([source.frames] if source.loop else [])]
    for i, (start, end) in enumerate(zip(key_frames, ends, strict=False)):
        first, second = keys[i], keys[(i + 1) % len(keys)]
        requests += [between(first, second, step / (end - start)) for step in range(end - start)]
        if end - start > 1 and _is_same_image(first, second):
            pair = f"{_quoted(source.names[i])} and {_quoted(source.names[(i + 1) % len(keys)])}"
            notes.append(f"{pair} have the same prompt and the same noise: the frames between them are equal.")
    requests += [] if source.loop else [keys[-1]]
    return MorphPlan(requests, specs, key_frames, source.loop, tuple(notes))


def frame_numbers(num_keys: int, num_frames: int, *, loop: bool) -> list[int]:
    """Return the index of the frame of each image. The distances differ by at most 1.

    Raises:
        UsageError: there are too few frames.
    """
    least = num_keys + (num_keys == 2 and loop)
    if num_frames < least:
        raise UsageError(
            f"Cannot morph {num_keys} images in {num_frames} frames: at least {least} frames are necessary.",
            f"Use --frames {max(24, 12 * num_keys)}.",
        )
    intervals, total = (num_keys, num_frames) if loop else (num_keys - 1, num_frames - 1)
    return [i * total // intervals for i in range(num_keys)]


def between(first: Txt2Img, second: Txt2Img, position: float) -> Txt2Img:
    """Return the request of the frame between two images; position 0 is the first image."""
    if position == 0:
        return first
    changes: dict[str, Any] = {"morph_position": position}
    for name in ("prompt", "negative_prompt"):
        if getattr(first, name) != getattr(second, name):
            changes[f"morph_{name}"] = getattr(second, name)
    if initial_noise(first) != initial_noise(second):
        changes["morph_seed"] = str(initial_noise(second).first)
    return first.replace(**changes)


def _is_same_image(first: Txt2Img, second: Txt2Img) -> bool:
    """Return whether two images with equal other settings have the same prompts and the same noise."""
    prompts = [(each.prompt, each.negative_prompt) for each in (first, second)]
    return prompts[0] == prompts[1] and initial_noise(first) == initial_noise(second)


def _read_key(name: str, path: Path, changes: Mapping[str, Any], *, is_remote: bool) -> ReplaySpec:
    reason = _unknown_noise(path, changes)
    if reason:
        raise InputFileError(
            f"Cannot morph {_quoted(name)}: {reason}.",
            'A morph needs images that `artgen txt2img` generated: artgen txt2img "a red fox" -o a.png',
        )
    return read_replay_spec(path, changes, is_remote=is_remote)


def _unknown_noise(path: Path, changes: Mapping[str, Any]) -> str:
    """Return why the noise of an image is unknown, or why it cannot be mixed again; empty otherwise."""
    found = metadata.read_metadata(path)
    if found.record is None:
        if found.external is not None and found.external.has_prompt and "model" in changes:
            return ""
        return f"another tool generated it ({found.external.tool_name})" if found.external else "it has no record"
    task = found.record.get("task")
    if task != "txt2img":
        return f"its task is {task}"
    if found.record.get("seed") is None:
        return "its record has no seed"
    return "it is a frame of a morph, or a variation of a variation" if found.record.get("morph_position") else ""


def _key_request(spec: ReplaySpec) -> Txt2Img:
    """Return the request of an image, without settings of a morph that have no effect."""
    request = spec.request
    if not isinstance(request, Txt2Img):
        raise InputFileError("Cannot morph an image of another task than txt2img.", "artgen txt2img PROMPT -o a.png")
    return request.replace(morph_prompt=None, morph_negative_prompt=None, morph_seed=None, morph_position=None)


def _check_equal(first_name: str, first: Txt2Img, name: str, other: Txt2Img) -> list[str]:
    """Return notes about settings of another image that the settings of the first image replace.

    Raises:
        UsageError: another setting that affects the pixels differs.
    """
    notes = []
    declared = settings_of(Txt2Img)
    for setting in options_of(Txt2Img):
        values = getattr(first, setting), getattr(other, setting)
        neutral = (None, *declared[setting].neutral_values)
        if setting in _MIXED or values[0] == values[1] or (values[0] in neutral and values[1] in neutral):
            continue
        if setting in _OF_FIRST:
            if setting in ("steps", "scheduler", "sigmas"):
                notes.append(f"Using the {setting} of {_quoted(first_name)} for all frames: {_text(values[0])}.")
            continue
        if "pixels" in declared[setting].affects or "input" in declared[setting].affects:
            raise UsageError(
                f"Cannot morph {_quoted(first_name)} and {_quoted(name)}: their {setting} differs "
                f"({_text(values[0])} and {_text(values[1])}).",
                f"Use the same value for all images: --set {setting}={'' if values[0] is None else _text(values[0])}",
            )
    return notes


def _quoted(name: str) -> str:
    return name if "'" in name else f"'{name}'"


def _text(value: object) -> str:
    return "unset" if value is None or value == () else f"{value:g}" if isinstance(value, float) else str(value)
