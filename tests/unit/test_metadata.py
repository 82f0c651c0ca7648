"""Test that artgen and an independent reader read the written metadata, and that hostile files are rejected."""

import json
import re
import struct
import zlib
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from sd_parsers import ParserManager

from artgen import metadata
from artgen.errors import InputFileError, UsageError

RECORD: dict[str, object] = {
    "task": "txt2img",
    "prompt": "a red fox, oil",
    "negative_prompt": "blurry",
    "seed": 42,
    "steps": 20,
    "guidance_scale": 7.0,
    "scheduler": "dpm++2m",
    "sigmas": "karras",
    "strength": 0.5,
    "width": 512,
    "height": 640,
    "model": "v1-5",
    "model_hash": "6ce0161689" + "0" * 54,
    "artgen": "0.1",
}
FORMATS = ["png", "jpeg", "webp"]
UNUSUAL_CHARACTERS = st.sampled_from("\ud800\udfff\udc80\ufffe\uffff\0\x01\x1b\x7f\x85\u2028<&>]\"'\\\r\n狐🦊")
UNICODE = st.text(st.characters() | UNUSUAL_CHARACTERS, max_size=80).filter(
    # Two surrogates that form a pair are one character in every file.
    lambda text: re.search("[\ud800-\udbff][\udc00-\udfff]", text) is None
)
fast = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def save_image(path: Path, record: dict[str, object], kind: str, level: str = "full") -> Path:
    save_args = metadata.image_save_args(record, kind, level)
    Image.new("RGB", (4, 4), "teal").save(path, kind, **save_args.save_kwargs)
    if save_args.sidecar is not None:
        metadata.sidecar_path(path).write_text(save_args.sidecar, "utf-8")
    return path


@pytest.mark.parametrize("kind", FORMATS)
@fast
@given(prompt=UNICODE, negative=UNICODE, model=UNICODE, seed=st.integers(0, 2**64 - 1))
def test_any_text_round_trips(tmp_path: Path, kind: str, prompt: str, negative: str, model: str, seed: int) -> None:
    record = {**RECORD, "prompt": prompt, "negative_prompt": negative, "seed": seed, "model": model}
    found = metadata.read_metadata(save_image(tmp_path / f"fox.{kind}", record, kind))
    assert found.source == "artgen"
    assert found.record == record
    assert list(found.record) == list(record)
    assert found.fields is found.record
    assert found.external is not None
    assert found.external.fields["seed"] == seed


def _plain_prompt(text: str) -> bool:
    return "Negative prompt:" not in text and text == text.strip() and "\0" not in text and "\r" not in text


PLAIN = st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(_plain_prompt)


@fast
@given(prompt=PLAIN, negative=PLAIN, model=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
def test_a1111_text_round_trips(prompt: str, negative: str, model: str) -> None:
    assume(model == model.strip() == metadata.a1111.public_model_name(model))
    record = {**RECORD, "prompt": prompt, "negative_prompt": negative, "model": model}
    parsed = metadata.parse_a1111(metadata.format_a1111(record)).fields
    expected = {**record, "scheduler": "DPM++ 2M", "model_hash": "6ce0161689"}
    for name in ("task", "artgen", *(key for key in ("negative_prompt", "model") if not expected[key])):
        del expected[name]
    assert parsed == {**expected, "task": "img2img", "prompt_weights": "a1111"}  # a text with a denoising strength


def test_a1111_text_has_the_common_format() -> None:
    assert metadata.format_a1111(RECORD) == (
        "a red fox, oil\n"
        "Negative prompt: blurry\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 42, Size: 512x640, "
        "Model hash: 6ce0161689, Model: v1-5, Denoising strength: 0.5, RNG: CPU, Version: artgen 0.1"
    )
    odd = metadata.format_a1111({"prompt": "x", "steps": 1, "model": "a, b: c", "artgen": "0.1"})
    assert odd == 'x\nSteps: 1, Sampler: Unknown, Model: "a, b: c", RNG: CPU, Version: artgen 0.1'
    assert "Model: fox," in metadata.format_a1111({**RECORD, "model": "/home/ada/models/fox.safetensors"})
    assert "Model: ada/fox," in metadata.format_a1111({**RECORD, "model": "ada/fox"})


PARSED_IMAGES: list[Image.Image] = []
"""The independent reader caches results by `id(image)`, so the images must stay alive during the tests."""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("prompt", "negative"),
    [("a red fox, oil", "blurry"), ("狐, 🦊 (x:1.2)", ""), ("two\nlines", "three\nmore: lines"), ("Steps: 9", "a")],
)
def test_independent_reader_reads_all_fields(tmp_path: Path, kind: str, prompt: str, negative: str) -> None:
    record = {**RECORD, "prompt": prompt, "negative_prompt": negative}
    PARSED_IMAGES.append(Image.open(save_image(tmp_path / f"fox.{kind}", record, kind)))
    info = ParserManager().parse(PARSED_IMAGES[-1])
    assert info is not None
    (sampler,) = info.samplers
    assert [p.value for p in sampler.prompts] == [prompt]
    assert [p.value for p in sampler.negative_prompts] == ([negative] if negative else [])
    assert sampler.name == "DPM++ 2M"
    assert sampler.parameters == {"scheduler": "Karras", "cfg_scale": "7", "seed": "42", "steps": "20"}
    assert sampler.model is not None
    assert (sampler.model.name, sampler.model.hash) == ("v1-5", "6ce0161689")


