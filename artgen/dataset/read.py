"""Read a folder of training images, with a reason for each rejected file."""

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
from artgen.images import FORMAT_NAMES
from artgen.spec.settings import DatasetSettings, validate
from artgen.system.counts import counted

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
"""Default minimum of the shorter side, if `min_side` and `resolution` are unset."""


def read_dataset(settings: DatasetSettings, listener: Listener = no_op) -> Dataset:
    """Read a folder: verify every image, assign captions and provenance, and remove duplicates.

    The result depends only on the files and is sorted by name. Images are decoded on all CPU cores; the pixels are not
    stored.

    Args:
        settings: the folder and its options.
        listener: receives a `CheckingImages` event per image.

    Raises:
        UsageError: a setting is invalid.
        InputFileError: the folder does not exist or has no usable image; or it has an unusable image and `on_bad_image`
            is refuse; or it has a duplicate and `duplicates` is refuse.
        DatasetError: caption or metadata files are invalid. The exception contains all errors.
    """
    validate(settings)
    captions.check_template(settings.caption_template)
    accepted = licenses.parse_licenses(settings.licenses)
    scanned = scan_folder(settings.folder)
    folder = settings.folder or Path()
    if not scanned.image_files and not scanned.rejected:
        raise InputFileError(
            f"Cannot train on '{folder}': it contains no image.",
            f"Supported formats: {FORMAT_NAMES}.",
        )
    tables = {kind: metadata_files.read_metadata_table(scanned.metadata_files, folder, kind) for kind in METADATA_FILES}
    texts = _collect_captions(scanned, folder, tables)
    verified, rejected = _verify_images(scanned, folder, listener)
    rejected += scanned.rejected
    images = [_build_training_image(each, folder, settings, texts, tables["provenance.jsonl"]) for each in verified]
    images, small = _filter_small(images, settings)
    images, unlicensed = licenses.filter_by_license(images, settings.require_license, accepted)
    rejected += [*small, *unlicensed]
    _enforce_policy(settings, folder, rejected)
    verified_by_name = {each.name: each for each in verified}
    images, duplicates, groups = _remove_duplicates(images, verified_by_name, settings.duplicates, folder)
    rejected = sorted([*rejected, *duplicates], key=lambda each: each.name)
    if not images:
        raise InputFileError(
            f"Cannot train on '{folder}': all images are unusable ({_format_counts(rejected)}).",
            _format_first(rejected),
        )
    notes = [*scanned.notes, *_dataset_notes(scanned, folder, tables, images)]
    return Dataset(folder, tuple(images), tuple(rejected), groups, tuple(notes))


def open_training_image(training_image: TrainingImage) -> Image.Image:
    """Load the pixels of a training image: upright, mode RGB.

    Raises:
        InputFileError: the file is missing, damaged, or has changed since `read_dataset`.
    """
    loaded = load_rgb_image(training_image.path)
    if loaded.sha256 != training_image.sha256:
        raise InputFileError(
            f"Cannot use '{training_image.path}': it has changed since it was verified.",
            "Start the training again, and do not change the folder during the training.",
        )
    return loaded.image


def _verify_images(
    scanned: ScannedFolder, folder: Path, listener: Listener
) -> tuple[list[VerifiedImage], list[RejectedFile]]:
    def verify(path: Path) -> VerifiedImage | RejectedFile:
        return verify_image(path, relative_name(path, folder))

    readable: list[VerifiedImage] = []
    rejected: list[RejectedFile] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow releases the GIL while it decodes
        for done, result in enumerate(pool.map(verify, scanned.image_files), 1):
            readable.append(result) if isinstance(result, VerifiedImage) else rejected.append(result)
            listener(CheckingImages(done, len(scanned.image_files)))
    return readable, rejected


def _collect_captions(
    scanned: ScannedFolder, folder: Path, metadata_tables: dict[str, metadata_files.MetadataTable]
) -> dict[str, captions.Caption]:
    """Return the captions from text files and metadata files, by image name.

    Raises:
        DatasetError: files are invalid.
    """
    errors = [error for table in metadata_tables.values() for error in table.errors]
    found: dict[str, captions.Caption] = {}
    caption_files = set(scanned.caption_files)
    for path in scanned.image_files:
        name, caption_file = relative_name(path, folder), path.with_suffix(".txt")
        try:
            caption = captions.read_caption(caption_file) if caption_file in caption_files else None
        except ValueError as error:
            errors.append(f"{relative_name(caption_file, folder)}: {error}")
            continue
        if caption is not None:
            found[name] = caption
            continue
        for kind in METADATA_FILES:
            row = metadata_tables[kind].row_for(name) or {}
            if "text" in row:
                found[name] = captions.Caption(row["text"])
                break
    if errors:
        raise DatasetError(folder, tuple(dict.fromkeys(errors)))
    return found


