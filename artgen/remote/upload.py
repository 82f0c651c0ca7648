"""Convert a request to the JSON and the files of a job of a server."""

import json
import os
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from artgen._version import __version__
from artgen.errors import UsageError
from artgen.images.decoding import MAX_FILE_BYTES
from artgen.jobs.replay_remote import sent_provenance
from artgen.spec.base_requests import Request
from artgen.spec.fields import non_default_settings, path_settings, settings_of
from artgen.spec.records import to_record
from artgen.spec.refiner import parse_refiner
from artgen.spec.wildcards import has_wildcards
from artgen.system.input_files import read_input

_FACTS = ("prompt_template", "negative_prompt_template", "prompt_choices", "prompt_styles")
"""Provenance of prompts that this machine expanded."""

_NAMED = ("model", "vae", "upscale_model", "hires_model", "mask_model", "score_model")
"""Settings that name a model and nothing else."""

_WEIGHT_SUFFIXES = (".safetensors", ".gguf", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class Upload:
    """Store a job as it is sent to a server.

    Attributes:
        values: the job, as a line of a `.jsonl` prompt file. `upload:NAME` in a value names a file.
        files: name -> file name and content.
        facts: values of the record that only this machine has: the names of the input files, of presets and styles,
            and the prompts before their expansion.
    """

    values: Mapping[str, Any]
    files: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def body(self) -> tuple[bytes, str]:
        """Return the body of the request and its content type: JSON, or multipart/form-data with files."""
        text = json.dumps(self.values, ensure_ascii=False).encode()
        if not self.files:
            return text, "application/json"
        boundary = f"artgen-{secrets.token_hex(16)}"
        parts = [_part(boundary, 'name="job"', "application/json", text)]
        for name, (file_name, content) in self.files.items():
            quoted = file_name.replace("\\", "_").replace('"', "%22").replace("\r", "_").replace("\n", "_")
            parts.append(_part(boundary, f'name="{name}"; filename="{quoted}"', "application/octet-stream", content))
        return b"".join((*parts, f"--{boundary}--\r\n".encode())), f"multipart/form-data; boundary={boundary}"


def _part(boundary: str, disposition: str, content_type: str, content: bytes) -> bytes:
    head = f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\nContent-Type: {content_type}\r\n\r\n"
    return head.encode("utf-8", "replace") + content + b"\r\n"


class _Files:
    """Collect the files of a job. A file that several settings name is sent once."""

    def __init__(self) -> None:
        self.found: dict[str, tuple[str, bytes]] = {}
        self._names: dict[str, str] = {}

    def add(self, path: Path, prefix: str) -> Path:
        """Add a file, and return the value that names it."""
        if str(path) not in self._names:
            name = f"{prefix}{len(self.found)}"
            self.found[name] = (unicodedata.normalize("NFC", path.name), read_input(path, MAX_FILE_BYTES))
            self._names[str(path)] = name
        return Path(f"upload:{self._names[str(path)]}")


def to_upload(request: Request, recorded: Mapping[str, Any] | None = None) -> Upload:
    """Return the job of a request. Read its input files.

    Args:
        request: request whose styles, wildcards and variants are replaced. The server replaces LoRA tags and names of
            embeddings, unless the prompts are of a record, which is final.
        recorded: record of the image that is generated again. The server finds local files by their hashes.

    Raises:
        UsageError: a setting names a file of a model on this machine, or has no effect on a server.
        InputFileError: an input file cannot be read.
    """
    check_remote(request)
    unsent = {"preset", *request.unused_settings}
    values = {name: value for name, value in non_default_settings(request).items() if name not in unsent}
    files = _Files()
    for name in path_settings(type(request)):
        if (path := values.get(name)) is not None:
            values[name] = str(files.add(path, name))
    for name, specs in (("control", request.controls), ("image_prompt", request.image_prompts)):
        if name in values:
            values[name] = [str(_with_uploads(spec, files, name)) for spec in specs]
    if "reference" in values and "reference" not in path_settings(type(request)):
        values["reference"] = [str(files.add(Path(each), "reference")) for each in values["reference"]]
    expansion = getattr(request, "expansion", None)
    if recorded is not None:
        rules = {name: getattr(request, name) for name in ("prompt_weights", "long_prompt") if hasattr(request, name)}
        values |= {"artgen": __version__, **rules, **sent_provenance(recorded)}
    elif expansion is not None and not expansion.has_tags:
        values["final_prompts"] = True
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    return Upload({"task": request.task, **values}, files.found, _facts(request))


def _with_uploads(spec: Any, files: _Files, prefix: str) -> Any:
    changes = {"image": files.add(spec.image, prefix)}
    if getattr(spec, "mask", None) is not None:
        changes["mask"] = files.add(spec.mask, prefix)
    return spec._replace(**changes)


def _facts(request: Request) -> dict[str, Any]:
    """Return the values of the record that only this machine has."""
    record = to_record(request)
    names = {*_FACTS, *path_settings(type(request)), "preset", "reference"} & record.keys()
    return {**request.unknown_fields, **{name: record[name] for name in names}}


def check_remote(request: Request) -> None:
    """Check that a server can run a request.

    Raises:
        UsageError: a setting names a file of a model on this machine, or has no effect on a server.
    """
    if getattr(request, "save_mask", None) is not None:
        raise UsageError(
            "Cannot combine --save-mask and --server: a server returns only the image.",
            f'artgen mask {request.input_paths.get("image")} "{getattr(request, "mask_text", "")}" -o mask.png',
            settings=("save_mask",),
        )
    for name, text in _model_names(request):
        if is_local_file(text):
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"Cannot use '{text}' for {option} with --server: the server reads models only from its own disks.",
                "Use a name that the server knows, such as a hub id or the name of a file in its model_folders: "
                f"{option} {PurePath(text).name}",
                settings=(name,),
            )
    expansion = getattr(request, "expansion", None)
    if expansion is not None and (expansion.choices or expansion.styles):
        for name in ("prompt", "negative_prompt"):
            if has_wildcards(text := getattr(request, name)) and getattr(request, "prompt_weights", None) != "none":
                raise UsageError(
                    f"Cannot send the {name} to a server: after the choice of its wildcards, it contains characters of "
                    f"wildcards: {text[:80]!r}.",
                    "Remove the characters { } and __ from the texts, or use --server none.",
                )


def _model_names(request: Request) -> Iterator[tuple[str, str]]:
    """Yield the settings that name models, and their names."""
    declared = settings_of(type(request))
    for name in _NAMED:
        if name in declared and (value := getattr(request, name)) is not None:
            yield name, str(value)
    if (refiner := getattr(request, "refiner", None)) is not None:
        yield "refiner", parse_refiner(refiner)[0]
    for setting, specs in (("lora", request.loras), ("embedding", request.embeddings)):
        yield from ((setting, each.name) for each in specs)
    for setting, parts in (("control", request.controls), ("image_prompt", request.image_prompts)):
        yield from ((setting, each.model) for each in parts if each.model is not None)


def is_local_file(text: str) -> bool:
    """Return whether a name of a model is a path on this machine, and not a name on a server."""
    if text.startswith(("/", "./", "../", "~", ".\\", "..\\")) or text[1:3] == ":\\":
        return True
    is_path = "/" in text or os.sep in text or text.lower().endswith(_WEIGHT_SUFFIXES)
    return is_path and os.path.exists(text)  # noqa: PTH110 - Path.exists raises for long names