def test_the_last_parameter_line_is_parsed() -> None:
    old = "Steps: 1, Sampler: Euler, Seed: 1, CFG scale: 1"
    record = {**RECORD, "prompt": f"copied\n{old}\nfrom elsewhere", "negative_prompt": old}
    parsed = metadata.parse_a1111(metadata.format_a1111(record)).fields
    assert (parsed["prompt"], parsed["negative_prompt"]) == (record["prompt"], old)
    assert (parsed["steps"], parsed["seed"]) == (20, 42)


def test_a1111_text_of_other_tools_is_parsed() -> None:
    text = (
        "masterpiece, Steps: to heaven\nSteps: one, two\n<lora:a:0.5>\r\n"
        "Negative prompt: bad\nNegative prompt: worse\n"
        "Steps: 30, Sampler: DPM++ 2M Karras, CFG scale: 5.5, Seed: 7, Size: 512x768, Model: some, model, "
        'Lora hashes: "a: 0123456789ab, b: 2", Hashes: {"model": "abc", "lora:a": "def"}, '
        "image: /etc/passwd, ENSD: 31337, "
        "Schedule type: Automatic, Version: v1.10"
    )
    record = metadata.parse_a1111(text)
    found, other = record.fields, record.other
    assert found["prompt"] == "masterpiece, Steps: to heaven\nSteps: one, two"
    assert record.loras == (metadata.RecordedFile("a", "0123456789ab", 0.5),)
    assert found["negative_prompt"] == "bad\nNegative prompt: worse"
    assert (found["steps"], found["seed"], found["guidance_scale"]) == (30, 7, 5.5)
    assert (found["scheduler"], found["sigmas"]) == ("DPM++ 2M", "karras")
    assert (found["width"], found["height"]) == (512, 768)
    assert found["model"] == "some, model"
    assert other["Lora hashes"] == "a: 0123456789ab, b: 2"
    assert json.loads(other["Hashes"]) == {"model": "abc", "lora:a": "def"}
    assert record.features == (metadata.features.make_feature("sampler options", "ENSD: 31337"),)
    assert "image" not in found
    assert other["image"] == "/etc/passwd"
    odd = metadata.parse_a1111("Steps: x, Seed: ten, CFG scale: inf, Size: big, Sampler: Euler")
    assert odd.fields == {"prompt": "", "scheduler": "Euler", "prompt_weights": "a1111"}
    assert metadata.parse_a1111("just words").fields == {"prompt": "just words", "prompt_weights": "a1111"}


@fast
@given(st.text(st.sampled_from('Steps: 1, Sampler"{}[]\\\nNegative prompt:x'), max_size=80))
def test_parsing_a1111_text_never_raises(text: str) -> None:
    for key, value in metadata.parse_a1111(text).fields.items():
        assert isinstance(value, str | int | float)
        assert isinstance(key, str)


