"""Convert the keys of jobs in tables, JSON and YAML to settings, and apply `--ignore-columns`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from artgen.errors import UsageError
from artgen.queue.entries import LINE_SETTINGS, ignore_note, normal_key, setting_name
from artgen.queue.tool_options import A1111, A1111_IGNORED, A1111_NAMES, ignored_note
from artgen.spec.fields import describe_value
from artgen.spec.settings import unknown_setting_error

MAX_HINTS = 3
"""Limit of the unknown keys of a job that get a hint."""

REPEATED_HINT = "Remove one of them."

_IMAGES_PER_BATCH = "batch_size"
"""Key of A1111: a number of images. artgen's setting of this name belongs to a run and not to a job."""

_AUTOMATIC = "automatic"
"""A1111's name of the noise levels of the sampler."""


@dataclass(frozen=True)
class Keys:
    """Store the keys that are ignored.

    Attributes:
        ignored: keys to ignore; see `normal_key`.
        ignores_unknown: ignore all unknown keys.
        has_option: name the option `--ignore-columns` in the error about an unknown key.
    """

    ignored: frozenset[str] = frozenset()
    ignores_unknown: bool = False
    has_option: bool = True

    @classmethod
    def parse(cls, text: str | None) -> "Keys":
        """Parse the value of `--ignore-columns`: names with commas, or `all`.

        Raises:
            UsageError: the text is empty or is not a list.
        """
        if text is None:
            return cls()
        names = {normal_key(name) for name in _split_names(text)} - {""}
        if not names:
            raise UsageError("Cannot ignore columns: --ignore-columns has no names.", "--ignore-columns notes,author")
        return cls(frozenset(names - {"all"}), "all" in names)

    def split(
        self, keys: Iterable[str], on_note: Callable[[str], None] = ignore_note
    ) -> tuple[dict[str, str], list[str]]:
        """Return the setting of each known key, and the unknown keys. Ignored keys are in neither; notes list them."""
        names: dict[str, str] = {}
        unknown: list[str] = []
        ignored: list[str] = []
        without_effect: list[str] = []
        all_keys = list(keys)
        has_sampler = any(normal_key(key) == "sampler_name" for key in all_keys)
        for key in all_keys:
            normal = normal_key(key)
            if normal in self.ignored:
                ignored.append(key)
            elif normal == "scheduler" and has_sampler:
                names[key] = "sigmas"  # as in A1111 and ComfyUI
            elif normal in A1111_NAMES or normal == _IMAGES_PER_BATCH:
                names[key] = A1111_NAMES.get(normal, _IMAGES_PER_BATCH)
            elif normal in A1111_IGNORED:
                without_effect.append(key)
            else:
                try:
                    names[key] = setting_name(key)
                except UsageError:
                    (ignored if self.ignores_unknown else unknown).append(key)
        if ignored:
            on_note(f"Ignored as requested with --ignore-columns: {', '.join(map(describe_value, ignored))}.")
        if without_effect:
            on_note(ignored_note(A1111.tool, without_effect))
        return names, unknown

    def unique(
        self, keys: Iterable[str], on_note: Callable[[str], None], *, allow_unknown: bool = False
    ) -> dict[str, str]:
        """Return the setting of each key that is not ignored. With `allow_unknown`, an unknown key is its own setting.

        Raises:
            UsageError: a setting is unknown, or two keys have the same setting: equal keys, or a name and its alias.
        """
        all_keys = list(keys)
        names, unknown = self.split(all_keys, on_note)
        if unknown and not allow_unknown:
            raise _unknown_error(unknown, has_option=self.has_option)
        first_keys: dict[str, str] = {}
        for key in all_keys:
            name = names.get(key, key if allow_unknown else None)
            if name is None:
                continue
            if name in first_keys:
                raise UsageError(f"Cannot set {name} twice: with '{first_keys[name]}' and with '{key}'.", REPEATED_HINT)
            first_keys[name] = key
        return {key: name for name, key in first_keys.items()}

    def settings(
        self, values: Mapping[str, Any], parse_value: Callable[[str, Any], Any], on_note: Callable[[str], None]
    ) -> dict[str, Any]:
        """Return the settings of a job, with the meaning of keys of AUTOMATIC1111.

        Args:
            values: key -> value.
            parse_value: converts the value of a setting.
            on_note: receives what is ignored or converted.

        Raises:
            UsageError: as `unique`, or a value has the wrong type.
        """
        names = self.unique(values, on_note)
        found: dict[str, Any] = {}
        images_per_batch = 1
        for key, name in names.items():
            value = values[key]
            if name == _IMAGES_PER_BATCH:
                images_per_batch = parse_value("count", value)
                on_note("The batch size of a job is a number of images, as in AUTOMATIC1111.")
            elif name == "sigmas" and isinstance(value, str):
                if normal_key(value) != _AUTOMATIC:
                    found[name] = parse_value(name, value.strip().casefold())
            elif normal_key(key) == "denoising_strength" and not {"image", "task"} & set(names.values()):
                on_note("The denoising strength has no effect: the job has no input image.")
            else:
                found[name] = parse_value(name, value)
        if images_per_batch > 1:
            found["count"] = found.get("count", 1) * images_per_batch
        return found


def _split_names(text: str) -> list[str]:
    import csv

    try:
        return next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UsageError(f"Cannot parse --ignore-columns {describe_value(text)}: {error}.", "all") from None


def _unknown_error(unknown: list[str], *, has_option: bool) -> UsageError:
    known = (*LINE_SETTINGS, "task")
    message, hint = unknown_setting_error(unknown[0], known)
    if len(unknown) > 1:
        message = f"Unknown settings: {', '.join(map(describe_value, unknown))}."
        hints = {key: unknown_setting_error(key, known)[1] for key in unknown[:MAX_HINTS]}
        hint = " ".join(f"'{key}': {text}" for key, text in hints.items() if text)
    if has_option:
        option = "all" if any(not key or "," in key for key in unknown) else ",".join(unknown)
        quoted = f"'{option}'" if " " in option else option
        hint += f" To ignore {'it' if len(unknown) == 1 else 'them'}, add --ignore-columns {quoted}."
    return UsageError(message, hint.strip() or f"Remove {'it' if len(unknown) == 1 else 'them'}.")
