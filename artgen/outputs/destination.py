"""Choose a free file name and save images under it."""

import itertools
import os
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from artgen.errors import ArtgenError, OutputError, UsageError
from artgen.image_history.recording import SavedFile, enter_image
from artgen.metadata import has_sidecar, needs_sidecar, sidecar_path, stored_record
from artgen.outputs.encoding import EncodingOptions, encode_image, encoded_record
from artgen.outputs.image_and_sidecar import create_with_sidecar, overwrite_with_sidecar, reject_symlink
from artgen.outputs.names import Template, next_index, template_values
from artgen.outputs.streams import reject_special_file
from artgen.outputs.writing import check_folder, check_inside
from artgen.spec.base_requests import Request
from artgen.system.file_names import MAX_NAME_BYTES
from artgen.system.files import wrap_write_errors

_MAX_SIDE_PX = {"jpeg": 65_500, "webp": 16_383, "png": 2**31 - 1}
_RESERVED_NAME_BYTES = len("-99999") + len(".json")
_MAX_NAME_TRIES = 99_999


@dataclass(frozen=True)
class Destination:
    """Store the folder, the name template and the encoding of images. `parse_destination` creates it.

    A destination caches its checks: each folder is scanned once, and numbering continues from the last number.

    Attributes:
        folder: path before the first component that has a field.
        templates: templates of further folders, then of the file name without the suffix.
        suffix: suffix that the user typed, or the default suffix of the format.
        encoding: format and options.
        overwrite: replace existing files.
        image_count: number of images to save. If it is above 1, images with a fixed name are numbered.
        input_paths: input files of the request, which are not overwritten by default.
        history: whether images are entered in the history; None uses the environment and the configuration files.
        option_name: option that set the destination, for hints.
    """

    folder: Path
    templates: tuple[Template, ...]
    suffix: str
    encoding: EncodingOptions
    overwrite: bool
    image_count: int
    input_paths: tuple[Path, ...]
    option_name: str = "--output"
    history: bool | None = None
    _checked_paths: set[Path] = field(default_factory=set, compare=False, repr=False)
    _next_numbers: dict[Path, int] = field(default_factory=dict, compare=False, repr=False)
    _written_paths: set[Path] = field(default_factory=set, compare=False, repr=False)

    @property
    def is_fixed(self) -> bool:
        """Return whether the name has no fields, so all images have the same name."""
        return not any(part.fields for part in self.templates)

    @property
    def is_stdout(self) -> bool:
        """Return whether the image is written to standard output."""
        return False

    def preview(self, record: Mapping[str, object], *, stem: str | None = None, index: int | None = None) -> Path:
        """Return the path of the next image without writing a file, for a dry run; arguments as in `save`.

        Each call returns another path, as if an image had been saved.
        """
        key, path_for = self._key_and_namer(record, stem, index)
        for number in itertools.count(self._next_numbers.get(key) or self._first_number(key)):
            path = path_for(number)
            if path not in self._written_paths and (self.overwrite or not self._is_taken(path)):
                break
        self._written_paths.add(path)
        self._next_numbers[key] = number + 1 if number else 0
        return path

    def existing_paths(self, record: Mapping[str, object], *, index: int) -> list[Path]:
        """Return the existing files with the names that `save` tries first; arguments as in `save`."""
        _, path_for = self._key_and_namer(record, None, index)
        return list(itertools.takewhile(self._is_taken, map(path_for, itertools.count())))

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
        """Check before generating that `save` can succeed. Remove temporary files of killed processes.

        The check creates no folder: the nearest existing parent of a missing folder must be writable. Each folder and
        each fixed name is checked once per destination.

        Args:
            width: image width in pixels.
            height: image height in pixels.
            record: record so far; the final record should not be much longer.
            stem: value of `{stem}`.
            has_alpha: whether the image has transparency.
            owned_paths: existing files that do not count as taken, because an earlier run wrote them for the same jobs.

        Raises:
            UsageError: The format cannot store the image, or the record is larger than 8 MiB.
            RefusedError: The target is a symbolic link, or a field leads out of the output folder.
            OutputError: The folder cannot be created or written, or the file exists.
        """
        limit = _MAX_SIDE_PX[self.encoding.format]
        if max(width, height) > limit:
            raise UsageError(
                f"Cannot save {width}x{height} as {self.encoding.format}: a side has at most {limit} pixels.",
                "Use --format png.",
            )
        if has_alpha and self.encoding.format == "jpeg":
            raise UsageError("JPEG cannot store transparency.", "Use --format png or webp, or a .png or .webp file.")
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
        """Check only the names and the folders, and the name of the JSON sidecar if `with_sidecar` is true.

        Raises:
            RefusedError, OutputError: See `check`.
        """
        key, path_for = self._key_and_namer(record, stem)
        target = path_for(self._first_number(key) if self.is_fixed else 1)
        if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in target.parts):
            raise OutputError(
                f"'{target}' contains a name longer than {MAX_NAME_BYTES} bytes.",
                f"Choose a shorter {self.option_name}.",
            )
        if target.parent not in self._checked_paths:
            check_folder(target.parent, self.folder, self.option_name)
            self._checked_paths.add(target.parent)
        last = sidecar_path(target) if with_sidecar else target
        if self.is_fixed and last not in self._checked_paths:
            for number in range(self._first_number(key), self._first_number(key) + self.image_count):
                if path_for(number) not in owned_paths and path_for(number) not in self._written_paths:
                    self._check_target(path_for(number), with_sidecar)
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
        seconds: float | None = None,
        request: Request | None = None,
    ) -> Path:
        """Write an image with its record atomically, enter it in the history, and return its path.

        Without `overwrite`, `save` never replaces a file. If the name is taken, a template with `{index}` uses the next
        index, and any other name gets `-1`, `-2` ...; this includes names taken after `check`, so that a generated
        image is not lost. A fixed name for several images, such as `fox.png`, becomes `fox-1.png`, `fox-2.png` ... in
        the order of saving. With `overwrite`, an image still never replaces an image that the same destination saved.
        A record that the format cannot store is written to a JSON sidecar; `overwrite` removes the old sidecar.

        Args:
            image: any mode that the format stores; its own metadata is not written.
            record: see `artgen.metadata.image_save_args`.
            stem: value of `{stem}`; None selects the name of the record's `image`.
            index: value of `{index}`; None selects the next free index.
            on_name_chosen: called with the path and the file's bytes before each attempt to take a name.
            low_bytes: low bytes of an image with 16 bits per channel; see `artgen.outputs.encoding.encode_image`.
            seconds: duration of the generation in seconds, for the history; None: unknown.
            request: request of the image, whose input images a signed file names.

        Raises:
            OutputError: The image cannot be written (no space, no permission, no free name), or it cannot be signed.
                Then it is saved without a signature, so that it is not lost.
            RefusedError: The target to overwrite is a symbolic link, or a field leads out of the output folder.
        """
        encoding, signing_error = self.encoding, None
        try:
            data, sidecar = encode_image(image, record, encoding, low_bytes, request)
        except ArtgenError as error:
            if encoding.signing is None:
                raise
            encoding, signing_error = replace(encoding, signing=None), error
            data, sidecar = encode_image(image, record, encoding, low_bytes)

        def write(path: Path) -> bool:
            if on_name_chosen is not None:
                on_name_chosen(path, data)
            return self.write(path, data, sidecar)

        path = self.reserve_name(record, write, stem=stem, index=index)
        if self.history is not False and self.encoding.metadata != "none":
            stored = stored_record(encoded_record(record, encoding), encoding.metadata)
            enter_image(SavedFile(path, data, image, stored, seconds), self.history)
        if signing_error is not None:
            raise OutputError(
                f"The image is saved without a signature as '{path}'. {signing_error.message}", signing_error.hint
            ) from signing_error
        return path

    def add_written(self, path: Path | None) -> None:
        """Add an image that the first attempt of the same command saved; None: no image."""
        if path is not None:
            self._written_paths.add(path)

    def reserve_name(
        self,
        record: Mapping[str, object],
        write_file: Callable[[Path], bool],
        *,
        stem: str | None = None,
        index: int | None = None,
    ) -> Path:
        """Call `write_file` with one name after the other until it returns true, and return that path.

        Raises:
            OutputError, RefusedError: See `save`.
        """
        key, path_for = self._key_and_namer(record, stem, index)
        with wrap_write_errors(key, f"Free disk space or choose another {self.option_name}."):
            key.parent.mkdir(parents=True, exist_ok=True)
            check_inside(key.parent, self.folder)
            first = self._next_numbers.get(key) or self._first_number(key)
            for number in range(first, first + _MAX_NAME_TRIES):
                path = path_for(number)
                if path in self._written_paths if self.overwrite else self._is_taken(path):
                    continue
                if write_file(path):
                    self._written_paths.add(path)
                    if number:
                        self._next_numbers[key] = number + 1
                    return path
        raise OutputError(f"Cannot find a free name for '{key}'.", f"Choose another {self.option_name}.")

    def _key_and_namer(
        self, record: Mapping[str, object], stem: str | None, index: int | None = None
    ) -> tuple[Path, Callable[[int], Path]]:
        """Return the key of the image's number in `_next_numbers`, and a function from a number to a path."""
        values = template_values(record, stem)
        folder = self.folder.joinpath(*(part.render(values) for part in self.templates[:-1]))
        name = self.templates[-1]
        if "index" in name.fields and index is None:  # "*" is never a file name: names have a suffix
            return (
                folder / "*",
                lambda n: folder / name.render({**values, "index": str(n)}, self.suffix, _RESERVED_NAME_BYTES),
            )
        values["index"] = str(index)
        path = folder / name.render(values, self.suffix, _RESERVED_NAME_BYTES)
        stem_to_number = name.render(values, "", _RESERVED_NAME_BYTES + len(self.suffix))
        return path, lambda n: folder / f"{stem_to_number}-{n}{self.suffix}" if n else path

    def _first_number(self, counter_key: Path) -> int:
        """Return the number to try first: the next index of the folder, or 0 for the name without a number."""
        if counter_key.name == "*":
            return next_index(counter_key.parent, self.templates[-1])
        return 1 if self.is_fixed and self.image_count > 1 else 0

    def _is_taken(self, path: Path) -> bool:
        return os.path.lexists(path)

    def write(self, path: Path, data: bytes, sidecar: str | None = None) -> bool:
        """Write one file and its JSON sidecar, if any. Return False if the name is taken.

        Raises:
            RefusedError: The file to overwrite is a symbolic link.
            OSError: A file cannot be written.
        """
        if not self.overwrite:
            return create_with_sidecar(path, data, sidecar)
        overwrite_with_sidecar(path, data, sidecar)
        return True

    def _check_target(self, target: Path, with_sidecar: bool) -> None:
        reject_symlink(target)
        reject_special_file(target)
        if with_sidecar:
            reject_symlink(sidecar_path(target))
        if target.is_dir():
            raise OutputError(f"'{target}' is a folder.", f"End {self.option_name} with / to write into it.")
        if self.overwrite:
            return
        for source in self.input_paths:
            if target.exists() and source.exists() and target.samefile(source):
                raise OutputError(
                    f"'{target}' is the input image.", f"Choose another {self.option_name}, or add --overwrite."
                )
        for path in (target, sidecar_path(target)) if with_sidecar or has_sidecar(target) else (target,):
            if os.path.lexists(path):
                raise OutputError(
                    f"'{path}' exists already.", f"Choose another {self.option_name}, or add --overwrite."
                )
