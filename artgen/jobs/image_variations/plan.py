"""Plan the variations of an image: its own request with mixed noise, or img2img if its noise is unknown."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from artgen import metadata
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.events import Listener
from artgen.images.decoding import MAX_FILE_BYTES
from artgen.jobs.prepare import prepare_jobs
from artgen.jobs.prompt_expansion import report_once
from artgen.jobs.recorded_prompt import add_unsupported, with_recorded_prompts
from artgen.jobs.replay import ReplaySpec, read_replay_spec
from artgen.spec import settings
from artgen.spec.base_requests import Request, VariedRequest
from artgen.spec.fields import non_default_settings
from artgen.spec.prompt_expansion import PromptExpansion
from artgen.spec.records import JSON_ONLY_KEYS, KEPT_PROVENANCE, PROVENANCE_FIELDS
from artgen.spec.requests import TASKS, Img2Img, Txt2Img
from artgen.spec.settings import options_of, unknown_setting_error
from artgen.system.input_files import is_stdin, read_input

_VARIATION_NAMES, _MORPH_NAMES = ("variation_seed", "variation_strength"), ("morph_seed", "morph_position")
"""Settings of the seed of the other noise and of its amount."""

DEFAULT_COUNT = 4
"""Number of variations without `count` and without a list of seeds."""

_ITSELF = "With amount 0, no other noise is mixed in: each result is the image itself, and the seeds have no effect."

VARIED_TASKS = tuple(name for name, task in TASKS.items() if issubclass(task.request_class, VariedRequest))
"""Tasks whose initial noise can be mixed."""


@dataclass(frozen=True)
class VariationPlan:
    """Represent the variations of an image.

    Attributes:
        requests: one request for each variation.
        notes: sentences for the user.
        spec: replay of the image; None if img2img generates the variations.
        uses_recorded_prompt: whether the requests of img2img may use the recorded prompt of the image.
        given: settings that the user changed.
    """

    requests: Sequence[Request]
    notes: tuple[str, ...]
    spec: ReplaySpec | None = None
    uses_recorded_prompt: bool = True
    given: frozenset[str] = frozenset()


def plan_variations(
    path: Path, amount: float, seeds: Sequence[int], changes: Mapping[str, Any], *, is_remote: bool = False
) -> VariationPlan:
    """Return the requests of the variations of an image.

    Args:
        path: image.
        amount: amount of the other noise, 0 to 1; 0: the image itself.
        seeds: seed of the other noise of each variation.
        changes: setting name -> text as typed, or value of the type of the setting.
        is_remote: see `read_replay_spec`.

    Raises:
        InputFileError, ModelUnavailableError, RefusedError: see `read_replay_spec`.
        UsageError: a change has an unknown setting or an invalid value.
    """
    changes = settings.canonical_keys(changes, options_of(Txt2Img))
    for name in ("variation_seed", "variation_strength", "seed"):
        if name in changes:
            raise UsageError(
                f"Cannot set {name}: each variation has its own.",
                "Use --seed and --amount of the command.",
                settings=(name,),
            )
    record, reason = _recorded_noise(path, changes)
    if not reason:
        # The noise of an image with a variation seed is mixed a second time, as the noise of a morph.
        seed_name, amount_name = _MORPH_NAMES if record.get("variation_strength") else _VARIATION_NAMES
        try:
            varied = {**changes, **({amount_name: amount} if amount else {})}
            spec = read_replay_spec(path, varied, is_remote=is_remote)
        except InputFileError as error:
            if record.get("task") in (None, "txt2img"):
                raise
            reason = error.message.rstrip(".")
        else:
            values: Sequence[Any] = [str(seed) for seed in seeds] if seed_name == "morph_seed" else seeds
            origin = {**spec.request.unknown_fields, "variation_of": hashlib.sha256(_content(path)).hexdigest()}
            first = spec.request.replace(unknown_fields=origin) if amount else spec.request
            requests = [first.replace(**{seed_name: value}) if amount else first for value in values]
            notes = spec.notes if amount else (*spec.notes, _ITSELF)
            return VariationPlan(requests, notes, spec, given=frozenset(changes))
    changed = {name: _parse(name, value) for name, value in changes.items()}
    base = Img2Img(**{"image": path, "strength": amount, "prompt": "", **changed})
    name = "standard input" if is_stdin(path) else f"'{path.name}'"
    note = f"The noise of {name} is unknown: {reason}. Using img2img with strength {amount:g} instead."
    is_instruction = record.get("task") == "edit"
    return VariationPlan(
        [base.replace(seed=seed) for seed in seeds], (note,), None, not is_instruction, frozenset(changes)
    )


def _recorded_noise(path: Path, changes: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the record of an image, and the reason why its initial noise is unknown; empty if it is known."""
    try:
        found = metadata.read_metadata(path)
    except InputFileError:  # img2img reports the error of a damaged image
        return {}, "it has no generation metadata"
    record = found.record
    if record is None:
        if found.external is None or not found.external.has_prompt:
            return {}, "its metadata has no prompt"
        if "model" in changes:
            return {}, ""
        return {}, (
            f"{found.external.tool_name} generated it with a model that artgen cannot identify. To use its seed, add "
            "--set model=NAME"
        )
    task = record.get("task")
    if "seed" not in record:
        return record, "its record has no seed"
    if task not in VARIED_TASKS:
        return record, f"its task is {task}"
    if record.get("invert"):
        return record, "it was computed from an image (--invert)"
    if record.get("morph_position"):
        return record, "it is a frame of a morph, or a variation of a variation"
    if record.get("variation_strength") and (task != "txt2img" or record.get("hires")):
        return record, f"it is a variation of {task}{' with hires fix' if record.get('hires') else ''}"
    return record, ""


