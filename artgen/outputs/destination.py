"""From a picture to a file on the disk."""

import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from artgen.errors import OutputError, UsageError
from artgen.metadata import has_sidecar, needs_sidecar, sidecar_path
from artgen.outputs.encoding import EncodingOptions, encode_image
from artgen.outputs.image_and_sidecar import create_with_sidecar, overwrite_with_sidecar, reject_symlink
from artgen.outputs.names import MAX_NAME_BYTES, Template, next_index, template_values
from artgen.outputs.writing import check_folder, check_inside
from artgen.system.files import wrap_write_errors

_MAX_SIDE_PX = {"jpeg": 65_500, "webp": 16_383, "png": 2**31 - 1}
_RESERVED_NAME_BYTES = len("-99999") + len(".json")
_MAX_NAME_TRIES = 99_999


@dataclass(frozen=True)
class Destination:
    """Where pictures go; made by `artgen.outputs.destination`.

    Attributes:
        folder: what stands before the first component that has a field.
        templates: further folders with fields, and at the end the file name without its suffix.
        suffix: as typed, or the format's own.
        encoding: how pictures are written.
        overwrite: replace existing files.
        image_count: how many pictures will be saved; more than one get numbers when the name is fixed.
        input_paths: files that are read for the pictures.
        option_name: what the user typed it after.

    A destination remembers what it found: a folder is looked over once, and numbers go on where they were.
    """

    folder: Path
    templates: tuple[Template, ...]
    suffix: str
    encoding: EncodingOptions
    overwrite: bool
    image_count: int
    input_paths: tuple[Path, ...]
    option_name: str = "--output"
    _checked_paths: set[Path] = field(default_factory=set, compare=False, repr=False)
    _next_numbers: dict[Path, int] = field(default_factory=dict, compare=False, repr=False)
    _written_paths: set[Path] = field(default_factory=set, compare=False, repr=False)

    @property
    def is_fixed(self) -> bool:
        """Whether the name has no field: one name for all pictures."""
        return not any(part.fields for part in self.templates)

    def preview(self, record: Mapping[str, object], *, stem: str | None = None) -> Path:
        """The path that `save` would try first; `stem` as there."""
        key, named = self._key_and_namer(record, stem)
        return named(self._next_numbers.get(key) or self._first_number(key))

    def check(
        self,
        width: int,
        height: int,
        record: Mapping[str, object],
        *,
        stem: str | None = None,
        has_alpha: bool = False,
        owned_paths: Container[Path] = (),
    ) -> None:
        """Find out before drawing whether `save` will work. Clears what killed processes left.

        No folder is made: where one is missing, the nearest one above has to take a file.
        What holds for all pictures of a folder or of a fixed name is looked at once for each destination.

        Args:
            width: of the picture, in pixels.
            height: of the picture, in pixels.
            record: what is known so far; the final record should not be much longer.
            stem: as for `save`.
            has_alpha: whether the picture will have transparency.
            owned_paths: files that may be there, made before for the same purpose; `save` goes around them.

        Raises:
            UsageError: the format cannot hold the picture, or the record is larger than 8 MiB.
            RefusedError: the target is a symbolic link, or a field leads out of the output folder.
            OutputError: the folder cannot be made or written to, or the file exists.
        """
        limit = _MAX_SIDE_PX[self.encoding.format]
        if max(width, height) > limit:
            raise UsageError(
                f"a {self.encoding.format} picture has at most {limit} pixels a side; this one is {width}x{height}",
                "Use --format png.",
            )
        if has_alpha and self.encoding.format == "jpeg":
            raise UsageError("jpeg cannot hold transparency", "Use --format png or webp.")
        self.check_name(
            record,
            stem=stem,
            with_sidecar=needs_sidecar(record, self.encoding.format, self.encoding.metadata),
            owned_paths=owned_paths,
        )

    def check_name(
        self,
        record: Mapping[str, object],
        *,
        stem: str | None = None,
        with_sidecar: bool = False,
        owned_paths: Container[Path] = (),
    ) -> None:
        """The part of `check` that is about names and folders; `with_sidecar` says whether a JSON file lies there too.

        Raises:
            RefusedError, OutputError: as for `check`.
        """
        key, named = self._key_and_namer(record, stem)
        target = named(self._first_number(key) if self.is_fixed else 1)
        if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in target.parts):
            raise OutputError(
                f"a name in '{target}' is longer than {MAX_NAME_BYTES} bytes", f"Choose a shorter {self.option_name}."
            )
        if target.parent not in self._checked_paths:
            check_folder(target.parent, self.folder, self.option_name)
            self._checked_paths.add(target.parent)
        last = sidecar_path(target) if with_sidecar else target
        if self.is_fixed and last not in self._checked_paths:
            for number in range(self._first_number(key), self._first_number(key) + self.image_count):
                if named(number) not in owned_paths:
                    self._check_target(named(number), with_sidecar)
            self._checked_paths.add(last)

    def save(
        self,
        image: Image.Image,
        record: Mapping[str, object],
        *,
        stem: str | None = None,
        index: int | None = None,
        on_name_chosen: Callable[[Path, bytes], None] | None = None,
        low_bytes: Image.Image | None = None,
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
            on_name_chosen: is called with the name and the file's bytes before the name is taken, and again when it was
                taken by somebody else and another one is tried.
            low_bytes: the lower bytes of a picture with 16 bits a channel; see `artgen.outputs.encoding.encode`.

        Raises:
            OutputError: it could not be written (no space, no permission, no free name).
            RefusedError: the target to overwrite is a symbolic link, or a field leads out of the output folder.
        """
        data, sidecar = encode_image(image, record, self.encoding, low_bytes)

        def write(path: Path) -> bool:
            if on_name_chosen is not None:
                on_name_chosen(path, data)
            return self.write(path, data, sidecar)

        return self.reserve_name(record, write, stem=stem, index=index)

    def reserve_name(
        self,
        record: Mapping[str, object],
        write_file: Callable[[Path], bool],
        *,
        stem: str | None = None,
        index: int | None = None,
    ) -> Path:
        """The part of `save` that looks for a free name: tries one after the other until `write_file` says that it wrote.

        Raises:
            OutputError, RefusedError: as for `save`.
        """
        key, named = self._key_and_namer(record, stem, index)
        with wrap_write_errors(key, f"Free some space or choose another {self.option_name}."):
            key.parent.mkdir(parents=True, exist_ok=True)
            check_inside(key.parent, self.folder)
            first = self._next_numbers.get(key) or self._first_number(key)
            for number in range(first, first + _MAX_NAME_TRIES):
                path = named(number)
                if path in self._written_paths if self.overwrite else self._is_taken(path):
                    continue
                if write_file(path):
                    self._written_paths.add(path)
                    if number:
                        self._next_numbers[key] = number + 1
                    return path
        raise OutputError(f"no free name like '{key}' was found", f"Choose another {self.option_name}.")

    def _key_and_namer(
        self, record: Mapping[str, object], stem: str | None, index: int | None = None
    ) -> tuple[Path, Callable[[int], Path]]:
        """What a picture's numbers are remembered by, and the path that each number gives."""
        values = template_values(record, stem)
        folder = self.folder.joinpath(*(part.render(values) for part in self.templates[:-1]))
        name = self.templates[-1]
        if "index" in name.fields and index is None:  # no picture is called "*": a suffix would follow
            return (
                folder / "*",
                lambda n: folder / name.render({**values, "index": str(n)}, self.suffix, _RESERVED_NAME_BYTES),
            )
        values["index"] = str(index)
        plain = folder / name.render(values, self.suffix, _RESERVED_NAME_BYTES)
        trunk = name.render(values, "", _RESERVED_NAME_BYTES + len(self.suffix))
        return plain, lambda n: folder / f"{trunk}-{n}{self.suffix}" if n else plain

    def _first_number(self, counter_key: Path) -> int:
        """The number to try first: the next index of the folder, or 0 for the name without a number."""
        if counter_key.name == "*":
            return next_index(counter_key.parent, self.templates[-1])
        return 1 if self.is_fixed and self.image_count > 1 else 0

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path)

    def write(self, path: Path, data: bytes, sidecar: str | None = None) -> bool:
        """Writes one file, and the JSON text beside it if there is one; False where the name is taken.

        Raises:
            RefusedError: the file to overwrite is a symbolic link.
            OSError: it cannot be written.
        """
        if not self.overwrite:
            return create_with_sidecar(path, data, sidecar)
        overwrite_with_sidecar(path, data, sidecar)
        return True

    def _check_target(self, target: Path, with_sidecar: bool) -> None:
        reject_symlink(target)
        if with_sidecar:
            reject_symlink(sidecar_path(target))
        if target.is_dir():
            raise OutputError(f"'{target}' is a folder", f"End {self.option_name} with / to write into it.")
        if self.overwrite:
            return
        for source in self.input_paths:
            if target.exists() and source.exists() and target.samefile(source):
                raise OutputError(
                    f"'{target}' is the input picture; it is not replaced",
                    f"Choose another {self.option_name}, or --overwrite.",
                )
        for path in (target, sidecar_path(target)) if with_sidecar or has_sidecar(target) else (target,):
            if os.path.lexists(path):
                raise OutputError(f"'{path}' exists already", f"Choose another {self.option_name}, or add --overwrite.")
