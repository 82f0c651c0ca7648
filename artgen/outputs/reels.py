"""Where the frames of a picture go: reading `--frames`, and writing an animation or a folder of pictures whole."""

import errno
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

from artgen.errors import OutputError, UsageError
from artgen.outputs.animation import FOLDER, FORMATS, encode_animation, encode_files, fitted, require_format
from artgen.outputs.destination import Destination
from artgen.outputs.encoding import Form
from artgen.outputs.names import parse_template
from artgen.outputs.writing import temporary_name, write_over
from artgen.settings import Frames

_SUFFIXES = f"{', '.join(FORMATS)} or a folder/"


@dataclass(frozen=True)
class Reel:
    """Where frames go and how they are written; made by `reel_for`.

    Attributes:
        destination: the names.
        frames: as they were asked for.
    """

    destination: Destination
    frames: Frames

    def check(self, record: Mapping[str, object]) -> None:
        """Finds out before drawing whether `save` will work.

        Raises:
            RefusedError, OutputError: as for `Destination.check`.
        """
        self.destination.check_name(record, stem="picture")

    def note(self, size: tuple[int, int]) -> str | None:
        """What to know of frames of pictures of `size` (width and height in pixels)."""
        shown = fitted(size, self.destination.form.format)
        if shown == size:
            return None
        return f"frames are scaled down to {shown[0]}x{shown[1]} in a {self.destination.suffix} file"

    def save(
        self, frames: Sequence[Image.Image], record: Mapping[str, object], picture: Path, index: int | None = None
    ) -> Path:
        """Writes the frames of a picture under a free name, whole or not at all.

        Args:
            frames: in order, all of one size; the last is the picture itself.
            record: of the picture, for the fields of the name.
            picture: its file; `{stem}` is its name.
            index: what `{index}` stands for; None takes the next free one.

        Raises:
            OutputError, RefusedError: as for `Destination.save`.
        """
        place = self.destination
        if place.form.format == FOLDER:
            files = encode_files(frames)

            def write(path: Path) -> bool:
                return _write_folder(path, files, place.overwrite)
        else:
            data = encode_animation(frames, place.form.format, self.frames.fps)

            def write(path: Path) -> bool:
                return place.put(path, data)

        return place.take_name(record, write, stem=picture.stem, index=index)


@dataclass(frozen=True)
class _Folders(Destination):
    """Names of folders: an empty one is free, and one that holds nothing but frames may be replaced."""

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path) and not (path.is_dir() and not any(path.iterdir()))

    def _check_target(self, target: Path, beside: bool) -> None:
        if not target.is_dir() or target.is_symlink():
            super()._check_target(target, beside)
            return
        inside = [entry.name for entry in target.iterdir()]
        if self.overwrite and not all(_is_frame(name) for name in inside):
            raise OutputError(
                f"'{target}' holds other things than frames and is not replaced", "Choose another folder for --frames."
            )
        if inside and not self.overwrite:
            raise OutputError(f"'{target}' is not empty", "Choose another --frames, or add --overwrite.")


def reel_for(asked: Frames, *, several: bool, overwrite: bool) -> Reel | None:
    """Reads `--frames`; None when none are wanted.

    Args:
        asked: what the command was asked for.
        several: whether there will be, or may be, more than one picture.
        overwrite: replace what exists.

    Raises:
        UsageError: no name, an unknown suffix or field, one file for several pictures, an encoder that is not
            installed, or settings of frames without `--frames`.
    """
    if asked.frames is None:
        _refuse_idle(asked)
        return None
    names = [part for part in PurePath(asked.frames).parts if part != PurePath(asked.frames).anchor]
    if not asked.frames.strip() or not names or names[-1] in (".", ".."):
        raise UsageError(f"--frames '{asked.frames}' names no file and no folder.", f"It takes {_SUFFIXES}.")
    folder = asked.frames.endswith(("/", os.sep)) or Path(asked.frames).is_dir()
    suffix = "" if folder else PurePath(names[-1]).suffix
    kind = FOLDER if folder else FORMATS.get(suffix.lower())
    if kind is None:
        raise UsageError(f"--frames takes {_SUFFIXES}, not '{asked.frames}'.", "--frames making.gif")
    require_format(kind)
    if several and not any(parse_template(name).fields for name in names):
        if not folder:
            raise UsageError(
                f"'{asked.frames}' is one file for the frames of several pictures.",
                f'--frames "{{stem}}{suffix}", or --frames frames/ for a folder each.',
            )
        names.append("{stem}")
    return Reel(_named(names, PurePath(asked.frames).anchor, suffix, kind, overwrite), asked)


def _named(names: list[str], anchor: str, suffix: str, kind: str, overwrite: bool) -> Destination:
    names[-1] = names[-1].removesuffix(suffix)
    parts = [parse_template(name) for name in names]
    start = Path(anchor)
    while len(parts) > 1 and not parts[0].fields:
        start /= parts.pop(0).fill({})
    return (_Folders if kind == FOLDER else Destination)(
        folder=start,
        parts=tuple(parts),
        suffix=suffix,
        form=Form(kind, metadata="none"),
        overwrite=overwrite,
        count=1,
        inputs=(),
        option="--frames",
    )


def _refuse_idle(asked: Frames) -> None:
    for name, value in vars(asked).items():
        if value != getattr(type(asked), name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} is about frames, and none are asked for.", f"Add --frames making.gif: {flag}.")


def _is_frame(name: str) -> bool:
    stem, dot, suffix = name.partition(".")
    return len(stem) >= 4 and stem.isdecimal() and dot + suffix == ".png"


def _write_folder(path: Path, files: Mapping[str, bytes], overwrite: bool) -> bool:
    """Makes a folder with all of its files, or none of them; False where the name is taken.

    An empty folder of that name is taken over, and with `overwrite` one that holds nothing but frames.
    """
    made = temporary_name(path.parent)
    made.mkdir()
    try:
        for name, data in files.items():
            write_over(made / name, data)
        if not _cleared(path, overwrite):
            return False
        try:
            made.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            return False  # somebody took the name a moment ago
    finally:
        shutil.rmtree(made, ignore_errors=True)  # nothing is left of it once it has its final name
    return True


def _cleared(path: Path, overwrite: bool) -> bool:
    if not os.path.lexists(path):
        return True
    inside = None if path.is_symlink() or not path.is_dir() else [entry.name for entry in path.iterdir()]
    if inside is None or (inside and not (overwrite and all(map(_is_frame, inside)))):
        return False
    shutil.rmtree(path)
    return True
