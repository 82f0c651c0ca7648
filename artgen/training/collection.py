"""A folder of pictures -> what can be learnt from it, with a reason for everything that cannot."""

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from artgen.errors import InputFileError
from artgen.events import Listener, Verifying, ignore
from artgen.settings import Data, check
from artgen.training import captions, licences, tables
from artgen.training.finding import TABLES, Found, find
from artgen.training.findings import Collection, Example, MistakesError, Provenance, Rejected, named
from artgen.training.fingerprints import Known
from artgen.training.verifying import Verified, loaded_picture, verify

__all__ = ["Collection", "Example", "MistakesError", "Provenance", "Rejected", "open_example", "read"]

SMALLEST = 64
"""The shortest side in pixels, where neither `min_side` nor `resolution` says."""


def read(data: Data, listener: Listener = ignore) -> Collection:
    """Read a folder: find and verify every picture, give each its caption and provenance, leave out duplicates.

    The same folder gives the same collection, in order of name. Pictures are decoded one by one on all cores, and none
    is kept.

    Args:
        data: the folder, and what is done with it.
        listener: told of each picture that is verified.

    Raises:
        UsageError: a setting cannot be used as given.
        InputFileError: there is no such folder, no picture in it can be used, or one cannot and `unusable` is refuse.
        MistakesError: captions or tables cannot be read as written; all of it at once.
    """
    check(data)
    captions.check_template(data.caption_template)
    accepted = licences.accepted(data.licences)
    found = find(data.folder)
    folder = data.folder or Path()
    if not found.pictures and not found.rejected:
        raise InputFileError(f"There is no picture in '{folder}'.", "PNG, JPEG, WebP, TIFF, BMP and GIF are read.")
    said = {kind: tables.read(found.tables, folder, kind) for kind in TABLES}
    texts = _texts(found, folder, said)
    verified, rejected = _verified(found, folder, listener)
    rejected += found.rejected
    examples = [_example(each, folder, data, texts, said["provenance.jsonl"]) for each in verified]
    examples, small = _large_enough(examples, data)
    examples, unlicensed = licences.sort_out(examples, data.require_licence, accepted)
    rejected += [*small, *unlicensed]
    _hold(data, folder, rejected)
    looks = {each.name: each for each in verified}
    examples, twins, duplicates = _without_duplicates(examples, looks, data.duplicates, folder)
    rejected = sorted([*rejected, *twins], key=lambda each: each.name)
    if not examples:
        raise InputFileError(f"No picture in '{folder}' can be used: {_counted(rejected)}.", _first(rejected))
    notes = [*found.notes, *_notes(found, folder, said, examples)]
    return Collection(folder, tuple(examples), tuple(rejected), duplicates, tuple(notes))


def open_example(example: Example) -> Image.Image:
    """The picture itself: mode RGB, upright, of the example's width and height.

    Raises:
        InputFileError: the file is gone, damaged, or not the one that was read.
    """
    loaded = loaded_picture(example.path)
    if loaded.sha256 != example.sha256:
        raise InputFileError(
            f"'{example.path}' has changed since it was read.", "Leave the folder alone, and begin anew."
        )
    return loaded.image


def _verified(found: Found, folder: Path, listener: Listener) -> tuple[list[Verified], list[Rejected]]:
    def one(path: Path) -> Verified | Rejected:
        return verify(path, named(path, folder))

    good: list[Verified] = []
    bad: list[Rejected] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside of Python's lock
        for done, each in enumerate(pool.map(one, found.pictures), 1):
            good.append(each) if isinstance(each, Verified) else bad.append(each)
            listener(Verifying(done, len(found.pictures)))
    return good, bad


def _texts(found: Found, folder: Path, said: dict[str, tables.Table]) -> dict[str, tuple[str, str]]:
    """Captions by name of picture, each with what it was taken from.

    Raises:
        MistakesError: some cannot be read as written.
    """
    mistakes = [mistake for table in said.values() for mistake in table.mistakes]
    texts: dict[str, tuple[str, str]] = {}
    there = set(found.captions)
    for path in found.pictures:
        name, beside = named(path, folder), path.with_suffix(".txt")
        try:
            text = captions.own(beside) if beside in there else None
        except ValueError as error:
            mistakes.append(f"{named(beside, folder)}: {error}")
            continue
        if text is not None:
            texts[name] = (text, beside.name)
            continue
        for kind in TABLES:
            line = said[kind].line(name) or {}
            if "text" in line:
                texts[name] = (line["text"], kind)
                break
    if mistakes:
        raise MistakesError(folder, tuple(dict.fromkeys(mistakes)))
    return texts


