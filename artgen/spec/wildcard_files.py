"""Read the values of wildcards from the text and YAML files of the user's `wildcard_folder`.

A text file `dir/colors.txt` has the name `dir/colors` and one value per line. A list in a YAML file `dir/any.yaml` has
the names of its keys: `dir/clothes/hats`. Names are compared with the names of existing files, so they never leave
the folder. Links to other places are ignored.
"""

import difflib
import fnmatch
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.spec.wildcard_choices import Values
from artgen.spec.wildcards import MAX_DEPTH, Part, Variant, Wildcard, parse, split_weight
from artgen.system.external_data import decode_text, read_regular
from artgen.system.files import wrap_read_errors

MAX_FILE_BYTES = 16 << 20
MAX_TOTAL_BYTES = 64 << 20
"""Limit of all files that are read for one run."""
MAX_ENTRIES = 100_000
"""Largest number of files and folders in the folder of wildcards."""
YAML_SUFFIXES = (".yaml", ".yml")
_SUFFIXES = (".txt", *YAML_SUFFIXES)
_SET_FOLDER_HINT = "Set the folder of your wildcards: artgen config set wildcard_folder FOLDER"
_TEXT_HINT = "For literal underscores, write \\__{name}__."


class WildcardFolder:
    """Find and read the values of wildcards. Files are read when they are first needed, and only once."""

    def __init__(self, folder: Path | None) -> None:
        """Store the folder, which is not read yet. None: no wildcard has values."""
        self._folder = folder
        self._text_files: dict[str, Path] | None = None
        self._yaml_files: list[tuple[str, Path]] = []
        self._yaml_values: dict[str, list[str]] | None = None
        self._links: set[str] = set()
        self._errors: list[InputFileError] = []
        self._values: dict[str, Values] = {}
        self._checked: set[str] = set()
        self._num_bytes = 0
        self.notes: dict[str, None] = {}

    def lookup(self, name: str) -> Values:
        """Return the values of all wildcards that a name selects. `*` matches a part of a name, `**` also `/`.

        Raises:
            UsageError: no wildcard has the name, or a wildcard contains itself.
            InputFileError: the folder or a file cannot be read, or is not valid.
        """
        values = self._read(name)
        if name not in self._checked:
            self._check_cycles(name, [])
        return values

    def names(self) -> list[str]:
        """Return the names of all wildcards, sorted.

        Raises:
            InputFileError: the folder cannot be read.
        """
        return sorted({*self._files(), *self._lists()})

    def _read(self, name: str) -> Values:
        if name in self._values:
            return self._values[name]
        if self._folder is None:
            raise UsageError(
                f"Cannot use the wildcard '__{name}__': wildcard_folder is not set.",
                f"{_SET_FOLDER_HINT}. {_TEXT_HINT.format(name=name)}",
            )
        found = self._match(name)
        if not found:
            raise self._unknown_error(name)
        texts = list(dict.fromkeys(text for each in found for text in self._texts(each)))
        try:
            pairs = [split_weight(text) for text in texts]
        except UsageError as error:
            raise UsageError(f"Cannot use the wildcard '{name}': {error.message}", error.hint) from error
        if not pairs:
            raise InputFileError(f"The wildcard '{name}' has no values.", f"Add lines to its file in '{self._folder}'.")
        weights = tuple(weight for weight, _ in pairs)
        stripped = tuple(text.strip() for _, text in pairs)
        self._values[name] = Values(stripped, None if set(weights) == {1.0} else weights)
        return self._values[name]

    def _texts(self, name: str) -> Iterator[str]:
        if path := self._files().get(name):
            yield from self._read_lines(path)
        yield from self._lists().get(name, ())

    def _match(self, name: str) -> list[str]:
        """Return the names that a name or pattern selects: exact names first, then names without case."""
        wanted = name.strip().strip("/").removesuffix(".txt").removeprefix("~")
        known = {*self._files(), *self._lists()}
        if "*" not in wanted and "?" not in wanted:
            if wanted in known:
                return [wanted]
            folded = wanted.casefold()
            return sorted(each for each in known if each.casefold() == folded)
        return sorted(each for each in known if _matches(wanted, each))

    def _unknown_error(self, name: str) -> ArtgenError:
        if self._errors:  # the file that cannot be read may have the name
            return self._errors[0]
        folder = self._folder
        if name.startswith("@"):
            return UsageError(
                f"Cannot use '__{name}__': artgen does not support cyclical wildcards.", f"Write __{name[1:]}__."
            )
        if name in self._links:
            return InputFileError(
                f"Cannot use the wildcard '{name}': its file in '{folder}' is a link to another folder.",
                "Copy the file to the folder.",
            )
        if ".." in name.split("/") or name.startswith("/"):
            return UsageError(
                f"Cannot use the wildcard '{name}': wildcards are files in '{folder}'.",
                "Write a name such as __colors__.",
            )
        known = self.names()
        last_parts = {each.rpartition("/")[2]: each for each in known[:MAX_ENTRIES]}
        close = difflib.get_close_matches(name, known[:5000], n=3)
        close += [last_parts[each] for each in difflib.get_close_matches(name, list(last_parts)[:5000], n=3)]
        similar = f"Similar names: {', '.join(list(dict.fromkeys(close))[:3])}." if close else ""
        if "*" in name and "**" not in name and any(_matches(name.replace("*", "**"), each) for each in known):
            similar = f"To include subfolders, write __{name.replace('*', '**')}__."
        if not known:
            similar = "The folder contains no .txt and no .yaml file."
        hint = " ".join(text for text in (similar, _TEXT_HINT.format(name=name)) if text)
        return UsageError(f"No wildcard has the name '{name}' in '{folder}'.", hint)

    def _files(self) -> dict[str, Path]:
        """Return the text files by name. List the folder at the first call."""
        if self._text_files is None:
            self._text_files = {} if self._folder is None else self._list_folder(self._folder)
        return self._text_files

    def _list_folder(self, folder: Path) -> dict[str, Path]:
        """Return the text files by name, and store the YAML files and the links to other folders."""
        if not os.path.isdir(folder):  # noqa: PTH112 - Path.is_dir raises for long names
            state = "it is not a folder" if os.path.lexists(folder) else "it does not exist"
            raise InputFileError(f"Cannot read the wildcard_folder '{folder}': {state}.", _SET_FOLDER_HINT)
        real_folder = os.path.realpath(folder)
        text_files: dict[str, Path] = {}
        num_entries = 0
        for parent, folders, files in os.walk(folder, onerror=_raise_error):
            folders[:] = sorted(each for each in folders if not each.startswith("."))
            num_entries += len(folders) + len(files)
            if num_entries > MAX_ENTRIES:
                raise InputFileError(
                    f"Cannot read the wildcard_folder '{folder}': it has more than {MAX_ENTRIES:,} files.",
                    "Set a folder that contains only wildcards.",
                )
            for link in [each for each in folders if os.path.islink(os.path.join(parent, each))]:  # noqa: PTH114, PTH118
                self._links.add(_name(folder, Path(parent, link)))
            for file in sorted(files):
                path = Path(parent, file)
                if path.suffix.lower() not in _SUFFIXES or file.startswith("."):
                    continue
                name = _name(folder, path.with_suffix(""))
                real_path = os.path.realpath(path)
                if os.path.commonpath([real_folder, real_path]) != real_folder:
                    self._links.add(name)
                elif path.suffix.lower() in YAML_SUFFIXES:
                    self._yaml_files.append((name, path))
                else:
                    text_files[name] = path
        return text_files

    def _lists(self) -> dict[str, list[str]]:
        """Return the lists of all YAML files by name. A file that is not valid is ignored, with a note."""
        self._files()
        if self._yaml_values is None:
            self._yaml_values = {}
            for name, path in self._yaml_files:
                try:
                    for key, texts in list(self._read_yaml(name, path)):
                        self._yaml_values.setdefault(key, []).extend(texts)
                except InputFileError as error:
                    self._errors.append(error)
                    self.notes[f"A file of wildcards is ignored. {error.message}"] = None
        return self._yaml_values

    def _read_lines(self, path: Path) -> Iterator[str]:
        """Yield the values of a text file. Empty lines and lines that start with `#` are left out."""
        for line in re.split(r"[\r\n]+", self._read_text(path)):
            text = line.strip()
            if text and not text.startswith("#"):
                yield text.removeprefix("\\") if text.startswith("\\#") else text

    def _read_text(self, path: Path) -> str:
        data = read_regular(path, MAX_FILE_BYTES)
        self._num_bytes += len(data)
        if self._num_bytes > MAX_TOTAL_BYTES:
            raise InputFileError(
                f"Cannot read '{path}': the files of wildcards have more than {MAX_TOTAL_BYTES >> 20} MiB together.",
                "Use smaller files.",
            )
        try:
            return decode_text(data)
        except ValueError as error:
            raise InputFileError(f"Cannot read '{path}': {error}.", "Save the file as UTF-8.") from error

    def _read_yaml(self, name: str, path: Path) -> Iterator[tuple[str, list[str]]]:
        from artgen.system.yaml_values import YamlError, compose, to_value  # PyYAML takes 0.02 s to import

        text = self._read_text(path)
        try:
            node = compose(text)
            content = None if node is None else to_value(node, as_text=True)
            if content is None:
                return
            folder = name.rpartition("/")[0]
            yield from _lists_in(content, folder if isinstance(content, dict) else name)
        except ValueError as error:
            line = f"line {error.line}: " if isinstance(error, YamlError) and error.line else ""
            raise InputFileError(f"Cannot read '{path}': {line}{error}.", "Write keys with lists of texts.") from error

    def _check_cycles(self, name: str, parents: list[str]) -> None:
        """Check all values that a wildcard can have, so that the error does not depend on the seed.

        Raises:
            UsageError: a wildcard contains itself, or wildcards are nested too deeply.
        """
        if name in parents:
            chain = " -> ".join([*parents[parents.index(name) :], name])
            raise UsageError(f"The wildcard '{name}' contains itself: {chain}.", "Remove the name from its values.")
        if len(parents) > MAX_DEPTH:
            raise UsageError(
                f"The wildcard '{parents[0]}' is nested deeper than {MAX_DEPTH} levels.",
                "Use fewer levels of wildcards.",
            )
        if name in self._checked:
            return
        try:
            values = self._read(name)
        except ArtgenError:  # reported when the value is chosen
            return
        used: dict[str, None] = {}
        for text in values.texts:
            if "__" in text:
                used |= dict.fromkeys(_wildcard_names(parse(text)))
        for each in used:
            self._check_cycles(each, [*parents, name])
        self._checked.add(name)


