"""A folder of pictures -> what can be learnt from it, with a reason for everything that cannot."""

import os
import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from PIL import Image

from artgen.dataset import captions, licenses, metadata_files
from artgen.dataset.decode import VerifiedImage, load_rgb_image, verify_image
from artgen.dataset.duplicates import DuplicateIndex
from artgen.dataset.scan import METADATA_FILES, ScannedFolder, scan_folder
from artgen.dataset.types import Dataset, DatasetError, Provenance, RejectedFile, TrainingImage, relative_name
from artgen.errors import InputFileError
from artgen.events import CheckingImages, Listener, no_op
from artgen.spec.settings import DatasetSettings, validate

__all__ = [
    "Dataset",
    "DatasetError",
    "Provenance",
    "RejectedFile",
    "TrainingImage",
    "open_training_image",
    "read_dataset",
]

DEFAULT_MIN_SIDE_PX = 64
"""The shortest side in pixels, where neither `min_side` nor `resolution` says."""


def read_dataset(settings: DatasetSettings, listener: Listener = no_op) -> Dataset:
    """Read a folder: find and verify every picture, give each its caption and provenance, leave out duplicates.

    The same folder gives the same collection, in order of name. Pictures are decoded one by one on all cores, and none
    is kept.

    Args:
        settings: the folder, and what is done with it.
        listener: told of each picture that is verified.

    Raises:
        UsageError: a setting cannot be used as given.
        InputFileError: there is no such folder, no picture in it can be used, or one cannot and `unusable` is refuse.
        MistakesError: captions or tables cannot be read as written; all of it at once.
    """
    validate(settings)
    captions.check_template(settings.caption_template)
    accepted = licenses.parse_licenses(settings.licenses)
    found = scan_folder(settings.folder)
    folder = settings.folder or Path()
    if not found.image_files and not found.rejected:
        raise InputFileError(f"There is no picture in '{folder}'.", "PNG, JPEG, WebP, TIFF, BMP and GIF are read.")
    said = {kind: metadata_files.read_metadata_table(found.metadata_files, folder, kind) for kind in METADATA_FILES}
    texts = _collect_captions(found, folder, said)
    verified, rejected = _verify_images(found, folder, listener)
    rejected += found.rejected
    examples = [_build_training_image(each, folder, settings, texts, said["provenance.jsonl"]) for each in verified]
    examples, small = _filter_small(examples, settings)
    examples, unlicensed = licenses.filter_by_license(examples, settings.require_license, accepted)
    rejected += [*small, *unlicensed]
    _enforce_policy(settings, folder, rejected)
    looks = {each.name: each for each in verified}
    examples, twins, duplicates = _remove_duplicates(examples, looks, settings.duplicates, folder)
    rejected = sorted([*rejected, *twins], key=lambda each: each.name)
    if not examples:
        raise InputFileError(
            f"No picture in '{folder}' can be used: {_format_counts(rejected)}.", _format_first(rejected)
        )
    notes = [*found.notes, *_dataset_notes(found, folder, said, examples)]
    return Dataset(folder, tuple(examples), tuple(rejected), duplicates, tuple(notes))


def open_training_image(training_image: TrainingImage) -> Image.Image:
    """The picture itself: mode RGB, upright, of the example's width and height.

    Raises:
        InputFileError: the file is gone, damaged, or not the one that was read.
    """
    loaded = load_rgb_image(training_image.path)
    if loaded.sha256 != training_image.sha256:
        raise InputFileError(
            f"'{training_image.path}' has changed since it was read.", "Leave the folder alone, and begin anew."
        )
    return loaded.image


def _verify_images(
    scanned: ScannedFolder, folder: Path, listener: Listener
) -> tuple[list[VerifiedImage], list[RejectedFile]]:
    def one(path: Path) -> VerifiedImage | RejectedFile:
        return verify_image(path, relative_name(path, folder))

    good: list[VerifiedImage] = []
    bad: list[RejectedFile] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside of Python's lock
        for done, each in enumerate(pool.map(one, scanned.image_files), 1):
            good.append(each) if isinstance(each, VerifiedImage) else bad.append(each)
            listener(CheckingImages(done, len(scanned.image_files)))
    return good, bad


def _collect_captions(
    scanned: ScannedFolder, folder: Path, metadata_tables: dict[str, metadata_files.MetadataTable]
) -> dict[str, tuple[str, str]]:
    """Captions by name of picture, each with what it was taken from.

    Raises:
        MistakesError: some cannot be read as written.
    """
    mistakes = [mistake for table in metadata_tables.values() for mistake in table.errors]
    texts: dict[str, tuple[str, str]] = {}
    there = set(scanned.caption_files)
    for path in scanned.image_files:
        name, beside = relative_name(path, folder), path.with_suffix(".txt")
        try:
            text = captions.read_caption(beside) if beside in there else None
        except ValueError as error:
            mistakes.append(f"{relative_name(beside, folder)}: {error}")
            continue
        if text is not None:
            texts[name] = (text, beside.name)
            continue
        for kind in METADATA_FILES:
            line = metadata_tables[kind].row_for(name) or {}
            if "text" in line:
                texts[name] = (line["text"], kind)
                break
    if mistakes:
        raise DatasetError(folder, tuple(dict.fromkeys(mistakes)))
    return texts


