"""Define the command `artgen info`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

import typer

from artgen.cli.console import print_error, print_note, print_result
from artgen.cli.display import Display
from artgen.cli.json_output import JsonOutput
from artgen.cli.options import flatten_settings
from artgen.errors import ArtgenError
from artgen.spec.settings import ShowSettings

if TYPE_CHECKING:
    from artgen.api.info import FileInfo
    from artgen.api.verify import VerifiedFile

MAX_VALUE_CHARS = 300
"""Maximum number of characters that are printed of each value."""


class InfoFields(TypedDict):
    """Define the fields that `artgen info --json` adds to the metadata of a file.

    Attributes:
        file: path of the file, as typed.
        source: `artgen` (record in the file), `sidecar` (JSON file next to the image), `header` (file of weights),
            `c2pa` (an image with a C2PA manifest and no other metadata), or the tool that wrote the metadata, such as
            `a1111` or `comfyui`.
        notes: data that is ignored, with the reason.
        credentials: signature of the image, as `artgen verify` reports it: state, trust, signer, generator, source type
            and names of the input images. Only for images with a C2PA manifest.
        record_schema: schema number in artgen's record; null if the record has no number. Only for records of artgen.
    """

    file: str
    source: str
    notes: list[str]
    credentials: NotRequired[dict[str, str]]
    record_schema: NotRequired[int | None]


class OtherToolFields(TypedDict, total=False):
    """Define the fields of metadata of other tools besides the fields of a record.

    Attributes:
        lora_hashes: hash of each LoRA; empty if unknown.
        embedding_hashes: hash of each embedding; empty if unknown.
        features: other properties of the generation that affect the image, by name.
        other: remaining metadata, by name.
    """

    lora_hashes: list[str]
    embedding_hashes: list[str]
    features: dict[str, str]
    other: dict[str, str]


class WeightFileFields(TypedDict, total=False):
    """Define the fields of LoRAs, embeddings, upscalers, control nets and IP-Adapters.

    Attributes:
        types: types of the adapter, such as LoRA or LoKr.
        rank: rank of the LoRA, or all ranks if the layers differ.
        components: components of the pipeline that the LoRA changes.
        layers: number of layers of the LoRA, or of cross-attention layers of the IP-Adapter.
        embeddings: embeddings in the file of the LoRA.
        sha256: SHA-256 of the file.
        autov3: AutoV3 hash of the LoRA.
        datasheet_sha256: SHA-256 of the datasheet of the training images, for files of `artgen train`.
        training_licenses: number of training images of each license.
        training_images: number of training images.
        base_training: the same values for the training images of the base model, if artgen trained it.
        metadata: metadata of the safetensors header, unchanged.
        family: family of the models that the embedding fits.
        vectors: number of vectors of the embedding.
        widths: width of the vectors for each text encoder.
        class_name: class of the control net.
        control_kinds: kinds of control maps that the net reads.
        is_inpaint: whether the control net reads the masked input image.
        variant: variant of the IP-Adapter: base, plus, face or face-id.
        base_model: base model, as the source of the download states it.
        trigger_words: trigger words, as the source of the download states them.
        origin: source of the download, such as `civitai:4384`.
        scale: factor of both sides of an upscaler.
    """

    types: list[str]
    rank: int | list[int]
    components: list[str]
    layers: int
    embeddings: list[str]
    sha256: str
    autov3: str
    datasheet_sha256: str
    training_licenses: dict[str, int]
    training_images: int
    base_training: dict[str, Any]
    metadata: dict[str, str]
    family: str
    vectors: int
    widths: list[int]
    class_name: str
    control_kinds: list[str]
    is_inpaint: bool
    variant: str
    base_model: Any
    trigger_words: Any
    origin: Any
    scale: int


def _info_schema() -> dict[str, Any]:
    """Return the JSON Schema: the fields of all kinds of files. The values of a record are not validated."""
    from artgen.registry.checkpoint_content import CheckpointInfo
    from artgen.spec.json_schema import object_schema, record_properties
    from artgen.spec.requests import TASKS

    own = object_schema(InfoFields)
    recorded = {name: {"description": each["description"]} for name, each in record_properties(TASKS).items()}
    others = [object_schema(each)["properties"] for each in (CheckpointInfo, WeightFileFields, OtherToolFields)]
    return own | {"properties": others[0] | others[1] | others[2] | recorded | own["properties"]}


OUTPUT = JsonOutput(_info_schema, has_record=True)


@OUTPUT
@flatten_settings
def info(
    display_settings: ShowSettings,
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Images, sidecar files, text files of other tools, or .safetensors or .gguf files.", metavar="FILE..."
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per file.")] = False,
) -> None:
    """Print the metadata of images, LoRAs and embeddings.

    The command reads the record of artgen, the metadata of A1111, ComfyUI and other tools, C2PA manifests, and headers
    of .safetensors and .gguf files.

    artgen info fox.png
    artgen info fox.png --json
    """
    from artgen.api.info import read_info

    display = Display(display_settings)
    failures: list[ArtgenError] = []
    for file in files:
        try:
            found = read_info(file)
        except ArtgenError as error:
            display.show_file(file, reports_errors=False)  # an image without metadata
            print_error(error)
            failures.append(error)
            continue
        display.show_file(file)
        if as_json:
            _print_json(file, found)
            continue
        source = f"metadata from {_source_name(found.source)}"
        has_metadata = found.values or found.credentials
        print_note(f"'{file}': {source}." if has_metadata else f"'{file}' contains no metadata.")
        for name, value in found.values.items():
            for line in format_value(name, value):
                print_result(line)
        if found.credentials is not None:
            for name, text in _credentials(found.credentials).items():
                print_result(f"credentials.{name}: {text}")
        for note in found.notes:
            print_note(note)
    if failures:
        raise typer.Exit(failures[0].exit_code)


def _credentials(found: "VerifiedFile") -> dict[str, str]:
    """Return the short form of a verification. Empty values are left out."""
    values = {
        "state": found.state,
        "trust": found.trust,
        "signer": found.signer,
        "generator": found.generator,
        "source_type": found.source_type,
        "inputs": ", ".join(each.name for each in found.inputs),
    }
    return {name: text for name, text in values.items() if text}


def _print_json(file: Path, found: "FileInfo") -> None:
    """Print one object. Fields of the metadata with a name of `InfoFields` are left out."""
    from artgen.spec.records import recorded_schema

    source, values, notes = found.source, found.values, found.notes
    reserved = [name for name in InfoFields.__annotations__ if name in values]
    notes += tuple(f"The field '{name}' of the metadata is not printed: its name is reserved." for name in reserved)
    is_record = source in ("artgen", "sidecar")
    OUTPUT.print(
        {
            "file": file,
            "source": source,
            **({"record_schema": recorded_schema(values)} if is_record else {}),
            **({"credentials": _credentials(found.credentials)} if found.credentials else {}),
            **{name: value for name, value in values.items() if name not in reserved},
            "notes": notes,
        }
    )


def _source_name(source: str) -> str:
    from artgen.metadata.external_record import TOOL_NAMES

    return {**TOOL_NAMES, "c2pa": "a C2PA manifest"}.get(source, source)


def format_value(name: str, value: Any) -> Iterator[str]:
    """Return a value as lines: one line per key of a dictionary. Long values are truncated; `--json` is complete."""
    if isinstance(value, dict):
        for key, item in value.items():
            text = str(item)
            if len(text) > MAX_VALUE_CHARS:
                text = f"{text[:MAX_VALUE_CHARS]}... ({len(text):,} characters)"
            yield f"{name}.{key}: {text}"
    elif isinstance(value, list | tuple):
        yield f"{name}: {', '.join(map(str, value))}"
    else:
        yield f"{name}: {value}"
