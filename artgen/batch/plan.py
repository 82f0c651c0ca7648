"""From entries to jobs: every line is checked, completed and given a fingerprint before anything is drawn."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from artgen import fitting, images, outputs
from artgen.batch.entries import Entry, Mistake, place
from artgen.engine.sizes import appearance, suited, wording
from artgen.errors import ArtgenError, UsageError
from artgen.events import Listener, ignore
from artgen.outputs import Destination, Reel
from artgen.prepare import Models, prepare
from artgen.records import to_record
from artgen.requests import TASKS, FromWords, Request, Txt2Img
from artgen.seeds import derived_seed, seeds
from artgen.settings import Canvas, Frames, Output, Prompt, Series, check, settings_of

HOW = frozenset({"device", "offload", "memory_budget", "vae_tiling", "png_level"})
"""Settings that say how a picture is made, not which: they are no part of its fingerprint."""

_OWN = ("prompt", "negative_prompt", "seed")
_OUTPUT = ("output", "format", "quality", "metadata", "png_level")


@dataclass(frozen=True)
class Shape:
    """What jobs share that differ only in words and seed.

    Attributes:
        request: complete, but for words and seed.
        size: width and height of the result in pixels.
        destination: where the pictures go.
        notes: what the user should know.
        digest: the part of the fingerprint that they share.
        number: the same for shapes that differ only in the pictures that their jobs start from.
        reel: where the frames of their making go, if they are wanted.
        suited: how many of them are best drawn together.
    """

    request: Request
    size: tuple[int, int]
    destination: Destination
    notes: tuple[str, ...]
    digest: bytes
    number: int
    reel: Reel | None = None
    suited: int = 1


@dataclass(frozen=True, slots=True)
class Job:
    """One picture of a batch.

    Attributes:
        number: its place in the plan, from 1; `{index}` in its name.
        source: the file that asked for it.
        line: of that file, 0 where lines mean nothing.
        request: complete.
        shape: what it shares with others.
        alike: a number, the same for jobs that one call of a pipeline can draw.
        key: its fingerprint, 64 hex digits: SHA-256 of all that decides about the picture, input files included.
    """

    number: int
    source: str
    line: int
    request: Request
    shape: Shape
    alike: int
    key: str

    @property
    def where(self) -> str:
        """`prompts.txt:12`."""
        return place(self.source, self.line)


@dataclass
class Plan:
    """Jobs in order, and what kept others from becoming one."""

    folder: Path
    jobs: list[Job] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What the user should know, each thing once."""
        shapes = {id(job.shape): job.shape for job in self.jobs}.values()
        return list(dict.fromkeys(text for shape in shapes for text in shape.notes))


