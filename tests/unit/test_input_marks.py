"""Test that marks of AI generation of input images are found, and that the outputs keep them."""

import io
import json
from pathlib import Path

import other_tools
import pytest
from command_line import run
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from tiny_signatures import encoded, signed

import artgen
from artgen.metadata.containers import extract_texts
from artgen.metadata.content_credentials.create_key import create_signing_key
from artgen.metadata.input_marks import InputMarks, combined_source_type, find_marks, mark_in_memory
from artgen.metadata.writing import mark_packet, source_type
from artgen.metadata.xmp import SOURCE_TYPE
from artgen.server.a1111.image_fields import resize_images
from artgen.spec.tasks import COMPOSITE, ENHANCED, GENERATED
from artgen.system.memory_file import MemoryFile

IPTC = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
_RDF = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:i="{IPTC}" xmlns:p="http://ns.adobe.com/photoshop/1.0/"%s</rdf:RDF></x:xmpmeta>'
)


def xmp(attributes: str = "", elements: str = "") -> bytes:
    return (_RDF % f"{attributes}>{elements}</rdf:Description>").encode()


def png(*texts: tuple[str, str]) -> bytes:
    info = PngInfo()
    for name, text in texts:
        info.add_itxt(name, text)
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), "orange").save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def jpeg(packet: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), "orange").save(buffer, "JPEG", xmp=packet)
    return buffer.getvalue()


def gif(packet: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 24), "orange").save(buffer, "GIF")
    data = buffer.getvalue()
    return data[:-1] + b"\x21\xff\x0bXMP DataXMP" + packet + b"\1" + bytes(range(255, -1, -1)) + b"\0" + data[-1:]