@pytest.mark.parametrize("kind", FORMATS)
def test_images_contain_the_digital_source_type(tmp_path: Path, kind: str) -> None:
    for number, (changes, source_type) in enumerate(
        [({}, b"/trainedAlgorithmicMedia"), ({"task": "inpaint"}, b"/compositeWithTrainedAlgorithmicMedia")]
    ):
        for level in ("full", "minimal"):
            path = save_image(tmp_path / f"{level}{number}.{kind}", {**RECORD, **changes}, kind, level)
            with Image.open(path) as image:
                assert source_type in image.info["xmp"]
                tree = ElementTree.fromstring(image.info["xmp"])
            element = tree.find(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
            assert element is not None


@pytest.mark.parametrize("kind", FORMATS)
def test_metadata_levels(tmp_path: Path, kind: str) -> None:
    secret = {**RECORD, "model": "/home/ada/fox.safetensors", "prompt": "PRIVATE", "seed": 987654321}
    minimal = save_image(tmp_path / f"minimal.{kind}", secret, kind, "minimal")
    data = minimal.read_bytes()
    for private in (b"PRIVATE", "PRIVATE".encode("utf-16-be"), b"987654321", b"ada"):
        assert private not in data
    assert metadata.read_metadata(minimal).record == {"artgen": "0.1", "model": "fox"}
    none = save_image(tmp_path / f"none.{kind}", secret, kind, "none")
    plain = tmp_path / f"plain.{kind}"
    Image.new("RGB", (4, 4), "teal").save(plain, kind)
    assert none.read_bytes() == plain.read_bytes()
    with pytest.raises(InputFileError, match="contains no generation metadata"):
        metadata.read_metadata(none)
    for image_format, level in (("gif", "full"), ("png", "most")):
        with pytest.raises(UsageError):
            metadata.image_save_args(RECORD, image_format, level)


@pytest.mark.parametrize("character", ["x", "狐", "🦊", "&", "\x01"])
@pytest.mark.parametrize("count", [9_000, 15_900, 16_100, 31_000, 32_500, 70_000])
def test_record_too_large_for_jpeg_is_in_the_sidecar(tmp_path: Path, character: str, count: int) -> None:
    record = {**RECORD, "prompt": character * count}
    path = save_image(tmp_path / "fox.jpg", record, "jpeg")
    sidecar = metadata.sidecar_path(path)
    assert sidecar.exists() == metadata.needs_sidecar(record, "jpeg", "full")
    if count >= 32_500:
        assert sidecar.exists()
    if count <= 9_000 and character in "x狐":
        assert not sidecar.exists()
    found = metadata.read_metadata(path)
    assert found.record == record
    assert found.source == ("sidecar" if sidecar.exists() else "artgen")
    with Image.open(path) as image:
        assert b"trainedAlgorithmicMedia" in image.info["xmp"]
    for kind in ("png", "webp"):
        assert not metadata.needs_sidecar(record, kind, "full")
        assert metadata.read_metadata(save_image(tmp_path / f"fox.{kind}", record, kind)).record == record
    assert not metadata.needs_sidecar(record, "jpeg", "minimal")


def test_huge_records_use_the_sidecar(tmp_path: Path) -> None:
    record = {**RECORD, "prompt": "x" * 2_000_000}
    for kind in FORMATS:
        assert metadata.needs_sidecar(record, kind, "full")
        assert metadata.read_metadata(save_image(tmp_path / f"fox.{kind}", record, kind)).record == record
    with pytest.raises(UsageError, match="the limit is"):
        metadata.needs_sidecar({"prompt": "x" * 9_000_000}, "png", "full")


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, late: tuple[bytes, ...] = ()) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + pixels + b"".join(late) + chunk(b"IEND", b"")


def itxt(name: bytes, text: bytes, packed: bool = False) -> bytes:
    return chunk(b"iTXt", name + b"\0" + (b"\1" if packed else b"\0") + b"\0\0\0" + text)


