"""Parse `--frames`, and write frames as an animation or as a folder of PNG files."""

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
from artgen.outputs.names import EMPTY_NAME, parse_template
from artgen.outputs.signatures import Signing
from artgen.spec.base_requests import Request
from artgen.spec.settings import FramesSettings
from artgen.system.files import atomic_folder
from artgen.system.input_files import input_stem
from artgen.system.temporary import report_name

_ACCEPTED_TARGETS = f"{', '.join(ANIMATION_FORMATS)} or a folder/"


@dataclass(frozen=True)
class AnimationOutput:
    """Store the destination and the settings of frames. `parse_frames_option` creates it.

    Attributes:
        destination: destination of the animation or of the folder.
        settings: options of the user.
    """

    destination: Destination
    settings: FramesSettings

    def check(self, record: Mapping[str, object]) -> None:
        """Check before generating that `save` can succeed.

        Raises:
            RefusedError, OutputError: See `Destination.check`.
        """
        self.destination.check_name(record, stem=EMPTY_NAME)

    def scaling_note(self, size: tuple[int, int]) -> str | None:
        """Return a note if frames of `size` (width and height in pixels) are scaled down, else None."""
        frame_size = fitted_size(size, self.destination.encoding.format)
        if frame_size == size:
            return None
        return f"Frames are scaled down to {frame_size[0]}x{frame_size[1]} in a {self.destination.suffix} file."

    def save(
        self,
        frames: Sequence[Image.Image],
        record: Mapping[str, object],
        image_path: Path,
        index: int | None = None,
        *,
        signing: Signing | None = None,
        request: Request | None = None,
    ) -> Path:
        """Write the frames of an image atomically under a free name, and return the path.

        Args:
            frames: frames in order, all of one size; the last frame is the image.
            record: record of the image, for the fields of the name.
            image_path: path of the image; `{stem}` is its stem.
            index: value of `{index}`; None selects the next free index.
            signing: how the files are signed; None: not at all.
            request: request of the image, whose input images signed files name.

        Raises:
            OutputError, RefusedError: See `Destination.save`.
        """
        destination = self.destination

        def signed(data: bytes, kind: str) -> bytes:
            return data if signing is None else signing.sign(data, kind, record, request)

        if destination.encoding.format == FOLDER_FORMAT:
            files = {name: signed(data, "png") for name, data in encode_png_frames(frames).items()}

            def write(path: Path) -> bool:
                return _create_folder(path, files, destination.overwrite)
        else:
            kind = destination.encoding.format
            data = signed(encode_animation(frames, kind, self.settings.fps), kind)

            def write(path: Path) -> bool:
                return destination.write(path, data)

        return destination.reserve_name(record, write, stem=input_stem(image_path), index=index)


@dataclass(frozen=True)
class _FolderDestination(Destination):
    """Represent a destination for folders. An empty folder is free; a folder with only frames can be replaced."""

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))

    def _check_target(self, target: Path, with_sidecar: bool) -> None:
        if not target.is_dir() or target.is_symlink():
            super()._check_target(target, with_sidecar)
            return
        names = [entry.name for entry in target.iterdir()]
        if self.overwrite and not all(map(_is_frame_name, names)):
            raise OutputError(
                f"Cannot replace '{target}': it contains files that are not frames.",
                "Choose another folder for --frames.",
            )
        if names and not self.overwrite:
            raise OutputError(f"'{target}' is not empty.", "Choose another --frames, or add --overwrite.")


def parse_frames_option(settings: FramesSettings, *, multiple_images: bool, overwrite: bool) -> AnimationOutput | None:
    """Parse `--frames`. Return None without `--frames`.

    Args:
        settings: options of the user.
        multiple_images: whether the command can generate more than one image.
        overwrite: replace existing files.

    Raises:
        UsageError: The name is empty, the suffix or a field is unknown, one file is given for several images, the
            encoder is not installed, or frame options are used without `--frames`.
    """
    if settings.frames is None:
        _reject_unused_settings(settings)
        return None
    names = [part for part in PurePath(settings.frames).parts if part != PurePath(settings.frames).anchor]
    if not settings.frames.strip() or not names or names[-1] in (".", ".."):
        raise UsageError(f"--frames '{settings.frames}' is not a file or folder name.", f"Use {_ACCEPTED_TARGETS}.")
    folder = settings.frames.endswith(("/", os.sep)) or Path(settings.frames).is_dir()
    suffix = "" if folder else PurePath(names[-1]).suffix
    kind = FOLDER_FORMAT if folder else ANIMATION_FORMATS.get(suffix.lower())
    if kind is None:
        raise UsageError(f"--frames takes {_ACCEPTED_TARGETS}, not '{settings.frames}'.", "Use --frames steps.gif.")
    require_encoder(kind)
    if multiple_images and not any(parse_template(name).fields for name in names):
        if not folder:
            raise UsageError(
                f"'{settings.frames}' is a single file, but the command generates several images.",
                f'Use --frames "{{stem}}{suffix}", or --frames frames/ for one folder per image.',
            )
        names.append("{stem}")
    return AnimationOutput(
        build_destination(names, PurePath(settings.frames).anchor, suffix, kind, overwrite), settings
    )


def build_destination(
    names: list[str], anchor: str, suffix: str, kind: str, overwrite: bool, option_name: str = "--frames"
) -> Destination:
    """Return the destination of an animation or of a folder of frames.

    Args:
        names: parts of the path; may contain fields.
        anchor: root of the path; empty for a relative path.
        suffix: suffix of the last part.
        kind: format of the animation, or `FOLDER_FORMAT`.
        overwrite: replace existing files.
        option_name: option that set the path, for hints.
    """
    names[-1] = names[-1].removesuffix(suffix)
    parts = [parse_template(name) for name in names]
    folder = Path(anchor)
    while len(parts) > 1 and not parts[0].fields:
        folder /= parts.pop(0).render({})
    return (_FolderDestination if kind == FOLDER_FORMAT else Destination)(
        folder=folder,
        templates=tuple(parts),
        suffix=suffix,
        encoding=EncodingOptions(kind, metadata="none"),
        overwrite=overwrite,
        image_count=1,
        input_paths=(),
        option_name=option_name,
    )


def _reject_unused_settings(settings: FramesSettings) -> None:
    for name, value in vars(settings).items():
        if value != getattr(type(settings), name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} requires --frames.", f"Add --frames steps.gif, or omit {flag}.")


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
            report_name(folder, path)
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
