"""Record the marks of AI generation of the input images of a request, so that the output keeps a mark."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artgen.metadata.input_marks import InputMarks, combined_source_type, find_marks
from artgen.metadata.writing import INPUT_MANIFESTS, INPUT_SOURCE_TYPE
from artgen.spec.base_requests import Request
from artgen.system.input_files import is_stdin

if TYPE_CHECKING:
    from artgen.jobs.inputs import InputImages

_MASKS = ("mask",)


def add_marks(found: "InputImages", request: Request) -> "InputImages":
    """Return input images with the marks of their files in the provenance, and notes about marks that are replaced.

    The marks of the images whose pixels are in the result select its digital source type. Control images, image prompts
    and masks only add the names of files with C2PA manifests.
    """
    pixels = _pixel_files(request)
    marks = {path: find_marks(path) for path in dict.fromkeys((*pixels, *_other_files(request)))}
    provenance: dict[str, Any] = {}
    if source_type := combined_source_type(marks[path] for path in pixels):
        provenance[INPUT_SOURCE_TYPE] = source_type
    if names := [_name(path) for path, each in marks.items() if each.has_manifest]:
        provenance[INPUT_MANIFESTS] = names
    if not provenance:
        return found
    notes = tuple(note for path in pixels for note in _replacement_notes(path, marks[path]))
    return replace(found, provenance={**found.provenance, **provenance}, notes=(*found.notes, *notes))


def _pixel_files(request: Request) -> list[Path]:
    files = [path for name, path in request.input_paths.items() if name not in _MASKS]
    return files + [Path(each) for each in getattr(request, "reference", ())]


def _other_files(request: Request) -> list[Path]:
    masks = [path for name, path in request.input_paths.items() if name in _MASKS]
    prompts = [path for spec in request.image_prompts for path in (spec.image, spec.mask) if path is not None]
    return masks + [spec.image for spec in request.controls] + prompts


def _replacement_notes(path: Path, marks: InputMarks) -> tuple[str, ...]:
    """Return a note about a mark in the pixels, which the model removes."""
    if not marks.is_in_pixels:
        return ()
    text = f"'{_name(path)}' has {marks.origin} in its pixels, which is not copied."
    return (f"{text} The output has IPTC's mark of AI generation.",)


def _name(path: Path) -> str:
    return "stdin" if is_stdin(path) else path.name