def _example(
    each: Verified, folder: Path, data: Data, texts: dict[str, tuple[str, str]], said: tables.Table
) -> Example:
    caption, _ = texts.get(each.name) or (captions.from_names(each.name, folder, data.caption_template), "")
    notes = list(each.notes)
    if not caption:
        notes.append("its caption is empty")
    if (tokens := captions.least_tokens(caption)) > captions.MOST_TOKENS:
        notes.append(
            f"its caption has {tokens} tokens or more; text encoders that read {captions.MOST_TOKENS} drop the rest"
        )
    line = said.line(each.name)
    stated = {key: value for key, value in (line or {}).items() if key != "text" and value}
    return Example(
        path=each.path,
        name=each.name,
        caption=caption,
        folder=posixpath.dirname(each.name) or None,
        width=each.size[0],
        height=each.size[1],
        sha256=each.sha256,
        fingerprint=each.look.fingerprint,
        provenance=Provenance(**stated) if stated else None,
        notes=tuple(notes),
    )


def _large_enough(examples: Sequence[Example], data: Data) -> tuple[list[Example], list[Rejected]]:
    least = data.min_side or (data.resolution // 2 if data.resolution else SMALLEST)
    good, small = [], []
    for each in examples:
        if min(each.width, each.height) < least:
            reason = f"is {each.width}x{each.height}; the shorter side must be {least} pixels or more"
            small.append(Rejected(each.name, reason, "too small"))
            continue
        if data.resolution and each.width * each.height < data.resolution**2:
            text = f"it is {each.width}x{each.height} and gets enlarged"
            each = replace(each, notes=(*each.notes, text))
        good.append(each)
    return good, small


def _without_duplicates(
    examples: Sequence[Example], looks: dict[str, Verified], wanted: str, folder: Path
) -> tuple[list[Example], list[Rejected], tuple[tuple[str, ...], ...]]:
    """The examples to keep, those left out, and groups of the same.

    The largest of a group is the one that is kept; each other one is like that one itself, not like one that is.
    """
    known = Known(len(examples))
    kept: list[Example] = []
    groups: dict[str, list[str]] = {}
    twins: dict[str, str] = {}
    for each in sorted(examples, key=lambda e: (-e.width * e.height, e.name)):
        same = known.same_as(looks[each.name].look)
        if same is None:
            known.add(looks[each.name].look)
            kept.append(each)
            continue
        first, how = kept[same[0]], same[1]
        how = "is the same file as" if each.sha256 == first.sha256 else how
        twins[each.name] = f"{how} '{first.name}'"
        groups.setdefault(first.name, [first.name]).append(each.name)
    if twins and wanted == "refuse":
        raise _refusal(folder, [Rejected(name, reason, "duplicate") for name, reason in sorted(twins.items())])
    duplicates = tuple((first, *sorted(rest)) for first, *rest in sorted(groups.values()))
    if wanted == "keep":
        told = [replace(e, notes=(*e.notes, f"it {twins[e.name]}")) if e.name in twins else e for e in examples]
        return told, [], duplicates
    left = [Rejected(name, reason, "duplicate") for name, reason in twins.items()]
    return [each for each in examples if each.name not in twins], left, duplicates


def _hold(data: Data, folder: Path, rejected: list[Rejected]) -> None:
    if rejected and data.unusable == "refuse":
        raise _refusal(folder, sorted(rejected, key=lambda each: each.name))


def _refusal(folder: Path, rejected: list[Rejected]) -> InputFileError:
    return InputFileError(
        f"{len(rejected)} of the pictures in '{folder}' cannot be used: {_counted(rejected)}.", _first(rejected)
    )


def _counted(rejected: Sequence[Rejected]) -> str:
    counts = Counter(each.kind for each in rejected)
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())


def _first(rejected: Sequence[Rejected]) -> str:
    return f"For one, '{rejected[0].name}' {rejected[0].reason}." if rejected else ""


def _notes(found: Found, folder: Path, said: dict[str, tables.Table], examples: Sequence[Example]) -> Iterator[str]:
    names = [named(path, folder) for path in found.pictures]
    for kind, table in said.items():
        if missing := table.unmatched(names):
            yield f"{kind} speaks of {_several(missing, 'picture')} that are not there"
        if table.unknown:
            yield f"{kind}: {', '.join(sorted(table.unknown))} mean nothing here and are passed over"
    stems = {path.with_suffix("") for path in found.pictures}
    alone = [named(path, folder) for path in found.captions if path.with_suffix("") not in stems]
    if alone:
        yield f"{_several(alone, 'text')} beside no picture"
    if found.others:
        yield f"{_several([named(path, folder) for path in found.others], 'other file')} passed over"
    silent = [each.name for each in examples if each.provenance is None]
    if silent and len(silent) < len(examples):
        yield f"{_several(silent, 'picture')} without provenance"
    elif silent:
        yield "no picture has a provenance; provenance.jsonl would hold it"


def _several(names: Sequence[str], what: str) -> str:
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{len(names):,} {what}{'s' if len(names) > 1 else ''} ({shown})"