COMFY = {
    "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["1", 1]}},
    "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "4": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler",
          "scheduler": "normal", "denoise": 1.0, "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0],
          "latent_image": ["3", 0]}},
    "5": {"class_type": "VAEDecode", "inputs": {"samples": ["4", 0], "vae": ["1", 2]}},
    "6": {"class_type": "SaveImage", "inputs": {"images": ["5", 0], "filename_prefix": "a"}},
}  # fmt: skip
URI = "http://cv.iptc.org/newscodes/digitalsourcetype/"
INPUTS: dict[str, tuple[bytes, str]] = {
    "nothing": (png(("Comment", "a photo")), ""),
    "IPTC, camera": (jpeg(xmp(f' i:DigitalSourceType="{URI}digitalCapture"')), ""),
    "IPTC, attribute": (jpeg(xmp(f' i:DigitalSourceType="{URI}trainedAlgorithmicMedia"')), GENERATED),
    "IPTC, element": (
        jpeg(xmp(elements=f"<i:DigitalSourceType>{URI}{COMPOSITE}/</i:DigitalSourceType>")), COMPOSITE
    ),
    "IPTC, resource": (
        jpeg(xmp(elements=f'<i:DigitalSourceType rdf:resource="{URI}compositeSynthetic"/>')), COMPOSITE
    ),
    "IPTC, GIF": (gif(xmp(f' i:DigitalSourceType="{URI}trainedAlgorithmicMedia"')), GENERATED),
    "AI system": (jpeg(xmp(' i:AISystemUsed="Firefly"')), GENERATED),
    "credit": (jpeg(xmp(' p:Credit="Edited with Google AI"')), COMPOSITE),
    "A1111": (png(("parameters", other_tools.A1111)), GENERATED),
    "InvokeAI": (png(("invokeai_metadata", json.dumps(other_tools.INVOKEAI))), GENERATED),
    "ComfyUI": (png(("prompt", json.dumps(COMFY))), GENERATED),
    "artgen": (png(("artgen", '{"artgen": "0.1.0", "task": "inpaint", "prompt": "x"}')), COMPOSITE),
    "artgen, denoised": (png(("artgen", '{"artgen": "0.1.0", "task": "denoise", "method": "tv"}')), ""),
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_marks_are_found(name: str) -> None:
    data, expected = INPUTS[name]
    found = find_marks(MemoryFile.create("in", data))
    assert found.source_type == expected
    assert bool(found.origin) is bool(expected)
    assert not found.has_manifest
    if name != "IPTC, GIF":  # Pillow does not read XMP of GIF files
        assert mark_in_memory(Image.open(io.BytesIO(data))) == expected


def test_unreadable_files_have_no_marks(tmp_path: Path) -> None:
    assert find_marks(tmp_path / "missing.png") == InputMarks()
    assert find_marks(MemoryFile.create("in", b"\x89PNG\r\n\x1a\n\0")) == InputMarks()


def test_manifests_have_marks(tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    key = create_signing_key(tmp_path)
    for kind in ("png", "gif", "tiff"):
        found = find_marks(MemoryFile.create("in", signed(kind, key)))
        assert (found.source_type, found.has_manifest) == (COMPOSITE, True)


def test_source_types_are_combined() -> None:
    marks = {name: InputMarks(name) for name in ("", COMPOSITE, GENERATED)}
    cases = {(): "", ("",): "", (GENERATED,): GENERATED, (GENERATED, ""): COMPOSITE, (COMPOSITE, ""): COMPOSITE}
    for names, expected in cases.items():
        assert combined_source_type(marks[name] for name in names) == expected
    for task, mark, expected in (
        ("denoise", GENERATED, GENERATED),
        ("denoise", COMPOSITE, COMPOSITE),
        ("denoise", "", ENHANCED),
        ("img2img", GENERATED, GENERATED),
        ("img2img", COMPOSITE, COMPOSITE),
        ("img2img", "digitalCapture", COMPOSITE),
        ("txt2img", COMPOSITE, GENERATED),
        ("control", GENERATED, GENERATED),
    ):
        assert source_type({"task": task, "input_source_type": mark}) == URI + expected


def written_mark(path: Path) -> str:
    return extract_texts(path).texts.get(SOURCE_TYPE, "").removeprefix(URI)


@pytest.fixture
def _inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a1111.png").write_bytes(INPUTS["A1111"][0])
    Path("photo.png").write_bytes(INPUTS["nothing"][0])
    other_tools.write_stealth(Path("hidden.png"), "stealth_pnginfo", in_alpha=True)


@pytest.mark.usefixtures("_inputs")
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("level", ["full", "minimal", "none"])
def test_outputs_keep_marks_at_every_metadata_level(suffix: str, level: str) -> None:
    result = run("upscale", "a1111.png", "--by", "2", "-o", f"a.{suffix}", "--metadata", level)
    assert written_mark(Path(f"a.{suffix}")) == GENERATED
    assert ("also with metadata none" in result.stderr) is (level == "none")
    if level == "none":
        assert b"CreatorTool" not in Path(f"a.{suffix}").read_bytes()
        run("upscale", "photo.png", "--by", "2", "-o", f"b.{suffix}", "--metadata", level)
        assert written_mark(Path(f"b.{suffix}")) == ""


@pytest.mark.usefixtures("_inputs")
def test_derived_images_keep_marks() -> None:
    run("control", "gray", "a1111.png", "-o", "map.png")
    run("noise", "a1111.png", "-o", "noise.webp")
    run("sheet", "a1111.png", "photo.png", "-o", "sheet.jpg")
    run("sheet", "a1111.png", "--repeat", "2x2", "-o", "wall.png")
    run("sheet", "photo.png", "-o", "plain.png")
    marks = [written_mark(Path(name)) for name in ("map.png", "noise.webp", "sheet.jpg", "wall.png", "plain.png")]
    assert marks == [GENERATED, GENERATED, COMPOSITE, GENERATED, ""]
    artgen.control_map("gray", "a1111.png").save("map.jpg")
    assert written_mark(Path("map.jpg")) == GENERATED
    result = run("upscale", "hidden.png", "--by", "2", "-o", "large.png")
    assert "'hidden.png' has stealth metadata ('stealth_pnginfo') in its pixels, which is not copied." in result.stderr
    assert written_mark(Path("large.png")) == GENERATED


@pytest.mark.usefixtures("_inputs")
def test_images_in_memory_keep_marks() -> None:
    artgen.upscale(Image.open("a1111.png"), by=2).save("a.png", metadata="none")
    assert written_mark(Path("a.png")) == GENERATED
    uploads = {"image": Path("a1111.png").read_bytes()}
    for mode in (1, 2):
        resized = resize_images({"resize_mode": mode}, uploads, (32, 32), 10_000)["image"]
        assert find_marks(MemoryFile.create("in", resized)).source_type == GENERATED
    assert mark_packet(GENERATED) in Path("a.png").read_bytes()


@pytest.mark.usefixtures("_inputs")
def test_a_note_states_that_a_manifest_is_not_copied(tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    Path("in.png").write_bytes(signed("png", create_signing_key(tmp_path / "key")))
    note = "The C2PA manifest of the input image is not copied, because it is not valid for changed pixels."
    for arguments in (
        ("upscale", "in.png", "--by", "2", "-o", "a.png"),
        ("upscale", "in.png", "--by", "2", "-o", "b.png", "--metadata", "none"),
        ("sheet", "in.png"),
        ("control", "gray", "in.png", "-o", "c.png"),
        ("noise", "in.png", "-o", "d.png"),
    ):
        assert run(*arguments).stderr.count(note) == 1, arguments
    run("sign", "init")
    result = run("upscale", "in.png", "--by", "2", "-o", "e.png", "--sign")
    assert note not in result.stderr
    assert "<- parent 'in.png' (signed by" in run("verify", "e.png").stdout


def test_encoded_test_images_have_no_manifest() -> None:
    assert not find_marks(MemoryFile.create("in", encoded("png"))).has_manifest
