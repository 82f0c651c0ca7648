"""Convert an image of a server to a result, with the names of the files of this machine."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from artgen import images
from artgen.engine.results import GeneratedImage
from artgen.spec.base_requests import Request
from artgen.spec.control import parse_control
from artgen.spec.image_prompt import parse_image_prompt
from artgen.system.memory_file import MemoryFile


def decode_result(data: bytes, record: Mapping[str, Any], request: Request, facts: Mapping[str, Any]) -> GeneratedImage:
    """Return an image of a server as a result.

    Args:
        data: PNG file.
        record: record of the image.
        request: request of the job.
        facts: values of the record that only this machine has, see `Upload`.

    Raises:
        InputFileError: the file is not an image.
    """
    loaded = images.load_lossless(MemoryFile.create("result of the server", data))
    seed = record.get("seed")
    if isinstance(seed, int) and not isinstance(seed, bool) and seed >= 0 and request.seed is not None:
        request = request.replace(seed=seed)
    named = {**record, **facts, **_named_images(record, request)}
    return GeneratedImage(loaded.image, named, request, loaded.low_bytes)


def _named_images(record: Mapping[str, Any], request: Request) -> dict[str, list[str]]:
    """Return `control` and `image_prompt` of the record of a server with the names of the files of this machine."""
    found: dict[str, list[str]] = {}
    parts: tuple[tuple[str, Sequence[Any], Callable[[str], Any]], ...] = (
        ("control", request.controls, parse_control),
        ("image_prompt", request.image_prompts, parse_image_prompt),
    )
    for name, specs, parse in parts:
        texts = record.get(name)
        if not specs or not isinstance(texts, list) or len(texts) != len(specs):
            continue
        found[name] = []
        for text, spec in zip(map(str, texts), specs, strict=True):
            names = {
                key: Path(path.name) for key in ("image", "mask") if (path := getattr(spec, key, None)) is not None
            }
            found[name].append(str(parse(text)._replace(**names)))
    return found
