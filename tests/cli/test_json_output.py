"""Test the objects of `--json` against their JSON Schemas, and `--json-schema`."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import other_tools
import pytest
import tiny_loras
import torch
from command_line import FAST, run, save_inputs_of_all_commands
from history_entries import add_image
from jsonschema import Draft202012Validator
from typer.testing import Result

from artgen.cli.json_output import json_output
from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.system.paths import user_cache_folder

TINY = ("-m", "tiny", *FAST)
DENOISE = ("denoise", "in.png", "--method", "tv")
TRAIN = ("train", "photos", "--resolution", "32", "--dry-run", "-o")

PRINTED_OBJECTS = [
    (1, "txt2img", "(red:1.2) {fox|cat}", "-n", "dog", *TINY, "--dry-run"),
    (1, "txt2img", "x", *TINY, "--best-of", "2", "--hires", "1.5:1", "--seamless", "x", "-o", "best.png"),
    (1, "txt2img", "x", *TINY, "--seed", str(2**64 - 1), "-o", "fox.png", "--frames", "frames/"),
    (2, "txt2img", "x", *TINY, "--sweep", "steps=1,2", "-o", "sweep/"),
    (2, "img2img", "photos", "x", *TINY, "--strength", "0.5", "-o", "out/", "--dry-run"),
    (1, "inpaint", "in.png", "x", "--mask", "mask.png", *TINY, "-o", "a.png"),
    (1, "outpaint", "in.png", "x", "--expand", "8", *TINY, "--dry-run"),
    (1, "sample", "-m", "denoiser", "--steps", "1", "-o", "a.png"),
    (1, "upscale", "in.png", "--dry-run"),
    (1, "upscale", "in.png", "-o", "large.png"),
    (1, "upscale", "in.png", "--method", "redraw", *TINY, "--strength", "0.5", "--dry-run"),
    (1, *DENOISE, "--dry-run"),
    (1, *DENOISE, "-o", "a.png", "--reference", "in.png", "--compare", "compare.png"),
    (1, "noise", "in.png", "--frames", "noise.gif"),
    (1, "control", "gray", "in.png"),
    (1, "noise", "in.png", "--dry-run"),
    (2, "anomaly", "photos", "--map", "maps/"),
    (2, "anomaly", "photos", "--dry-run"),
    (2, "batch", "prompts.txt", *TINY, "-o", "batch/"),
    (1, "batch", "status", "done"),
    (2, "batch", "verify", "done"),
    (1, *TRAIN, "x.safetensors"),
    (1, *TRAIN, "x", "--mode", "scratch"),
    (2, "rank", "photos", "--prompt", "x", "-m", "tiny"),
    (2, "reconstruct", "photos", "-m", "tiny"),
    (1, "gallery", "photos"),
    (1, "sheet", "in.png"),
    (1, "sheet", "in.png", "--repeat", "2x2"),
    (1, "info", "record.json"),
    (1, "info", "a1111.txt"),
    (1, "info", "embedding.safetensors"),
    (1, "verify", "trained.safetensors"),
    (1, "replay", "record.json", "--dry-run"),
    (1, "morph", "record.json", "record.json", "--dry-run"),
    (2, "variations", "in.png", "--set", "model=tiny", "--count", "2", "--dry-run"),
    (None, "models", "list"),
    (3, "models", "recommend", "--memory", "12GiB", "--limit", "3"),
    (1, "models", "show", "tiny"),
    (1, "models", "show", "denoiser"),
    (1, "models", "show", "sdxl"),
    (1, "models", "words", "tiny"),
    (1, "models", "pull", "tiny"),
    (None, "models", "verify", "tiny"),
    (1, "models", "convert", "embedding.pt", "-o", "new.safetensors"),
    (1, "models", "path", "tiny"),
    (None, "schedulers"),
    (1, "prompt", "a (red:1.2) {fox|cat} BREAK [a:b:0.5] AND x", "-n", "dog", "-m", "tiny"),
    (1, "prompt", "a fox", "-m", "sdxl"),
    (1, "styles"),
    (1, "doctor"),
    (1, "config", "show"),
    (1, "config", "list"),
    (1, "config", "get", "style_folder"),
    (1, "config", "get", "steps"),
    (1, "config", "path"),
    (1, "history", "search"),
    (1, "history", "show", "1"),
    (1, "history", "rate", "1", "4"),
    (1, "history", "tag", "1", "winter"),
    (1, "history", "forget", "1"),
    (1, "history", "export"),
    (1, "history", "import", "marks.jsonl"),
    (1, "history", "scan", "photos"),
    (1, "preset", "list"),
    (1, "sign", "init"),
    (1, "sign", "show"),
    (1, "worker", "status"),
    (1, "preset", "show", "small"),
    (None, "cache", "list"),
    (1, "cache", "clear", "--yes"),
]
"""Number of objects (None: several) and arguments of command lines that print JSON."""

GROUPS = ("models", "batch", "config", "history", "preset", "sign", "worker", "cache")


def command_name(arguments: tuple[str, ...]) -> tuple[str, ...]:
    is_subcommand = arguments[0] in GROUPS and arguments[1] != "prompts.txt"
    return arguments[: 1 + is_subcommand]


def all_commands() -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in COMMAND_SUMMARIES:
        command = load_command(name)
        children = getattr(command, "commands", {})
        yield from (((name, child), each) for child, each in children.items()) if children else [((name,), command)]


def schema_of(*name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(run(*name, "--json-schema").stdout)
    Draft202012Validator.check_schema(schema)
    return schema


def without_unknown_fields(schema: Any) -> Any:
    """Return a schema that rejects fields that it does not describe."""
    if isinstance(schema, list):
        return [without_unknown_fields(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if isinstance(schema.get("properties"), dict) and "type" in schema else {}
    return closed | {key: without_unknown_fields(each) for key, each in schema.items()}


def parse_object(line: str) -> dict[str, Any]:
    """Parse a line as a strict parser does, which accepts no NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    loaded: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return loaded