NESTED_JSON = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
HOSTILE = {
    "long": itxt(b"artgen", b'{"prompt": "' + b"x" * 10_000_000 + b'"}'),
    "bomb": itxt(b"artgen", zlib.compress(b" " * 20_000_000, 9), packed=True),
    "zbomb": chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b" " * 20_000_000, 9)),
    "nested": itxt(b"artgen", NESTED_JSON),
    "nested-graph": itxt(b"prompt", NESTED_JSON),
    "list": itxt(b"artgen", b"[1, 2]"),
    "number": itxt(b"artgen", b"9" * 5000),
    "infinity": itxt(b"artgen", b'{"steps": Infinity}'),
    "float": itxt(b"artgen", b'{"steps": 1e999}'),
    "broken": itxt(b"artgen", b"\xff\xfe{}"),
    "short": chunk(b"iTXt", b"artgen"),
    "empty": itxt(b"artgen", b""),
    "doctype": itxt(b"artgen", b'<!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_images_are_rejected_quickly(tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.png"
    path.write_bytes(png(HOSTILE[name]))
    with pytest.raises(InputFileError) as caught:
        metadata.read_metadata(path)
    assert str(path) in caught.value.message
    assert len(caught.value.message) < 500
    path.write_bytes(png(HOSTILE[name], itxt(b"parameters", metadata.format_a1111(RECORD).encode())))
    if name != "zbomb":
        assert metadata.read_metadata(path).source == "a1111"


def test_all_values_of_a_record_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "mixed.png"
    path.write_bytes(
        png(itxt(b"artgen", b'{"prompt": "x", "new": {"a": [{"b": 1}]}, "lora": ["a", "b"], "seed": null}'))
    )
    found = metadata.read_metadata(path)
    assert found.record == {"prompt": "x", "new": {"a": [{"b": 1}]}, "lora": ["a", "b"], "seed": None}
    assert found.notes == ()


def test_text_after_the_pixels_and_in_old_chunk_types_is_read(tmp_path: Path) -> None:
    text = metadata.format_a1111({**RECORD, "prompt": "Füchse"})
    path = tmp_path / "late.png"
    for body in (
        chunk(b"tEXt", b"parameters\0" + text.encode("latin-1")),
        chunk(b"tEXt", b"parameters\0" + text.encode("utf-8")),
        chunk(b"zTXt", b"parameters\0\0" + zlib.compress(text.encode("latin-1"))),
        itxt(b"parameters", zlib.compress(text.encode("utf-8")), packed=True),
    ):
        path.write_bytes(png(late=(body,)))
        found = metadata.read_metadata(path)
        assert found.source == "a1111"
        assert found.fields["prompt"] == "Füchse"


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-16-le", "utf-16"])
def test_exif_comments_in_both_byte_orders_are_read(tmp_path: Path, encoding: str) -> None:
    text = metadata.format_a1111({**RECORD, "prompt": "一一一 fox"})
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + text.encode(encoding)}
    path = tmp_path / "fox.jpg"
    Image.new("RGB", (4, 4)).save(path, exif=exif)
    assert metadata.read_metadata(path).fields["prompt"] == "一一一 fox"


GRAPH = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": ["20", 0], "steps": 25, "cfg": 6, "sampler_name": "dpmpp_2m", "scheduler": "karras", "denoise": 1,
            "model": ["10", 0], "positive": ["11", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red fox", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["21", 0], "clip": ["10", 1]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "x", "model": ["4", 0], "clip": ["4", 1]}},
    "11": {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0], "strength": 1.0}},
    "20": {"class_type": "PrimitiveInt", "inputs": {"value": 99}},
    "21": {"class_type": "PrimitiveString", "inputs": {"value": "blurry"}},
}  # fmt: skip
GRAPH_FIELDS = {
    "prompt": "a red fox", "negative_prompt": "blurry", "seed": 99, "steps": 25, "guidance_scale": 6.0,
    "scheduler": "dpmpp_2m", "sigmas": "karras", "width": 512, "height": 768, "model": "v1-5.safetensors",
    "prompt_weights": "comfy",
}  # fmt: skip


