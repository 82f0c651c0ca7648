"""Where the frames of a picture go: reading `--frames`, and writing an animation or a folder of pictures whole."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from artgen.errors import OutputError, UsageError
from artgen.outputs.animation import (
    ANIMATION_FORMATS,
    FOLDER_FORMAT,
    encode_animation,
    encode_png_frames,
    fitted_size,
    require_encoder,
)
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import EncodingOptions
from artgen.outputs.names import parse_template
from artgen.spec.settings import FramesSettings
from artgen.system.files import atomic_folder

_ACCEPTED_TARGETS = f"{', '.join(ANIMATION_FORMATS)} or a folder/"


@dataclass(frozen=True)
class AnimationOutput:
    """Where frames go and how they are written; made by `reel_for`.

    Attributes:
        destination: the names.
        settings: as they were asked for.
    """

    destination: Destination
    settings: FramesSettings

    def check(self, record: Mapping[str, object]) -> None:
        """Finds out before drawing whether `save` will work.

        Raises:
            RefusedError, OutputError: as for `Destination.check`.
        """
        self.destination.check_name(record, stem="picture")

    def scaling_note(self, size: tuple[int, int]) -> str | None:
        """What to know of frames of pictures of `size` (width and height in pixels)."""
        shown = fitted_size(size, self.destination.encoding.format)
        if shown == size:
            return None
        return f"frames are scaled down to {shown[0]}x{shown[1]} in a {self.destination.suffix} file"

    def save(
        self, frames: Sequence[Image.Image], record: Mapping[str, object], image_path: Path, index: int | None = None
    ) -> Path:
        """Writes the frames of a picture under a free name, whole or not at all.

        Args:
            frames: in order, all of one size; the last is the picture itself.
            record: of the picture, for the fields of the name.
            image_path: its file; `{stem}` is its name.
            index: what `{index}` stands for; None takes the next free one.

        Raises:
            OutputError, RefusedError: as for `Destination.save`.
        """
        place = self.destination
        if place.encoding.format == FOLDER_FORMAT:
            files = encode_png_frames(frames)

            def write(path: Path) -> bool:
                return _create_folder(path, files, place.overwrite)
        else:
            data = encode_animation(frames, place.encoding.format, self.settings.fps)

            def write(path: Path) -> bool:
                return place.write(path, data)

        return place.reserve_name(record, write, stem=image_path.stem, index=index)


@dataclass(frozen=True)
class _FolderDestination(Destination):
    """Names of folders: an empty one is free, and one that holds nothing but frames may be replaced."""

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))

    def _check_target(self, target: Path, with_sidecar: bool) -> None:
        if not target.is_dir() or target.is_symlink():
            super()._check_target(target, with_sidecar)
            return
        inside = [entry.name for entry in target.iterdir()]
        if self.overwrite and not all(_is_frame_name(name) for name in inside):
            raise OutputError(
                f"'{target}' holds other things than frames and is not replaced", "Choose another folder for --frames."
            )
        if inside and not self.overwrite:
            raise OutputError(f"'{target}' is not empty", "Choose another --frames, or add --overwrite.")


def parse_frames_option(settings: FramesSettings, *, multiple_images: bool, overwrite: bool) -> AnimationOutput | None:
    """Reads `--frames`; None when none are wanted.

    Args:
        settings: what the command was asked for.
        multiple_images: whether there will be, or may be, more than one picture.
        overwrite: replace what exists.

    Raises:
        UsageError: no name, an unknown suffix or field, one file for several pictures, an encoder that is not
            installed, or settings of frames without `--frames`.
    """
    if settings.frames is None:
        _reject_unused_settings(settings)
        return None
    names = [part for part in PurePath(settings.frames).parts if part != PurePath(settings.frames).anchor]
    if not settings.frames.strip() or not names or names[-1] in (".", ".."):
        raise UsageError(f"--frames '{settings.frames}' names no file and no folder.", f"It takes {_ACCEPTED_TARGETS}.")
    folder = settings.frames.endswith(("/", os.sep)) or Path(settings.frames).is_dir()
    suffix = "" if folder else PurePath(names[-1]).suffix
    kind = FOLDER_FORMAT if folder else ANIMATION_FORMATS.get(suffix.lower())
    if kind is None:
        raise UsageError(f"--frames takes {_ACCEPTED_TARGETS}, not '{settings.frames}'.", "--frames making.gif")
    require_encoder(kind)
    if multiple_images and not any(parse_template(name).fields for name in names):
        if not folder:
            raise UsageError(
                f"'{settings.frames}' is one file for the frames of several pictures.",
                f'--frames "{{stem}}{suffix}", or --frames frames/ for a folder each.',
            )
        names.append("{stem}")
    return AnimationOutput(
        _build_destination(names, PurePath(settings.frames).anchor, suffix, kind, overwrite), settings
    )


def _build_destination(names: list[str], anchor: str, suffix: str, kind: str, overwrite: bool) -> Destination:
    names[-1] = names[-1].removesuffix(suffix)
    parts = [parse_template(name) for name in names]
    start = Path(anchor)
    while len(parts) > 1 and not parts[0].fields:
        start /= parts.pop(0).render({})
    return (_FolderDestination if kind == FOLDER_FORMAT else Destination)(
        folder=start,
        templates=tuple(parts),
        suffix=suffix,
        encoding=EncodingOptions(kind, metadata="none"),
        overwrite=overwrite,
        image_count=1,
        input_paths=(),
        option_name="--frames",
    )


def _reject_unused_settings(settings: FramesSettings) -> None:
    for name, value in vars(settings).items():
        if value != getattr(type(settings), name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is about frames, and none are asked for.", f"Add --frames making.gif: {flag}.")


def _is_frame_name(name: str) -> bool:
    stem, dot, suffix = name.partition(".")
    return len(stem) >= 4 and stem.isdecimal() and dot + suffix == ".png"


def _create_folder(path: Path, files: Mapping[str, bytes], overwrite: bool) -> bool:
    """Write a folder with all of its files, or nothing. Return False if the name is taken.

    An empty folder is replaced; with `overwrite` also a folder that contains only frames.
    """
    try:
        with atomic_folder(path, overwrite=overwrite) as folder:
            for name, data in files.items():
                (folder / name).write_bytes(data)
            if not _is_replaceable(path, overwrite):
                raise FileExistsError
    except FileExistsError:
        return False
    return True


def _is_replaceable(path: Path, overwrite: bool) -> bool:
    if not os.path.lexists(path):
        return True
    if path.is_symlink() or not path.is_dir():
        return False
    names = [entry.name for entry in path.iterdir()]
    return not names or (overwrite and all(map(_is_frame_name, names)))