def _lists_in(content: Any, name: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the name and the texts of each list in a YAML value.

    Raises:
        ValueError: a list contains lists or mappings.
    """
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _lists_in(value, f"{name}/{key}".lstrip("/"))
    elif content is not None:
        items = content if isinstance(content, list) else [content]
        if not all(isinstance(item, str) for item in items):
            raise ValueError(f"the list '{name}' contains a value that is not text")
        yield name, [text for text in (item.strip() for item in items) if text]


def _wildcard_names(parts: Iterable[Part]) -> Iterator[str]:
    """Yield the names of all wildcards in parts and their options."""
    for part in parts:
        if isinstance(part, Wildcard) and part.is_certain:
            yield part.name
        elif isinstance(part, Variant):
            for option in part.options:
                yield from _wildcard_names(option.parts)


def _matches(pattern: str, name: str) -> bool:
    """Return whether a pattern matches a name: `*` and `?` match no `/`, and `**` matches any number of folders."""
    parts = name.split("/")
    reachable = {0}  # numbers of parts that the pattern matches so far
    for each in pattern.split("/"):
        if each == "**":
            reachable = set(range(min(reachable, default=len(parts) + 1), len(parts) + 1))
        else:
            reachable = {i + 1 for i in reachable if i < len(parts) and fnmatch.fnmatchcase(parts[i], each)}
    return len(parts) in reachable


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()


def _raise_error(error: OSError) -> None:
    with wrap_read_errors(Path(str(error.filename))):
        raise error