def check_objects(result: Result, *name: str) -> list[dict[str, Any]]:
    """Return the printed objects, which fit the schema of a command."""
    validator = Draft202012Validator(without_unknown_fields(schema_of(*name)))
    objects = [parse_object(text) for text in result.stdout.splitlines()]
    for each in objects:
        assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(each)] == []
    return objects


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the inputs of all command lines."""
    folder = tmp_path_factory.mktemp("inputs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        save_inputs_of_all_commands()
        run("batch", "prompts.txt", *TINY, "-o", "done/", "--size", "64x64")
        Path("a1111.txt").write_text("a fox <lora:x:0.5>\nSteps: 3, Sampler: Euler, Seed: 1, Size: 64x64, ENSD: 3\n")
        torch.save({"string_to_param": {"*": torch.zeros(2, 768)}}, "embedding.pt")
        run("models", "convert", "embedding.pt")
    finally:
        os.chdir(before)
    return folder


@pytest.mark.parametrize("line", PRINTED_OBJECTS, ids=lambda line: " ".join(map(str, line[1:4])).replace("/", ""))
def test_printed_objects_fit_the_schema(line: tuple[Any, ...], inputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count, *arguments = line
    monkeypatch.chdir(inputs)
    name = command_name(tuple(arguments))
    if name == ("cache", "list"):
        user_cache_folder().mkdir(parents=True, exist_ok=True)
        for file in ("hashes.json", "load-times.json"):
            (user_cache_folder() / file).write_text("{}")
    if name == ("sign", "show"):
        run("sign", "init")
    if name[0] == "history":
        run("history", "tag", str(add_image("in.png")), "blue")
        Path("marks.jsonl").write_text(run("history", "export").stdout)
    extra = ["--overwrite"] * (name[0] in ("noise", "sheet", "reconstruct", "inpaint", "sample", "denoise", "train"))
    objects = check_objects(run(*arguments, *extra, "--json"), *name)
    assert len(objects) == count or (count is None and len(objects) > 1)
    assert all(next(iter(each)) == "schema" for each in objects)


TOOL_TEXTS = {
    "a1111": {"parameters": other_tools.A1111},
    "swarmui": {"parameters": other_tools.SWARMUI},
    "fooocus": {"fooocus_scheme": "fooocus", "parameters": other_tools.FOOOCUS},
    "invokeai": {"invokeai_metadata": other_tools.INVOKEAI},
}


@pytest.mark.parametrize("tool", TOOL_TEXTS)
def test_the_metadata_of_other_tools_fits_the_schema(tool: str) -> None:
    other_tools.write_png(Path("a.png"), TOOL_TEXTS[tool])
    (found,) = check_objects(run("info", "a.png", "--json"), "info")
    assert (found["source"], found["seed"]) == (tool, 42)


def test_loras_and_embeddings_fit_the_schema(sd1: str) -> None:
    tiny_loras.kohya_lora(Path("k.safetensors"), Path(sd1))
    tiny_loras.diffusers_lora(Path("d.safetensors"), Path(sd1))
    found = check_objects(run("info", "k.safetensors", "d.safetensors", "--json"), "info")
    assert [each["kind"] for each in found] == ["lora", "lora"]
    options = ("-m", sd1, *FAST, "--lora", "k.safetensors:0.5", "-o", "a.png")
    (image,) = check_objects(run("txt2img", "x", *options, "--json"), "txt2img")
    assert image["lora"] == ["k.safetensors:0.5"]
    check_objects(run("info", "a.png", "--json"), "info")
    check_objects(run("replay", "a.png", "-o", "b.png", "--json"), "replay")


def test_edited_images_fit_the_schema(zoo: Mapping[str, Path]) -> None:
    save_inputs_of_all_commands()
    options = ("-m", str(zoo["pix2pix"]), *FAST, "-o", "a.png", "--json")
    (image,) = check_objects(run("edit", "in.png", "make it winter", *options), "edit")
    assert image["image_guidance_scale"] == 1.5


def test_each_command_that_prints_data_has_a_schema() -> None:
    with_json = {name for name, command in all_commands() if any("--json" in each.opts for each in command.params)}
    assert with_json == {name for name, command in all_commands() if json_output(command)}
    tested = {command_name(arguments) for _, *rest in PRINTED_OBJECTS if (arguments := tuple(rest))}
    expected = {name if name != ("batch", "run") else ("batch",) for name in with_json}
    assert expected == tested | {("edit",), ("mask",)}  # above, and in tests/engine/test_text_masks.py
    without = {name for name, _ in all_commands()} - with_json
    assert without == {
        ("models", "alias"), ("models", "remove"), ("config", "set"), ("config", "unset"),
        ("preset", "save"), ("preset", "remove"), ("worker", "start"), ("worker", "stop"), ("serve",),
    }  # fmt: skip


@pytest.mark.parametrize("name", [name for name, command in all_commands() if json_output(command)], ids="-".join)
def test_each_field_of_a_schema_is_described(name: tuple[str, ...]) -> None:
    def check(schema: Any) -> None:
        if isinstance(schema, list):
            for each in schema:
                check(each)
        elif isinstance(schema, dict):
            for field, each in schema.get("properties", {}).items():
                assert each["description"].endswith("."), field
                assert "None" not in each["description"], field
            for each in schema.values():
                check(each)

    schema = schema_of(*name)
    check(schema)
    assert schema["properties"]["schema"]["const"] == 1
    assert schema["required"][0] == "schema"
    assert set(schema["required"]) <= schema["properties"].keys()


@pytest.mark.parametrize(
    "name", [(), ("models",), ("models", "alias"), ("config", "set"), ("help",), ("models", "help")], ids="-".join
)
def test_commands_without_json_refuse_json_schema(name: tuple[str, ...]) -> None:
    result = run(*name, "--json-schema", code=2)
    assert "has no --json" in result.stderr
    assert "--json-schema`." in result.stderr.splitlines()[1]
    assert not result.stdout


def test_help_with_an_unknown_option_is_refused() -> None:
    assert "Unknown option '--nope'" in run("help", "--nope", code=2).stderr
    assert "Examples:" in run("help", "--help-all").stdout


def test_the_default_subcommand_of_batch_has_a_schema() -> None:
    assert schema_of("batch") == schema_of("batch", "run")


def test_metadata_cannot_replace_fields_of_info() -> None:
    record = {"artgen": "9.0.0", "schema": 9, "task": "txt2img", "prompt": "x", "file": "/etc/passwd", "source": 1}
    Path("x.json").write_text(json.dumps({**record, "notes": "y"}))
    found = json.loads(run("info", "x.json", "--json").stdout)
    assert (found["schema"], found["record_schema"], found["file"], found["source"]) == (1, 9, "x.json", "artgen")
    assert all(any(f"'{name}'" in note for note in found["notes"]) for name in ("file", "source", "notes"))


@pytest.mark.parametrize("schema", [None, 1, 9])
def test_the_output_of_info_keeps_the_schema_of_the_record(schema: int | None) -> None:
    record = {"artgen": "0.1.0", "task": "txt2img", "prompt": "x", "seed": 3, "steps": 2, "model": "tiny"}
    Path("old.json").write_text(json.dumps(record | ({"schema": schema} if schema else {})))
    Path("printed.jsonl").write_text(run("info", "old.json", "--json").stdout)
    result = run("batch", "printed.jsonl", "--dry-run", "-o", "out/")
    assert ("it has schema 9" in result.stderr) == (schema == 9)


def test_failures_print_no_object() -> None:
    result = run("info", "missing.png", "--json", code=3)
    assert not result.stdout
    assert "missing.png" in result.stderr
    save_inputs_of_all_commands()
    result = run("info", "missing.png", "record.json", "--json", code=3)
    assert [json.loads(line)["file"] for line in result.stdout.splitlines()] == ["record.json"]


def test_a_file_name_that_is_not_utf8_is_printed_as_python_decodes_it() -> None:
    name = os.fsdecode(b"f\xffx.json")
    Path(name).write_text('{"artgen": "0.1.0", "prompt": "x"}')
    line = run("info", name, "--json").stdout
    assert line.isascii()
    assert json.loads(line)["file"] == name