def test_comfy_graphs_are_read(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("prompt", json.dumps(GRAPH))
    Image.new("RGB", (4, 4)).save(tmp_path / "comfy.png", pnginfo=info)
    found = metadata.read_metadata(tmp_path / "comfy.png")
    assert found.source == "comfyui"
    assert found.fields == GRAPH_FIELDS
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(GRAPH)
    Image.new("RGB", (4, 4)).save(tmp_path / "comfy.webp", exif=exif)
    assert metadata.read_metadata(tmp_path / "comfy.webp").fields == GRAPH_FIELDS
    (tmp_path / "graph.json").write_text(json.dumps(GRAPH))
    assert metadata.read_metadata(tmp_path / "graph.json").fields == GRAPH_FIELDS


def test_comfy_workflows_are_read() -> None:
    workflow = {
        "nodes": [
            {
                "id": 3, "type": "KSampler", "widgets_values": [5, "fixed", 20, 8.0, "euler", "normal", 0.6],
                "inputs": [{"name": "positive", "link": 1}, {"name": "negative", "link": 2}, {"name": "model"}],
            },
            {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a fox"]},
            {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["bad"]},
        ],
        "links": [[1, 6, 0, 3, 1, "CONDITIONING"], [2, 7, 0, 3, 2, "CONDITIONING"]],
    }  # fmt: skip
    found = metadata.parse_comfy(None, workflow)
    assert found is not None
    assert found.fields == {
        "prompt": "a fox", "negative_prompt": "bad", "seed": 5, "steps": 20, "guidance_scale": 8.0,
        "scheduler": "euler", "sigmas": "normal", "strength": 0.6, "prompt_weights": "comfy",
    }  # fmt: skip


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 30) | st.floats() | st.sampled_from(["3", "KSampler", "text"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["3", "class_type", "inputs", "positive", "seed", "nodes", "links"]), inner)
    ),
    max_leaves=20,
)


@fast
@given(JSON, JSON)
def test_parsing_random_graphs_never_raises(prompt: object, workflow: object) -> None:
    metadata.parse_comfy(prompt, workflow)
    metadata.parse_comfy({"3": {"class_type": "KSampler", "inputs": prompt}}, workflow)


def test_cyclic_graph_is_parsed() -> None:
    nodes = {"3": {"class_type": "KSampler", "inputs": {"positive": ["4", 0], "seed": 10**400, "cfg": 10**400}}}
    nodes["4"] = {"class_type": "Loop", "inputs": {"conditioning": ["4", 0], "other": ["3", 0]}}
    found = metadata.parse_comfy(nodes)
    assert found is not None
    assert not found.has_prompt


def test_text_files_and_records_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fox.txt"
    path.write_text("\ufeff" + metadata.format_a1111(RECORD).replace("\n", "\r\n"), "utf-8")
    assert metadata.read_metadata(path).fields["seed"] == 42
    path.write_text("only a text", "utf-8")
    with pytest.raises(InputFileError):
        metadata.read_metadata(path)
    path = tmp_path / "fox.json"
    path.write_text(json.dumps(RECORD), "utf-8")
    assert metadata.read_metadata(path).record == RECORD


def test_unreadable_files_are_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "bin").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "cut.png").write_bytes(png()[:30])
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe1")
    with (tmp_path / "big.txt").open("wb") as file:
        file.truncate(9 << 20)
    for name in ("missing.png", "", "empty.png", "bin", "cut.png", "cut.jpg", "big.txt"):
        with pytest.raises(InputFileError) as caught:
            metadata.read_metadata(tmp_path / name)
        assert str(tmp_path / name) in caught.value.message


def test_damaged_or_huge_sidecar_gives_a_note(tmp_path: Path) -> None:
    path = save_image(tmp_path / "fox.jpg", RECORD, "jpeg", "minimal")
    sidecar = metadata.sidecar_path(path)
    for content in (b"{", b"\xff\xff", b"[]"):
        sidecar.write_bytes(content)
        found = metadata.read_metadata(path)
        assert found.source == "artgen"
        assert found.notes
    with sidecar.open("wb") as file:
        file.truncate(9 << 20)
    assert "is ignored" in metadata.read_metadata(path).notes[0]
