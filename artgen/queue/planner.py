"""From entries to jobs: every line is checked, completed and given a fingerprint before anything is drawn."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from artgen import images, outputs
from artgen.errors import ArtgenError, UsageError
from artgen.events import Listener, no_op
from artgen.jobs import checks
from artgen.jobs.batch_size import default_batch_size, group_key, prompt_group_key
from artgen.jobs.prepare import ModelCache, prepare_jobs
from artgen.outputs import AnimationOutput, Destination
from artgen.queue.entries import Entry, LineError, location
from artgen.spec.records import to_record
from artgen.spec.requests import TASKS, PromptRequest, Request, Txt2Img
from artgen.spec.seeds import expand_seeds, hash_seed
from artgen.spec.settings import (
    CanvasSettings,
    FramesSettings,
    OutputSettings,
    PromptSettings,
    SeriesSettings,
    options_of,
    validate,
)

NON_FINGERPRINT_SETTINGS = frozenset({"device", "offload", "memory_budget", "vae_tiling", "png_level"})
"""Settings that say how a picture is made, not which: they are no part of its fingerprint."""

_PER_IMAGE_FIELDS = ("prompt", "negative_prompt", "seed")
_OUTPUT_FIELDS = ("output", "format", "quality", "metadata", "png_level")


@dataclass(frozen=True)
class JobTemplate:
    """What jobs share that differ only in words and seed.

    Attributes:
        request: complete, but for words and seed.
        size: width and height of the result in pixels.
        destination: where the pictures go.
        notes: what the user should know.
        settings_digest: the part of the fingerprint that they share.
        shape_id: the same for shapes that differ only in the pictures that their jobs start from.
        animation_output: where the frames of their making go, if they are wanted.
        default_size: how many of them are best drawn together.
    """

    request: Request
    size: tuple[int, int]
    destination: Destination
    notes: tuple[str, ...]
    settings_digest: bytes
    shape_id: int
    animation_output: AnimationOutput | None = None
    default_size: int = 1


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One picture of a batch.

    Attributes:
        number: its place in the plan, from 1; `{index}` in its name.
        source: the file that asked for it.
        line: of that file, 0 where lines mean nothing.
        request: complete.
        template: what it shares with others.
        group_id: a number, the same for jobs that one call of a pipeline can draw.
        fingerprint: its fingerprint, 64 hex digits: SHA-256 of all that decides about the picture, input files included.
    """

    number: int
    source: str
    line: int
    request: Request
    template: JobTemplate
    group_id: int
    fingerprint: str

    @property
    def location(self) -> str:
        """`prompts.txt:12`."""
        return location(self.source, self.line)