class Planner:
    """Makes jobs of entries; what many of them share is worked out once."""

    def __init__(
        self,
        folder: Path,
        defaults: Mapping[str, Any] | None = None,
        *,
        drawn: Container[Path] = (),
        listener: Listener = ignore,
    ) -> None:
        """Nothing is read or written yet.

        Args:
            folder: takes the pictures.
            defaults: settings that hold where neither line nor file says anything, as far as the line's task has them;
                those of frames hold for all.
            drawn: files that the batch made before; they are no reason to refuse a name.
            listener: is told of downloads.
        """
        self._folder = folder
        self._drawn = drawn
        self._defaults = dict(defaults or {})
        shown = {name: self._defaults.pop(name) for name in settings_of(Frames) if name in self._defaults}
        self._reel = outputs.reel_for(Frames(**shown), several=True, overwrite=False)
        self._listener = listener
        self._models = Models()
        self._shapes: dict[tuple[Any, ...], Shape | ArtgenError] = {}
        self._groups: dict[tuple[Any, ...], int] = {}
        self._kinds: dict[tuple[Any, ...], int] = {}
        self._seen: dict[bytes, int] = {}

    def plan(self, entries: Iterable[Entry | Mistake]) -> Plan:
        """Checks every entry; mistakes are gathered, not raised.

        A line without a seed, or with seed -1, gets one made from the line itself: the batch run again is the same
        batch, whatever was added, moved or taken out around the line.
        """
        plan = Plan(self._folder)
        for entry in entries:
            if isinstance(entry, Mistake):
                plan.mistakes.append(entry)
                continue
            try:
                self._add(plan, entry)
            except ArtgenError as error:
                plan.mistakes.append(Mistake(entry.source, entry.line, error))
        return plan

    def _add(self, plan: Plan, entry: Entry) -> None:
        given = _settled(entry.given, {**self._defaults, **entry.defaults})
        series = Series(seed=given.pop("seed", None), count=given.pop("count", 1))
        words = {name: given.pop(name) for name in ("prompt", "negative_prompt") if name in given}
        shape = self._shape(given)
        if words and not isinstance(shape.request, FromWords):
            raise UsageError(f"{shape.request.task} takes no {' and no '.join(words)}.", "Leave it out.")
        check(Prompt(**words))
        if isinstance(shape.request, Txt2Img) and not words.get("prompt", "").strip():
            raise UsageError("txt2img needs a prompt.")
        said = f"{words.get('prompt', '')}\0{words.get('negative_prompt', '')}"
        line = hashlib.sha256(shape.digest + said.encode()).digest()
        for seed in seeds(series, lambda: self._derived(line)):
            job = hashlib.sha256(line + str(seed).encode())
            again = self._count(job.digest())
            if again:
                job.update(str(again).encode())
            number = len(plan.jobs) + 1
            made = shape.request.replace(**words, seed=seed)
            alike = self._kinds.setdefault((shape.number, *wording(made)), len(self._kinds))
            plan.jobs.append(Job(number, entry.source, entry.line, made, shape, alike, job.hexdigest()))

    def _derived(self, line: bytes) -> int:
        """A seed made from a line, 0 to 2**32 - 1; another one when the same line comes again."""
        salt = self._count(line + b"seed")
        return derived_seed(line + str(salt).encode())

    def _count(self, what: bytes) -> int:
        """How often this was seen before."""
        seen = self._seen.get(what, 0)
        self._seen[what] = seen + 1
        return seen

    def _shape(self, given: dict[str, Any]) -> Shape:
        key: tuple[Any, ...] = tuple(sorted(given.items(), key=lambda item: item[0]))
        try:
            found = self._shapes.get(key)
        except TypeError:  # a list or an object where a plain value should be
            found = None
            key = (repr(key),)
        if found is None:
            try:
                found = self._make_shape(given)
            except ArtgenError as error:
                found = error
            self._shapes[key] = found
        if isinstance(found, ArtgenError):
            raise found
        return found

    def _make_shape(self, given: dict[str, Any]) -> Shape:
        task = given.pop("task", "txt2img")
        if task not in TASKS:
            raise UsageError(f"There is no task called {task!r}.", f"Tasks: {', '.join(TASKS)}.")
        output = Output(**{name: given.pop(name) for name in _OUTPUT if name in given})
        bare = request_of(task, given).replace(seed=0)
        prepared = prepare([bare], self._listener, self._models)[0]
        destination = self._destination(output, prepared.request)
        destination.check(*prepared.size, to_record(prepared.request, prepared.facts), own=self._drawn)
        if self._reel is not None:
            fitting.check_frames(self._reel.frames, prepared.request, prepared.found)
            self._reel.check(to_record(prepared.request, prepared.facts))
        settings = {
            name: value
            for name, value in to_record(prepared.request, prepared.facts).items()
            if name not in HOW and name not in _OWN
        }
        asked = [getattr(output, name) for name in _OUTPUT if name not in HOW]
        text = json.dumps([settings, prepared.request.model, asked], sort_keys=True, default=str)
        group = (appearance(prepared.request), prepared.size)
        number = self._groups.setdefault(group, len(self._groups))
        return Shape(
            prepared.request,
            prepared.size,
            destination,
            prepared.notes,
            hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest(),
            number,
            self._reel,
            suited(prepared),
        )

    def _destination(self, output: Output, request: Request) -> Destination:
        asked = output.output
        if asked is not None and (PurePath(asked).is_absolute() or ".." in PurePath(asked).parts):
            raise UsageError(f"output {asked!r} leads out of the batch's folder.", "Name a file inside it.")
        root = str(self._folder).replace("{", "{{").replace("}", "}}")
        return outputs.destination_for([request], dataclasses.replace(output, output=f"{root}/{asked or ''}"))


def request_of(task: str, given: Mapping[str, Any]) -> Request:
    """The request that a line's settings make.

    Raises:
        UsageError: a setting that the task does not take, or a value outside its limits.
    """
    cls = TASKS[task]
    values = dict(given)
    size = values.pop("size", None)
    if size is not None:
        if not issubclass(cls, Canvas):
            raise UsageError(f"{task} takes no size.")
        values["width"], values["height"] = images.parse_size(size)
    for name in values.keys() - settings_of(cls).keys():
        raise UsageError(f"{task} takes no {name}.", "Leave it out, or choose another task for this line.")
    return cls(**values)


def _settled(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What a line gives, with defaults for the rest as far as they fit its task and what it gives."""
    if not defaults:
        return dict(given)
    task = given.get("task", defaults.get("task", "txt2img"))
    if task not in TASKS:
        return dict(given)
    taken = {*settings_of(TASKS[task]), "task", "count", *_OUTPUT}
    if issubclass(TASKS[task], Canvas):
        taken.add("size")
    for name, others in _INSTEAD.items():
        if name in given:
            taken -= others
    if re.search(r"\d-|,", str(given.get("seed", ""))):  # a list says how many
        taken.discard("count")
    return {**{name: value for name, value in defaults.items() if name in taken}, **given}


_INSTEAD = {"size": {"width", "height"}, "width": {"size"}, "height": {"size"}, "expand": {"to"}, "to": {"expand"}}
"""Settings that say the same in another way: a default of one gives way to the other on a line."""