def _build_training_image(
    verified: VerifiedImage,
    folder: Path,
    settings: DatasetSettings,
    captions_by_name: dict[str, captions.Caption],
    provenance_table: metadata_files.MetadataTable,
) -> TrainingImage:
    stated_caption = captions_by_name.get(verified.name)
    if stated_caption is None:
        caption = captions.caption_from_path(verified.name, folder, settings.caption_template)
    else:
        caption = stated_caption.text
    notes = list(verified.notes)
    if stated_caption is not None and stated_caption.note:
        notes.append(stated_caption.note)
    if not caption:
        notes.append("the caption is empty")
    if (tokens := captions.min_token_count(caption)) > captions.MAX_CLIP_TOKENS:
        notes.append(
            f"the caption has at least {tokens} tokens; CLIP text encoders ignore all after {captions.MAX_CLIP_TOKENS}"
        )
    row = provenance_table.row_for(verified.name) or {}
    stated = {key: value for key, value in row.items() if key != "text" and value}
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
    min_side = settings.min_side or (settings.resolution // 2 if settings.resolution else DEFAULT_MIN_SIDE_PX)
    accepted, rejected = [], []
    for image in images:
        if min(image.width, image.height) < min_side:
            reason = f"is {image.width}x{image.height}; the minimum of the shorter side is {min_side} pixels"
            rejected.append(RejectedFile(image.name, reason, "too small"))
            continue
        if settings.resolution and image.width * image.height < settings.resolution**2:
            image = replace(image, notes=(*image.notes, f"it is {image.width}x{image.height} and is enlarged"))
        accepted.append(image)
    return accepted, rejected


def _remove_duplicates(
    images: Sequence[TrainingImage], verified_by_name: dict[str, VerifiedImage], policy: str, folder: Path
) -> tuple[list[TrainingImage], list[RejectedFile], tuple[tuple[str, ...], ...]]:
    """Return the remaining images, the rejected duplicates, and the groups of duplicates.

    The largest image of a group remains. Every other member is a duplicate of the largest image itself.

    Raises:
        InputFileError: the folder contains duplicates and the policy is refuse.
    """
    index = DuplicateIndex(len(images))
    originals: list[TrainingImage] = []
    groups: dict[str, list[str]] = {}
    relations: dict[str, str] = {}
    for image in sorted(images, key=lambda each: (-each.width * each.height, each.name)):
        image_hash = verified_by_name[image.name].image_hash
        match = index.find_match(image_hash)
        if match is None:
            index.add(image_hash)
            originals.append(image)
            continue
        original, relation = originals[match[0]], match[1]
        relation = "is the same file as" if image.sha256 == original.sha256 else relation
        relations[image.name] = f"{relation} '{original.name}'"
        groups.setdefault(original.name, [original.name]).append(image.name)
    rejected = [RejectedFile(name, reason, "duplicate") for name, reason in relations.items()]
    if rejected and policy == "refuse":
        raise _rejected_error(folder, sorted(rejected, key=lambda each: each.name))
    sorted_groups = tuple((first, *sorted(rest)) for first, *rest in sorted(groups.values()))
    if policy == "keep":
        noted = [
            replace(each, notes=(*each.notes, f"it {relations[each.name]}")) if each.name in relations else each
            for each in images
        ]
        return noted, [], sorted_groups
    return [each for each in images if each.name not in relations], rejected, sorted_groups


def _enforce_policy(settings: DatasetSettings, folder: Path, rejected: list[RejectedFile]) -> None:
    if rejected and settings.on_bad_image == "refuse":
        raise _rejected_error(folder, sorted(rejected, key=lambda each: each.name))


def _rejected_error(folder: Path, rejected: list[RejectedFile]) -> InputFileError:
    return InputFileError(
        f"Cannot use {counted(len(rejected), 'image')} of '{folder}': {_format_counts(rejected)}.",
        _format_first(rejected),
    )


def _format_counts(rejected: Sequence[RejectedFile]) -> str:
    counts = Counter(each.kind for each in rejected)
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())


def _format_first(rejected: Sequence[RejectedFile]) -> str:
    return f"Example: '{rejected[0].name}' {rejected[0].reason}." if rejected else ""


def _dataset_notes(
    scanned: ScannedFolder,
    folder: Path,
    metadata_tables: dict[str, metadata_files.MetadataTable],
    images: Sequence[TrainingImage],
) -> Iterator[str]:
    names = [relative_name(path, folder) for path in scanned.image_files]
    for kind, table in metadata_tables.items():
        if missing := table.missing_files(names):
            yield f"{kind} describes missing files: {_format_names(missing, 'image')}"
        if table.unknown_keys:
            yield f"{kind} contains unknown keys, which are ignored: {', '.join(sorted(table.unknown_keys))}"
    stems = {path.with_suffix("") for path in scanned.image_files}
    unused = [relative_name(path, folder) for path in scanned.caption_files if path.with_suffix("") not in stems]
    if unused:
        yield f"{_format_names(unused, 'caption file')} without an image"
    if scanned.other_files:
        ignored = [relative_name(path, folder) for path in scanned.other_files]
        yield f"{_format_names(ignored, 'other file')} ignored"
    without_provenance = [image.name for image in images if image.provenance is None]
    if without_provenance and len(without_provenance) < len(images):
        yield f"{_format_names(without_provenance, 'image')} without provenance"
    elif without_provenance:
        yield "the images have no provenance; add it to provenance.jsonl"


def _format_names(names: Sequence[str], noun: str) -> str:
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{counted(len(names), noun)} ({shown})"