def _content(path: Path) -> bytes:
    """Return the content of an image file, of a file in memory or of stdin."""
    return read_input(path, MAX_FILE_BYTES)


def _parse(name: str, value: Any) -> Any:
    """Return the value of a setting of img2img.

    Raises:
        UsageError: img2img does not take the setting, or the value is invalid.
    """
    if name not in options_of(Img2Img):
        raise UsageError(*unknown_setting_error(name, options_of(Img2Img), "img2img"))
    return settings.parse_value(Img2Img, name, value) if isinstance(value, str) else value


def supported_requests(plan: VariationPlan, listener: Listener) -> Sequence[Request]:
    """Return the requests with the recorded prompt, and without recorded settings that the model does not support.

    The requests differ only in seeds, so that only the first one is prepared. No weights are downloaded.

    Args:
        plan: variations of an image.
        listener: receives notes about the recorded settings.

    Raises:
        ArtgenError: see `prepare_jobs` and `ReplaySpec.check_job`.
    """
    prepare = partial(prepare_jobs, download=False)
    first = plan.requests[0]
    if plan.spec is not None:
        supported, job = plan.spec.supported_request(first, prepare, listener)
        plan.spec.check_job(job)
        values, typed = vars(supported), vars(first)
        changes = {name: values[name] for name in options_of(type(first)) if values[name] != typed[name]}
        return [each.replace(**changes) for each in plan.requests]
    given = set(plan.given) | (set() if plan.uses_recorded_prompt else {"prompt"})
    report = report_once(listener)
    while True:  # each repetition has one recorded setting less
        requests = with_recorded_prompts(plan.requests, given, report)
        try:
            prepare(requests[:1])
        except ArtgenError as error:
            add_unsupported(error, given, report)
        else:
            return requests


def entry_values(request: Request) -> dict[str, Any]:
    """Return the settings of a request of a record as the values of a batch entry. Its prompts are final."""
    values: dict[str, Any] = {**non_default_settings(request), "task": request.task, "seed": str(request.seed)}
    if presets := values.pop("preset", None):
        values["recorded_preset"] = presets
    expansion = getattr(request, "expansion", None)
    if request.unknown_fields:
        ignored = {*PROVENANCE_FIELDS, *JSON_ONLY_KEYS} - {*KEPT_PROVENANCE}
        values["unknown_fields"] = {k: v for k, v in request.unknown_fields.items() if k not in ignored}
    return {**values, "expansion": expansion or PromptExpansion()}
