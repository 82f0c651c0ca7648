"""From a picture to a file on the disk."""

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from artgen.errors import OutputError, UsageError
from artgen.metadata import has_sidecar, needs_sidecar, sidecar_path
from artgen.outputs.encoding import Form, encode
from artgen.outputs.folders import check_folder, check_inside
from artgen.outputs.names import MAX_BYTES, Template
from artgen.outputs.pairs import claim, refuse_link, replace
from artgen.outputs.values import next_index, values_of

_LONGEST_SIDE = {"jpeg": 65_500, "webp": 16_383, "png": 2**31 - 1}
_RESERVE = len("-99999") + len(".json")
_MAX_TRIES = 99_999


@dataclass(frozen=True)
class Destination:
    """Where pictures go; made by `artgen.outputs.destination`.

    Attributes:
        folder: what stands before the first component that has a field.
        parts: further folders with fields, and at the end the file name without its suffix.
        suffix: as typed, or the format's own.
        form: how pictures are written.
        overwrite: replace existing files.
        count: how many pictures will be saved; more than one get numbers when the name is fixed.
        inputs: files that are read for the pictures.
        option: what the user typed it after.

    A destination remembers what it found: a folder is looked over once, and numbers go on where they were.
    """

    folder: Path
    parts: tuple[Template, ...]
    suffix: str
    form: Form
    overwrite: bool
    count: int
    inputs: tuple[Path, ...]
    option: str = "--output"
    _checked: set[Path] = field(default_factory=set, compare=False, repr=False)
    _next: dict[Path, int] = field(default_factory=dict, compare=False, repr=False)
    _replaced: set[Path] = field(default_factory=set, compare=False, repr=False)

    @property
    def is_fixed(self) -> bool:
        """Whether the name has no field: one name for all pictures."""
        return not any(part.fields for part in self.parts)

    def preview(self, record: Mapping[str, object], *, stem: str | None = None) -> Path:
        """The path that `save` would try first; `stem` as there."""
        key, named = self._names(record, stem)
        return named(self._next.get(key) or self._first(key))

    def check(
        self,
        width: int,
        height: int,
        record: Mapping[str, object],
        *,
        stem: str | None = None,
        alpha: bool = False,
        own: Container[Path] = (),
    ) -> None:
        """Find out before drawing whether `save` will work. Clears what killed processes left.

        No folder is made: where one is missing, the nearest one above has to take a file.
        What holds for all pictures of a folder or of a fixed name is looked at once for each destination.

        Args:
            width: of the picture, in pixels.
            height: of the picture, in pixels.
            record: what is known so far; the final record should not be much longer.
            stem: as for `save`.
            alpha: whether the picture will have transparency.
            own: files that may be there, made before for the same purpose; `save` goes around them.

        Raises:
            UsageError: the format cannot hold the picture, or the record is larger than 8 MiB.
            RefusedError: the target is a symbolic link, or a field leads out of the output folder.
            OutputError: the folder cannot be made or written to, or the file exists.
        """
        limit = _LONGEST_SIDE[self.form.format]
        if max(width, height) > limit:
            raise UsageError(
                f"a {self.form.format} picture has at most {limit} pixels a side; this one is {width}x{height}",
                "Use --format png.",
            )
        if alpha and self.form.format == "jpeg":
            raise UsageError("jpeg cannot hold transparency", "Use --format png or webp.")
        self.check_name(record, stem=stem, beside=needs_sidecar(record, self.form.format, self.form.metadata), own=own)

    def check_name(
        self,
        record: Mapping[str, object],
        *,
        stem: str | None = None,
        beside: bool = False,
        own: Container[Path] = (),
    ) -> None:
        """The part of `check` that is about names and folders; `beside` says whether a JSON file lies there too.

        Raises:
            RefusedError, OutputError: as for `check`.
        """
        key, named = self._names(record, stem)
        target = named(self._first(key) if self.is_fixed else 1)
        if any(len(os.fsencode(part)) > MAX_BYTES for part in target.parts):
            raise OutputError(
                f"a name in '{target}' is longer than {MAX_BYTES} bytes", f"Choose a shorter {self.option}."
            )
        if target.parent not in self._checked:
            check_folder(target.parent, self.folder, self.option)
            self._checked.add(target.parent)
        last = sidecar_path(target) if beside else target
        if self.is_fixed and last not in self._checked:
            for number in range(self._first(key), self._first(key) + self.count):
                if named(number) not in own:
                    self._check_target(named(number), beside)
            self._checked.add(last)

    def save(
        self,
        image: Image.Image,
        record: Mapping[str, object],
        *,
        stem: str | None = None,
        index: int | None = None,
        announce: Callable[[Path, bytes], None] | None = None,
        low: Image.Image | None = None,
    ) -> Path:
        """Write a picture with its record and return where it is.

        The final name holds the whole picture or nothing. Without `overwrite` no file is ever replaced: when the name
        is taken, a template with `{index}` takes the next index, any other name gets `-1`, `-2` ... (also when
        somebody else took it since `check`: a finished picture is not thrown away). A fixed name for several pictures,
        such as `fox.png`, becomes `fox-1.png`, `fox-2.png` ... in the order of saving. Even with `overwrite` no
        picture replaces another one saved through the same destination. A record that the format cannot hold goes to
        a JSON file beside the picture; with `overwrite`, one that belongs to the picture before goes.

        Args:
            image: any mode the format holds; its own metadata is not written.
            record: as for `artgen.metadata.embed`.
            stem: what `{stem}` stands for; None takes the name of the record's `image`.
            index: what `{index}` stands for; None takes the next free one.
            announce: is called with the name and the file's bytes before the name is taken, and again when it was
                taken by somebody else and another one is tried.
            low: the lower bytes of a picture with 16 bits a channel; see `artgen.outputs.encoding.encode`.

        Raises:
            OutputError: it could not be written (no space, no permission, no free name).
            RefusedError: the target to overwrite is a symbolic link, or a field leads out of the output folder.
        """
        data, sidecar = encode(image, record, self.form, low)

        def write(path: Path) -> bool:
            if announce is not None:
                announce(path, data)
            return self.put(path, data, sidecar)

        return self.take_name(record, write, stem=stem, index=index)

    def take_name(
        self,
        record: Mapping[str, object],
        write: Callable[[Path], bool],
        *,
        stem: str | None = None,
        index: int | None = None,
    ) -> Path:
        """The part of `save` that looks for a free name: tries one after the other until `write` says that it wrote.

        Raises:
            OutputError, RefusedError: as for `save`.
        """
        key, named = self._names(record, stem, index)
        try:
            key.parent.mkdir(parents=True, exist_ok=True)
            check_inside(key.parent, self.folder)
            first = self._next.get(key) or self._first(key)
            for number in range(first, first + _MAX_TRIES):
                path = named(number)
                if path in self._replaced if self.overwrite else self._is_taken(path):
                    continue
                if write(path):
                    self._replaced.add(path)
                    if number:
                        self._next[key] = number + 1
                    return path
        except OSError as error:
            raise OutputError(
                f"'{key}' could not be written: {error.strerror or error}",
                f"Make room or choose another {self.option}.",
            ) from error
        raise OutputError(f"no free name like '{key}' was found", f"Choose another {self.option}.")

    def _names(
        self, record: Mapping[str, object], stem: str | None, index: int | None = None
    ) -> tuple[Path, Callable[[int], Path]]:
        """What a picture's numbers are remembered by, and the path that each number gives."""
        values = values_of(record, stem)
        folder = self.folder.joinpath(*(part.fill(values) for part in self.parts[:-1]))
        name = self.parts[-1]
        if "index" in name.fields and index is None:  # no picture is called "*": a suffix would follow
            return folder / "*", lambda n: folder / name.fill({**values, "index": str(n)}, self.suffix, _RESERVE)
        values["index"] = str(index)
        plain = folder / name.fill(values, self.suffix, _RESERVE)
        trunk = name.fill(values, "", _RESERVE + len(self.suffix))
        return plain, lambda n: folder / f"{trunk}-{n}{self.suffix}" if n else plain

    def _first(self, key: Path) -> int:
        """The number to try first: the next index of the folder, or 0 for the name without a number."""
        if key.name == "*":
            return next_index(key.parent, self.parts[-1])
        return 1 if self.is_fixed and self.count > 1 else 0

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path)

    def put(self, path: Path, data: bytes, sidecar: str | None = None) -> bool:
        """Writes one file, and the JSON text beside it if there is one; False where the name is taken.

        Raises:
            RefusedError: the file to overwrite is a symbolic link.
            OSError: it cannot be written.
        """
        if not self.overwrite:
            return claim(path, data, sidecar)
        replace(path, data, sidecar)
        return True

    def _check_target(self, target: Path, beside: bool) -> None:
        refuse_link(target)
        if beside:
            refuse_link(sidecar_path(target))
        if target.is_dir():
            raise OutputError(f"'{target}' is a folder", f"End {self.option} with / to write into it.")
        if self.overwrite:
            return
        for source in self.inputs:
            if target.exists() and source.exists() and target.samefile(source):
                raise OutputError(
                    f"'{target}' is the input picture; it is not replaced",
                    f"Choose another {self.option}, or --overwrite.",
                )
        for path in (target, sidecar_path(target)) if beside or has_sidecar(target) else (target,):
            if os.path.lexists(path):
                raise OutputError(f"'{path}' exists already", f"Choose another {self.option}, or add --overwrite.")
