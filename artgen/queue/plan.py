"""Define the plan of a batch: its jobs, the values that jobs share, and the errors of invalid entries."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from artgen.outputs import AnimationOutput, Destination
from artgen.queue.entries import Entry, LineError, location
from artgen.registry import ResolvedModel
from artgen.spec.base_requests import Request
from artgen.spec.record_notes import schema_note, unknown_fields_note
from artgen.spec.records import KEPT_PROVENANCE, kept_fields

MAX_LISTED_LINES = 5
"""Maximum number of lines that a note lists."""

MAX_LISTED_NOTES = 50
"""Maximum number of notes about lines."""


@dataclass(frozen=True)
class JobTemplate:
    """Store the common values of jobs that differ only in prompts and seed.

    Attributes:
        request: complete request without prompts and with seed 0.
        size: width and height of the image in pixels.
        destination: file names of the images.
        notes: notes for the user.
        settings_digest: part of the fingerprint that the jobs share, 32 bytes.
        former_digests: values of `settings_digest` in earlier versions.
        shape_id: number that is equal for templates that differ only in the input images.
        animation_output: files of the frames; None if no frames are saved.
        default_size: default batch size.
        model: resolved model; None for methods without a model.
        provenance: values for the record of an image in addition to the settings.
    """

    request: Request
    size: tuple[int, int]
    destination: Destination
    notes: tuple[str, ...]
    settings_digest: bytes
    former_digests: tuple[bytes, ...]
    shape_id: int
    animation_output: AnimationOutput | None = None
    default_size: int = 1
    model: ResolvedModel | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """Represent one image of a batch.

    Attributes:
        number: position in the plan, counted from 1; `{index}` in the file name.
        source: name of the file that contains the job.
        line: line in that file, counted from 1; 0 if the source has no lines.
        request: complete request.
        template: values that the job shares with other jobs.
        group_id: number that is equal for jobs that one pipeline call can generate.
        fingerprint: SHA-256 of everything that determines the image, input files included; 64 hexadecimal digits.
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
        """Return source and line: `prompts.txt:12`."""
        return location(self.source, self.line)


@dataclass
class BatchPlan:
    """Store the jobs of a batch in order, and the errors of invalid entries.

    Attributes:
        folder: folder of the images.
        jobs: the jobs.
        line_errors: errors of invalid entries.
        unknown_fields: names of the unknown fields of all records, in order.
        num_dropped_fields: number of unknown fields that are not kept.
        newest_schema: highest schema number of the records.
        accepted_settings: settings that the task of at least one entry takes.
        file_defaults: names in the defaults sections of the prompt files, in order.
        default_notes: notes about ignored defaults and about prompts, in order.
        entry_notes: source -> note about entries -> lines of the entries.
    """

    folder: Path
    jobs: list[PlannedJob] = field(default_factory=list)
    line_errors: list[LineError] = field(default_factory=list)
    unknown_fields: dict[str, None] = field(default_factory=dict)
    num_dropped_fields: int = 0
    newest_schema: int = 0
    accepted_settings: set[str] = field(default_factory=set)
    file_defaults: dict[str, None] = field(default_factory=dict)
    default_notes: dict[str, None] = field(default_factory=dict)
    entry_notes: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """Return the notes for the user, each note once."""
        templates = {id(job.template): job.template for job in self.jobs}.values()
        notes = [*self._located_notes(), *(text for template in templates for text in template.notes)]
        notes += [*self.default_notes, *self.unused_default_notes(self.file_defaults)]
        notes += [schema_note(self.newest_schema), unknown_fields_note(self.unknown_fields, self.num_dropped_fields)]
        return [text for text in dict.fromkeys(notes) if text]

    def add_entry_notes(self, entry: Entry) -> None:
        """Add the notes about an entry, which are printed once for each file, with the lines."""
        self.add_line_notes(entry, entry.notes)

    def add_line_notes(self, entry: Entry, texts: Iterable[str]) -> None:
        """Add notes about the jobs of an entry. Notes that are equal for several lines are printed once."""
        notes = self.entry_notes.setdefault(entry.source, {})
        for text in texts:
            lines = notes.setdefault(text, [])
            if entry.line not in lines[-1:]:
                lines.append(entry.line)

    def _located_notes(self) -> list[str]:
        """Return the notes about entries with their places: `prompts.txt:3, 7: TEXT`, `steps=1, steps=2: TEXT`."""
        places: dict[tuple[str, str], list[str]] = {}  # name of the file, text -> lines or sources
        for source, notes in self.entry_notes.items():
            for text, lines in notes.items():
                file = f"{source}:" if lines[0] else ""
                places.setdefault((file, text), []).extend(map(str, lines) if file else [source])
        located = []
        for (file, text), found in places.items():
            hidden = len(found) - MAX_LISTED_LINES
            more = f" and {hidden:,} other {'lines' if file else 'jobs'}" if hidden > 0 else ""
            where = f"{file}{', '.join(found[:MAX_LISTED_LINES])}{more}"
            located.append(f"{where}: {text}" if where else text)
        hidden = len(located) - MAX_LISTED_NOTES
        listed = [f"{hidden:,} other notes about lines."] if hidden > 0 else []
        return located[:MAX_LISTED_NOTES] + listed

    def unused_default_notes(self, names: Iterable[str]) -> list[str]:
        """Return a note for each of these defaults that no entry takes."""
        return [f"The default of {name} has no effect: no job takes it." for name in self.unused(names)]

    def unused(self, names: Iterable[str]) -> list[str]:
        """Return the settings in `names` that no entry uses. Return an empty result if no entry is valid."""
        return [name for name in names if self.jobs and name not in self.accepted_settings]

    def add_note(self, text: str) -> None:
        """Add a note about a job, each note once."""
        self.default_notes[text] = None

    def add_unknown_fields(self, setting_values: dict[str, Any]) -> dict[str, Any]:
        """Remove the unknown fields of a record and its schema from its settings, and return the fields to keep."""
        self.newest_schema = max(self.newest_schema, setting_values.pop("schema", 0))
        fields = setting_values.pop("unknown_fields", {})
        kept = kept_fields(fields)
        self.unknown_fields |= dict.fromkeys(name for name in fields if name not in KEPT_PROVENANCE)
        self.num_dropped_fields += len(fields) - len(kept)
        return kept