def _build_training_image(
    verified: VerifiedImage,
    folder: Path,
    settings: DatasetSettings,
    captions_by_name: dict[str, tuple[str, str]],
    provenance_table: metadata_files.MetadataTable,
) -> TrainingImage:
    caption, _ = captions_by_name.get(verified.name) or (
        captions.caption_from_path(verified.name, folder, settings.caption_template),
        "",
    )
    notes = list(verified.notes)
    if not caption:
        notes.append("its caption is empty")
    if (tokens := captions.min_token_count(caption)) > captions.MAX_CLIP_TOKENS:
        notes.append(
            f"its caption has {tokens} tokens or more; text encoders that read {captions.MAX_CLIP_TOKENS} drop the rest"
        )
    line = provenance_table.row_for(verified.name)
    stated = {key: value for key, value in (line or {}).items() if key != "text" and value}
    return TrainingImage(
        path=verified.path,
        name=verified.name,
        caption=caption,
        folder=posixpath.dirname(verified.name) or None,
        width=verified.size[0],
        height=verified.size[1],
        sha256=verified.sha256,
        phash=verified.image_hash.phash,
        provenance=Provenance(**stated) if stated else None,
        notes=tuple(notes),
    )


def _filter_small(
    images: Sequence[TrainingImage], settings: DatasetSettings
) -> tuple[list[TrainingImage], list[RejectedFile]]:
    least = settings.min_side or (settings.resolution // 2 if settings.resolution else DEFAULT_MIN_SIDE_PX)
    good, small = [], []
    for each in images:
        if min(each.width, each.height) < least:
            reason = f"is {each.width}x{each.height}; the shorter side must be {least} pixels or more"
            small.append(RejectedFile(each.name, reason, "too small"))
            continue
        if settings.resolution and each.width * each.height < settings.resolution**2:
            text = f"it is {each.width}x{each.height} and gets enlarged"
            each = replace(each, notes=(*each.notes, text))
        good.append(each)
    return good, small


def _remove_duplicates(
    images: Sequence[TrainingImage], verified_by_name: dict[str, VerifiedImage], policy: str, folder: Path
) -> tuple[list[TrainingImage], list[RejectedFile], tuple[tuple[str, ...], ...]]:
    """The examples to keep, those left out, and groups of the same.

    The largest of a group is the one that is kept; each other one is like that one itself, not like one that is.
    """
    known = DuplicateIndex(len(images))
    kept: list[TrainingImage] = []
    groups: dict[str, list[str]] = {}
    twins: dict[str, str] = {}
    for each in sorted(images, key=lambda e: (-e.width * e.height, e.name)):
        same = known.find_match(verified_by_name[each.name].image_hash)
        if same is None:
            known.add(verified_by_name[each.name].image_hash)
            kept.append(each)
            continue
        first, how = kept[same[0]], same[1]
        how = "is the same file as" if each.sha256 == first.sha256 else how
        twins[each.name] = f"{how} '{first.name}'"
        groups.setdefault(first.name, [first.name]).append(each.name)
    if twins and policy == "refuse":
        raise _rejected_error(
            folder, [RejectedFile(name, reason, "duplicate") for name, reason in sorted(twins.items())]
        )
    duplicates = tuple((first, *sorted(rest)) for first, *rest in sorted(groups.values()))
    if policy == "keep":
        told = [replace(e, notes=(*e.notes, f"it {twins[e.name]}")) if e.name in twins else e for e in images]
        return told, [], duplicates
    left = [RejectedFile(name, reason, "duplicate") for name, reason in twins.items()]
    return [each for each in images if each.name not in twins], left, duplicates


def _enforce_policy(settings: DatasetSettings, folder: Path, rejected: list[RejectedFile]) -> None:
    if rejected and settings.on_bad_image == "refuse":
        raise _rejected_error(folder, sorted(rejected, key=lambda each: each.name))


def _rejected_error(folder: Path, rejected: list[RejectedFile]) -> InputFileError:
    return InputFileError(
        f"{len(rejected)} of the pictures in '{folder}' cannot be used: {_format_counts(rejected)}.",
        _format_first(rejected),
    )


def _format_counts(rejected: Sequence[RejectedFile]) -> str:
    counts = Counter(each.kind for each in rejected)
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())


def _format_first(rejected: Sequence[RejectedFile]) -> str:
    return f"For one, '{rejected[0].name}' {rejected[0].reason}." if rejected else ""


def _dataset_notes(
    scanned: ScannedFolder,
    folder: Path,
    metadata_tables: dict[str, metadata_files.MetadataTable],
    images: Sequence[TrainingImage],
) -> Iterator[str]:
    names = [relative_name(path, folder) for path in scanned.image_files]
    for kind, table in metadata_tables.items():
        if missing := table.missing_files(names):
            yield f"{kind} speaks of {_format_names(missing, 'picture')} that are not there"
        if table.unknown_keys:
            yield f"{kind}: {', '.join(sorted(table.unknown_keys))} mean nothing here and are passed over"
    stems = {path.with_suffix("") for path in scanned.image_files}
    alone = [relative_name(path, folder) for path in scanned.caption_files if path.with_suffix("") not in stems]
    if alone:
        yield f"{_format_names(alone, 'text')} beside no picture"
    if scanned.other_files:
        yield f"{_format_names([relative_name(path, folder) for path in scanned.other_files], 'other file')} passed over"
    silent = [each.name for each in images if each.provenance is None]
    if silent and len(silent) < len(images):
        yield f"{_format_names(silent, 'picture')} without provenance"
    elif silent:
        yield "no picture has a provenance; provenance.jsonl would hold it"


def _format_names(names: Sequence[str], noun: str) -> str:
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{len(names):,} {noun}{'s' if len(names) > 1 else ''} ({shown})"