@dataclass
class BatchPlan:
    """Jobs in order, and what kept others from becoming one."""

    folder: Path
    jobs: list[PlannedJob] = field(default_factory=list)
    line_errors: list[LineError] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What the user should know, each thing once."""
        shapes = {id(job.template): job.template for job in self.jobs}.values()
        return list(dict.fromkeys(text for shape in shapes for text in shape.notes))


class Planner:
    """Makes jobs of entries; what many of them share is worked out once."""

    def __init__(
        self,
        folder: Path,
        defaults: Mapping[str, Any] | None = None,
        *,
        existing_files: Container[Path] = (),
        listener: Listener = no_op,
    ) -> None:
        """Nothing is read or written yet.

        Args:
            folder: takes the pictures.
            defaults: settings that hold where neither line nor file says anything, as far as the line's task has them;
                those of frames hold for all.
            existing_files: files that the batch made before; they are no reason to refuse a name.
            listener: is told of downloads.
        """
        self._folder = folder
        self._existing_files = existing_files
        self._defaults = dict(defaults or {})
        shown = {name: self._defaults.pop(name) for name in options_of(FramesSettings) if name in self._defaults}
        self._animation_output = outputs.parse_frames_option(
            FramesSettings(**shown), multiple_images=True, overwrite=False
        )
        self._listener = listener
        self._model_cache = ModelCache()
        self._templates: dict[tuple[Any, ...], JobTemplate | ArtgenError] = {}
        self._shape_ids: dict[tuple[Any, ...], int] = {}
        self._group_ids: dict[tuple[Any, ...], int] = {}
        self._digest_counts: dict[bytes, int] = {}

    def build_plan(self, entries: Iterable[Entry | LineError]) -> BatchPlan:
        """Checks every entry; mistakes are gathered, not raised.

        A line without a seed, or with seed -1, gets one made from the line itself: the batch run again is the same
        batch, whatever was added, moved or taken out around the line.
        """
        plan = BatchPlan(self._folder)
        for entry in entries:
            if isinstance(entry, LineError):
                plan.line_errors.append(entry)
                continue
            try:
                self._add_jobs(plan, entry)
            except ArtgenError as error:
                plan.line_errors.append(LineError(entry.source, entry.line, error))
        return plan

    def _add_jobs(self, plan: BatchPlan, entry: Entry) -> None:
        given = _merge_defaults(entry.setting_values, {**self._defaults, **entry.defaults})
        series = SeriesSettings(seed=given.pop("seed", None), count=given.pop("count", 1))
        words = {name: given.pop(name) for name in ("prompt", "negative_prompt") if name in given}
        shape = self._cached_template(given)
        if words and not isinstance(shape.request, PromptRequest):
            raise UsageError(f"{shape.request.task} takes no {' and no '.join(words)}.", "Leave it out.")
        validate(PromptSettings(**words))
        if isinstance(shape.request, Txt2Img) and not words.get("prompt", "").strip():
            raise UsageError("txt2img needs a prompt.")
        said = f"{words.get('prompt', '')}\0{words.get('negative_prompt', '')}"
        line = hashlib.sha256(shape.settings_digest + said.encode()).digest()
        for seed in expand_seeds(series, lambda: self._derive_seed(line)):
            job = hashlib.sha256(line + str(seed).encode())
            again = self._count_previous(job.digest())
            if again:
                job.update(str(again).encode())
            number = len(plan.jobs) + 1
            made = shape.request.replace(**words, seed=seed)
            alike = self._group_ids.setdefault((shape.shape_id, *prompt_group_key(made)), len(self._group_ids))
            plan.jobs.append(PlannedJob(number, entry.source, entry.line, made, shape, alike, job.hexdigest()))

    def _derive_seed(self, line_digest: bytes) -> int:
        """A seed made from a line, 0 to 2**32 - 1; another one when the same line comes again."""
        salt = self._count_previous(line_digest + b"seed")
        return hash_seed(line_digest + str(salt).encode())

    def _count_previous(self, digest: bytes) -> int:
        """How often this was seen before."""
        seen = self._digest_counts.get(digest, 0)
        self._digest_counts[digest] = seen + 1
        return seen

    def _cached_template(self, setting_values: dict[str, Any]) -> JobTemplate:
        key: tuple[Any, ...] = tuple(sorted(setting_values.items(), key=lambda item: item[0]))
        try:
            found = self._templates.get(key)
        except TypeError:  # a list or an object where a plain value should be
            found = None
            key = (repr(key),)
        if found is None:
            try:
                found = self._build_template(setting_values)
            except ArtgenError as error:
                found = error
            self._templates[key] = found
        if isinstance(found, ArtgenError):
            raise found
        return found

    def _build_template(self, setting_values: dict[str, Any]) -> JobTemplate:
        task = setting_values.pop("task", "txt2img")
        if task not in TASKS:
            raise UsageError(f"There is no task called {task!r}.", f"Tasks: {', '.join(TASKS)}.")
        output = OutputSettings(**{name: setting_values.pop(name) for name in _OUTPUT_FIELDS if name in setting_values})
        bare = build_request(task, setting_values).replace(seed=0)
        prepared = prepare_jobs([bare], self._listener, self._model_cache)[0]
        destination = self._resolve_destination(output, prepared.request)
        destination.check(
            *prepared.size, to_record(prepared.request, prepared.provenance), owned_paths=self._existing_files
        )
        if self._animation_output is not None:
            checks.check_frames(self._animation_output.settings, prepared.request, prepared.model_or_none)
            self._animation_output.check(to_record(prepared.request, prepared.provenance))
        settings = {
            name: value
            for name, value in to_record(prepared.request, prepared.provenance).items()
            if name not in NON_FINGERPRINT_SETTINGS and name not in _PER_IMAGE_FIELDS
        }
        asked = [getattr(output, name) for name in _OUTPUT_FIELDS if name not in NON_FINGERPRINT_SETTINGS]
        text = json.dumps([settings, prepared.request.model, asked], sort_keys=True, default=str)
        group = (group_key(prepared.request), prepared.size)
        number = self._shape_ids.setdefault(group, len(self._shape_ids))
        return JobTemplate(
            prepared.request,
            prepared.size,
            destination,
            prepared.notes,
            hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest(),
            number,
            self._animation_output,
            default_batch_size(prepared),
        )

    def _resolve_destination(self, output: OutputSettings, request: Request) -> Destination:
        asked = output.output
        if asked is not None and (PurePath(asked).is_absolute() or ".." in PurePath(asked).parts):
            raise UsageError(f"output {asked!r} leads out of the batch's folder.", "Name a file inside it.")
        root = str(self._folder).replace("{", "{{").replace("}", "}}")
        return outputs.destination_for_requests([request], dataclasses.replace(output, output=f"{root}/{asked or ''}"))


def build_request(task: str, setting_values: Mapping[str, Any]) -> Request:
    """The request that a line's settings make.

    Raises:
        UsageError: a setting that the task does not take, or a value outside its limits.
    """
    cls = TASKS[task]
    values = dict(setting_values)
    size = values.pop("size", None)
    if size is not None:
        if not issubclass(cls, CanvasSettings):
            raise UsageError(f"{task} takes no size.")
        values["width"], values["height"] = images.parse_size(size)
    for name in values.keys() - options_of(cls).keys():
        raise UsageError(f"{task} takes no {name}.", "Leave it out, or choose another task for this line.")
    return cls(**values)


def _merge_defaults(setting_values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a line gives, with defaults for the rest as far as they fit its task and what it gives."""
    if not defaults:
        return dict(setting_values)
    task = setting_values.get("task", defaults.get("task", "txt2img"))
    if task not in TASKS:
        return dict(setting_values)
    taken = {*options_of(TASKS[task]), "task", "count", *_OUTPUT_FIELDS}
    if issubclass(TASKS[task], CanvasSettings):
        taken.add("size")
    for name, others in _EXCLUSIVE_WITH.items():
        if name in setting_values:
            taken -= others
    if re.search(r"\d-|,", str(setting_values.get("seed", ""))):  # a list says how many
        taken.discard("count")
    return {**{name: value for name, value in defaults.items() if name in taken}, **setting_values}


_EXCLUSIVE_WITH = {
    "size": {"width", "height"},
    "width": {"size"},
    "height": {"size"},
    "expand": {"target_size"},
    "target_size": {"expand"},
}
"""Settings that say the same in another way: a default of one gives way to the other on a line."""
