"""List the values of settings and arguments: names of models, files, schedulers and others."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from artgen.errors import ArtgenError
from artgen.system.counts import counted

MAX_CANDIDATES = 2000
"""Largest number of candidates. A longer list is not useful, and slow in the shell."""


MAX_HISTORY_ENTRIES = 200
"""Number of the newest entries of the history that are candidates."""


class Candidate(NamedTuple):
    """Represent a candidate: its text, and a short description that zsh and fish show."""

    text: str
    help: str = ""


@dataclass(frozen=True)
class Completion:
    """Represent the candidates at the cursor.

    Attributes:
        candidates: candidates for the complete word, or for the value of an option that is attached with `=`.
        files: `files` or `folders` if the shell shall add the names of files or folders; else empty.
        option: option of an attached value, with the `=`; else empty.
    """

    candidates: Sequence[Candidate] = ()
    files: str = ""
    option: str = ""


def candidates(kind: str, typed: str) -> Iterator[Candidate]:
    """Yield the values of a kind that begin with `typed`; the case is ignored. Damaged files have no values.

    Args:
        kind: key of `KINDS`.
        typed: begin of the value.
    """
    seen: set[str] = set()
    with contextlib.suppress(ArtgenError, OSError, ValueError):
        for found in KINDS[kind](typed):
            if found.text not in seen and begins_with(found.text, typed) and found.text.isprintable():
                seen.add(found.text)
                yield found
                if len(seen) >= MAX_CANDIDATES:
                    return


def begins_with(text: str, typed: str) -> bool:
    """Return whether a text begins with the typed text; the case is ignored."""
    return text[: len(typed)].casefold() == typed.casefold()


def _schedulers(typed: str) -> Iterator[Candidate]:
    """Yield the names; if a text is typed, also the names of AUTOMATIC1111 and, if neither matches, all aliases."""
    from artgen.spec.schedulers import SCHEDULERS, SIGMA_SPACINGS

    names = [Candidate(entry.name, entry.note) for entry in SCHEDULERS]
    labels = [
        Candidate(f"{entry.a1111_name} {spacing}".strip(), entry.name)
        for entry in SCHEDULERS
        for spacing in ("", *(SIGMA_SPACINGS[1:] if entry.supports_sigmas else ()))
    ]
    labels = [Candidate(" ".join(_capitalized(label.text)), label.help) for label in labels]
    yield from names
    if typed:
        yield from labels
        if not any(begins_with(each.text, typed) for each in (*names, *labels)):
            yield from (Candidate(alias, entry.name) for entry in SCHEDULERS for alias in entry.aliases)


def _capitalized(label: str) -> Iterator[str]:
    """Yield the words of a label, with the name of the spacing as in AUTOMATIC1111: Karras."""
    from artgen.spec.schedulers import SIGMA_SPACINGS

    for word in label.split():
        yield word.capitalize() if word in SIGMA_SPACINGS else word


def _models(typed: str) -> Iterator[Candidate]:
    """Yield the names of the catalog, the aliases of the user, the cached models and the files in model folders."""
    from artgen.registry import catalog
    from artgen.registry.hub import cache

    yield from (Candidate(name, info.description) for name, info in catalog.builtin_models().items())
    if typed:
        yield from (Candidate(name, info.name) for name, info in catalog.builtin_aliases().items())
    with contextlib.suppress(ArtgenError, OSError):
        yield from _aliases(typed)
    with contextlib.suppress(ArtgenError, OSError):
        cached = (repo for repo in cache.cached_repositories() if begins_with(repo, typed))
        yield from (Candidate(repo, "in the cache") for repo in cached if cache.is_diffusers_model(repo))
    yield from _files("model")(typed)


def _aliases(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.registry import catalog

    yield from (Candidate(name, target) for name, target in catalog.user_aliases().items())


def _files(kind: str) -> Callable[[str], Iterator[Candidate]]:
    """Return a function that yields the names of the files of a kind in the folders of the user."""

    def list_files(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
        from artgen.registry import model_folders

        for file in model_folders.iter_files(kind):  # type: ignore[arg-type]
            if not file.is_pickle:
                yield Candidate(file.stem, str(file.path.parent))

    return list_files


def _upscalers(typed: str) -> Iterator[Candidate]:
    """Yield the names of the table of upscaling networks, and the files in model folders."""
    from artgen.registry.upscalers import upscaler_entries

    yield from (Candidate(name, entry.description) for name, entry in upscaler_entries().items())
    with contextlib.suppress(ArtgenError, OSError):
        yield from _files("upscaler")(typed)


def _families(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.registry import catalog

    yield from (Candidate(info.family) for info in catalog.builtin_models().values() if info.family)


def _styles(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.spec import config
    from artgen.spec.style_files import StyleFolder

    for style in StyleFolder(config.style_folder()).styles:
        yield Candidate(style.name, style.prompt or style.negative_prompt)


def _filters(typed: str) -> Iterator[Candidate]:
    from artgen.spec.selected_filters import filter_names

    before, comma, _ = typed.rpartition(",")
    for name in filter_names():
        yield Candidate(f"{before}{comma}{name}")


def _presets(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.spec.presets import list_presets

    for preset in list_presets():
        yield Candidate(preset.name, ", ".join(preset.values))


def _cache_entries(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.api.cache import CONVERTED_MODELS, list_cache

    entries = list_cache()
    yield from (Candidate(entry.name, entry.contents) for entry in entries)
    yield from (Candidate(CONVERTED_MODELS, "all converted models") for entry in entries[:1] if entry.model)
    yield from (Candidate(entry.model, "converted models") for entry in entries if entry.model)


def _history_entries(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.api.history_access import run_query
    from artgen.image_history.query import HistoryQuery

    for entry in run_query(HistoryQuery(limit=MAX_HISTORY_ENTRIES)):
        yield Candidate(str(entry.id), entry.prompt or entry.path.name)


def _tags(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    from artgen.api.history_access import opened_history

    with opened_history() as history:
        for name, count in [] if history is None else history.list_tags():
            yield Candidate(name, counted(count, "image"))


def _devices(typed: str) -> Iterator[Candidate]:  # noqa: ARG001
    yield from (Candidate(name) for name in ("auto", "cpu", "cuda", "cuda:0", "mps"))


def _fast(typed: str) -> Iterator[Candidate]:
    """Yield comma-separated lists: the typed list with one more name."""
    from artgen.spec.fast import APPROXIMATIONS

    *first, _ = typed.split(",")
    for name, entry in APPROXIMATIONS.items():
        if name not in first:
            yield Candidate(",".join([*first, name]), entry.summary)


def _controls(typed: str) -> Iterator[Candidate]:
    """Yield the kinds of control images, then the images of the typed folder, then the keys after a comma."""
    from artgen.images import IMAGE_SUFFIXES
    from artgen.spec.control import CONTROL_KEYS, CONTROL_KINDS

    kind, equals, path = typed.partition("=")
    if not equals:
        yield from (Candidate(f"{each}=") for each in CONTROL_KINDS)
        return
    if "," in path:
        first = typed.rpartition(",")[0]
        yield from (Candidate(f"{first},{key}=") for key in CONTROL_KEYS)
        return
    folder = path[: path.rfind("/") + 1]
    with os.scandir(os.path.expanduser(folder) or ".") as found:  # noqa: PTH111 - does not raise
        for each in sorted(found, key=lambda each: each.name):
            if each.is_dir() or os.path.splitext(each.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - a name
                yield Candidate(f"{kind}={folder}{each.name}{'/' if each.is_dir() else ''}")


KINDS: Mapping[str, Callable[[str], Iterable[Candidate]]] = {
    "schedulers": _schedulers,
    "models": _models,
    "model names": _models,
    "aliases": _aliases,
    "families": _families,
    "loras": _files("lora"),
    "vaes": _files("vae"),
    "embeddings": _files("embedding"),
    "styles": _styles,
    "filters": _filters,
    "presets": _presets,
    "cache": _cache_entries,
    "controls": _controls,
    "devices": _devices,
    "history entries": _history_entries,
    "tags": _tags,
    "fast": _fast,
    "upscalers": _upscalers,
}
"""Functions that list the values of each kind. `Setting.values` contains a key, or `files` or `folders`."""
