"""Test that the metadata of other tools is read with the right fields, and that other texts are not prompts."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artgen import metadata
from artgen.errors import InputFileError
from artgen.metadata.tools import read_external
from tests.helpers import other_tools as tools

BASE = {
    "prompt": "a red fox",
    "negative_prompt": "a house",
    "seed": 42,
    "steps": 25,
    "guidance_scale": 6.5,
    "width": 512,
    "height": 768,
}
UNDEFINED = b"\0" * 8
JSON_COMMENT = {name: json.dumps(getattr(tools, name)).encode() for name in ("MFLUX", "NOVELAI", "FOOOCUS")}
NOVELAI_TEXTS = {"Software": "NovelAI", "Source": "Own Model 0123ABCD", "Description": "a {red} fox"}
EASY_PNG = {name: str(value) for name, value in tools.EASYDIFFUSION.items()}
EASY_LINES = (
    "Prompt: a red fox\nNegative Prompt: a house\nSeed: 42\nStable Diffusion model: fox-model\nSampler: euler_a\n"
)


def with_changes(data: dict[str, Any], *path: str, **changes: Any) -> dict[str, Any]:
    """Return a copy of JSON data with other values in the object at a path."""
    changed = copy.deepcopy(data)
    target = changed
    for name in path:
        target = target[name]
    target |= changes
    return changed


WRITERS: dict[str, tuple[Callable[[Path], Path], str, dict[str, object]]] = {
    "a1111.png": (
        lambda p: tools.write_png(p, {"parameters": tools.A1111}),
        "a1111",
        {"prompt": "a red fox, (snow:1.2)", "scheduler": "DPM++ 2M", "sigmas": "karras"},
    ),
    "a1111.avif": (lambda p: tools.write_with_comment(p, tools.A1111), "a1111", {"prompt": "a red fox, (snow:1.2)"}),
    "a1111.tif": (
        lambda p: tools.write_with_exif(p, {0x010E: tools.A1111}),
        "a1111",
        {"prompt": "a red fox, (snow:1.2)"},
    ),
    "exif.png": (lambda p: tools.write_with_comment(p, tools.A1111), "a1111", {"prompt": "a red fox, (snow:1.2)"}),
    "swarmui.png": (
        lambda p: tools.write_png(p, {"parameters": tools.SWARMUI}),
        "swarmui",
        {"scheduler": "dpmpp_2m", "sigmas": "karras", "prompt_weights": "comfy"},
    ),
    "swarmui.jpg": (
        lambda p: tools.write_with_comment(p, tools.SWARMUI, "utf-16-le"),
        "swarmui",
        {"model": "own/fox-model"},
    ),
    "fooocus.png": (
        lambda p: tools.write_png(p, {"parameters": tools.FOOOCUS, "fooocus_scheme": "fooocus"}),
        "fooocus",
        {"prompt": "a red fox, film still", "scheduler": "dpmpp_2m_sde_gpu"},
    ),
    "fooocus.jpg": (
        lambda p: tools.write_with_exif(p, {0x9286: JSON_COMMENT["FOOOCUS"].decode(), 0x927C: "fooocus"}),
        "fooocus",
        {"prompt": "a red fox, film still"},
    ),
    "invokeai.png": (
        lambda p: tools.write_png(p, {"invokeai_metadata": tools.INVOKEAI}),
        "invokeai",
        {"model": "fox-model"},
    ),
    "invokeai2.png": (
        lambda p: tools.write_png(p, {"sd-metadata": tools.INVOKEAI_2, "Dream": tools.DREAM}),
        "invokeai",
        {"model": "fox-model"},
    ),
    "dream.png": (lambda p: tools.write_png(p, {"Dream": tools.DREAM}), "invokeai", {"scheduler": "k_euler_a"}),
    "novelai.png": (
        lambda p: tools.write_png(p, {**NOVELAI_TEXTS, "Comment": tools.NOVELAI}),
        "novelai",
        {"prompt": "a (red:1.05) fox"},
    ),
    "novelai.webp": (
        lambda p: tools.write_with_exif(
            p, {0x0131: "NovelAI", 0x010E: "a {red} fox"}, {0x9286: UNDEFINED + JSON_COMMENT["NOVELAI"]}
        ),
        "novelai",
        {"prompt": "a (red:1.05) fox"},
    ),
    "mflux.png": (
        lambda p: tools.write_with_exif(p, {}, {0x9286: b"ASCII\0\0\0" + JSON_COMMENT["MFLUX"]}),
        "mflux",
        {"guidance_scale": 3.5, "negative_prompt": None},
    ),
    "easy.png": (lambda p: tools.write_png(p, EASY_PNG), "easydiffusion", {"model": "fox-model"}),
    "easy.jpg": (
        lambda p: tools.write_with_comment(p, tools.EASYDIFFUSION),
        "easydiffusion",
        {"scheduler": "dpmpp_2m"},
    ),
    "easy.txt": (
        lambda p: (p.write_text(EASY_LINES), p)[1],
        "easydiffusion",
        {"steps": None, "guidance_scale": None, "width": None, "height": None},
    ),
    "draw.png": (
        lambda p: tools.write_png(p, {"XML:com.adobe.xmp": tools.drawthings_packet(tools.DRAWTHINGS)}),
        "drawthings",
        {"scheduler": "DPM++ 2M Karras"},
    ),
    "midjourney.png": (
        lambda p: tools.write_png(p, {"Description": tools.MIDJOURNEY}),
        "midjourney",
        {"negative_prompt": "house", "steps": None, "guidance_scale": None, "width": None, "height": None},
    ),
    "swarmui.json": (lambda p: (p.write_text(json.dumps(tools.SWARMUI)), p)[1], "swarmui", {}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_metadata_of_other_tools_is_read_with_all_fields(tmp_path: Path, name: str) -> None:
    write, tool, changes = WRITERS[name]
    found = metadata.read_metadata(write(tmp_path / name))
    assert found.source == tool
    assert found.external is not None
    for field, value in {**BASE, **changes}.items():
        assert found.fields.get(field) == value, field


LORA = {"fooocus.png": "abcdef0123", "invokeai.png": "", "mflux.png": "", "easy.png": "", "draw.png": ""}


@pytest.mark.parametrize("name", LORA)
def test_loras_of_other_tools_have_their_scale_and_hash(tmp_path: Path, name: str) -> None:
    external = metadata.read_metadata(WRITERS[name][0](tmp_path / name)).external
    assert external is not None
    (lora,) = external.loras
    assert (lora.name.partition(".")[0], lora.scale, lora.digest) == ("fox-style", 0.5, LORA[name])


def test_lora_hashes_of_swarmui_are_autov3(tmp_path: Path) -> None:
    data = with_changes(tools.SWARMUI, "sui_image_params", loras=["own/style"], loraweights="0.5")
    data["sui_models"] = [{"name": "own/style.safetensors", "param": "loras", "hash": "0x" + "ab" * 32}]
    external = metadata.read_metadata(tools.write_png(tmp_path / "a.png", {"parameters": data})).external
    assert external is not None
    assert external.loras == (metadata.RecordedFile("own/style", "ab" * 6, 0.5),)


PARAMS = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x512"
INPUTS: dict[str, tuple[dict[str, Any], str, float | None]] = {
    "a1111": ({"parameters": f"fox\n{PARAMS}, Denoising strength: 0.5"}, "img2img", 0.5),
    "a1111 mask": ({"parameters": f"fox\n{PARAMS}, Denoising strength: 0.5, Mask blur: 4"}, "inpaint", 0.5),
    "a1111 hires": ({"parameters": f"fox\n{PARAMS}, Denoising strength: 0.5, Hires upscale: 2"}, "", None),
    "old hires": ({"parameters": f"fox\n{PARAMS}, Denoising strength: 0.7, First pass size: 0x0"}, "", None),
    "sdnext": ({"parameters": f"fox\n{PARAMS}, App: SD.Next, Operations: img2img"}, "img2img", None),
    "swarmui": (
        {"parameters": with_changes(tools.SWARMUI, "sui_image_params", initimagecreativity=0.6)},
        "img2img",
        0.6,
    ),
    "swarmui mask": (
        {"parameters": with_changes(tools.SWARMUI, "sui_image_params", initimagecreativity=0.6, maskblur=4)},
        "inpaint",
        0.6,
    ),
    "invokeai": (
        {"invokeai_metadata": {**tools.INVOKEAI, "generation_mode": "sdxl_img2img", "strength": 0.7}},
        "img2img",
        0.7,
    ),
    "invokeai mask": (
        {"invokeai_metadata": {**tools.INVOKEAI, "generation_mode": "inpaint", "strength": 0.7}},
        "inpaint",
        0.7,
    ),
    "novelai": (
        {**NOVELAI_TEXTS, "Comment": {**tools.NOVELAI, "strength": 0.7, "request_type": "Img2ImgRequest"}},
        "img2img",
        0.7,
    ),
    "dream": ({"Dream": f"{tools.DREAM} -I in.png -f 0.4"}, "img2img", 0.4),
    "mflux mask": (
        {"comment": {**tools.MFLUX, "image_path": "a.png", "image_strength": 0.3, "masked_image_path": "m.png"}},
        "inpaint",
        0.7,
    ),
    "easy mask": ({**EASY_PNG, "prompt_strength": "0.8", "mask": "x"}, "inpaint", 0.8),
    "easy": ({**EASY_PNG, "prompt_strength": "0.8"}, "img2img", 0.8),
    "draw": ({"XML:com.adobe.xmp": tools.drawthings_packet({**tools.DRAWTHINGS, "strength": 0.4})}, "img2img", 0.4),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input_images_and_masks_are_recognized(tmp_path: Path, name: str) -> None:
    texts, task, strength = INPUTS[name]
    found = metadata.read_metadata(tools.write_png(tmp_path / "a.png", texts))
    assert found.fields.get("task", "") == task
    assert found.fields.get("strength") == strength


def test_image_strength_of_mflux_is_inverted(tmp_path: Path) -> None:
    comment = {**tools.MFLUX, "image_path": "in.png", "image_strength": 0.4}
    found = metadata.read_metadata(tools.write_with_comment(tmp_path / "a.jpg", comment))
    assert (found.fields["task"], found.fields["strength"]) == ("img2img", 0.6)


NOT_PROMPTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "gimp": (lambda p: tools.write_with_comment(p.with_suffix(".jpg"), "Created with GIMP"), "Created with GIMP"),
    "gimp text": (lambda p: tools.write_png(p, {"Comment": "Created with GIMP"}), "Comment 'Created with GIMP'"),
    "screenshot": (lambda p: tools.write_png(p, {"parameters": "Screenshot"}), "parameters 'Screenshot'"),
    "json": (lambda p: tools.write_png(p, {"parameters": {"a": 1}}), "parameters '{"),
    "list": (lambda p: tools.write_png(p, {"parameters": [1, 2]}), "parameters '[1, 2]'"),
    "empty": (lambda p: tools.write_png(p, {"parameters": ""}), "parameters ''"),
    "space": (lambda p: tools.write_png(p, {"parameters": " \n"}), "parameters ''"),
    "prose": (lambda p: tools.write_png(p, {"parameters": "Note: the size: large, color: red"}), "Note: the size"),
    "camera": (
        lambda p: tools.write_with_exif(
            p.with_suffix(".jpg"), {0x010F: "Own Camera", 0x010E: "Lens: 50, ISO: 100, Size: 1x2"}
        ),
        "Make 'Own Camera'",
    ),
    "lens": (
        lambda p: tools.write_with_exif(p.with_suffix(".jpg"), {0x010E: "Model: Own, Size: 1x2, Seed: 3, Version: 1"}),
        "ImageDescription 'Model: Own",
    ),
    "xmp": (
        lambda p: tools.write_png(
            p, {"XML:com.adobe.xmp": tools.xmp_packet(tools.alternatives("dc:description", "A photo"))}
        ),
        "description 'A photo'",
    ),
    "package": (
        lambda p: (p.with_suffix(".json").write_text('{"name": "x", "version": "1.0.0"}'), p.with_suffix(".json"))[1],
        "contains no generation metadata",
    ),
    "text": (lambda p: (p.with_suffix(".txt").write_text("a red fox"), p.with_suffix(".txt"))[1], "text 'a red fox'"),
    "c2pa": (
        lambda p: tools.add_chunk(tools.write_png(p, {}), b"caBX", b"jumb c2pa ChatGPT"),
        "OpenAI (ChatGPT, DALL-E)",
    ),
    "stealth": (lambda p: tools.write_stealth(p, "stealth_pngcomp", in_alpha=True), "'stealth_pngcomp'"),
    "stealth info": (lambda p: tools.write_stealth(p, "stealth_pnginfo", in_alpha=True), "'stealth_pnginfo'"),
    "stealth colors": (lambda p: tools.write_stealth(p, "stealth_rgbinfo", in_alpha=False), "'stealth_rgbinfo'"),
    "damaged exif": (
        lambda p: tools.add_chunk(tools.write_png(p, {}), b"eXIf", b"Exif\0\0broken"),
        "no generation metadata",
    ),
}


@pytest.mark.parametrize("name", NOT_PROMPTS)
def test_other_texts_are_not_prompts_and_are_named(tmp_path: Path, name: str) -> None:
    write, shown = NOT_PROMPTS[name]
    path = write(tmp_path / "a.png")
    with pytest.raises(InputFileError) as caught:
        metadata.read_metadata(path)
    assert shown in caught.value.message


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png", "avif"])
@pytest.mark.parametrize(
    "data",
    [
        b"UNICODE\0" + tools.A1111.encode("utf-16-be"),
        b"UNICODE\0" + tools.A1111.encode("utf-16-le"),
        b"UNICODE\0" + tools.A1111.encode("utf-16"),
        b"UNICODE\0\xfe\xff" + tools.A1111.encode("utf-16-be"),
        b"UNICODE\0" + tools.A1111.encode("utf-8"),
        b"UNICODE\0" + tools.A1111.replace("a house", "a house, \u65e5\u672c, \u00e9").encode("utf-8"),
        b"ASCII\0\0\0" + tools.A1111.encode(),
        b"\0" * 8 + tools.A1111.encode(),
        b"JIS\0\0\0\0\0" + tools.A1111.encode("iso2022_jp"),
        tools.A1111.encode(),
        tools.A1111.encode("utf-16"),
        b"\0" * 8 + tools.A1111.encode("utf-16-le"),
    ],
    ids=[
        "be",
        "le",
        "bom",
        "be-bom",
        "utf-8",
        "utf-8-text",
        "ascii",
        "undefined",
        "jis",
        "bare",
        "bare-utf-16",
        "undefined-utf-16",
    ],
)
def test_exif_comments_in_all_encodings_are_read(tmp_path: Path, suffix: str, data: bytes) -> None:
    path = tools.write_with_exif(tmp_path / f"a.{suffix}", {}, {0x9286: data})
    assert metadata.read_metadata(path).fields["prompt"] == "a red fox, (snow:1.2)"


def test_text_file_beside_an_image_is_read_only_without_other_metadata(tmp_path: Path) -> None:
    image = tools.write_png(tmp_path / "photo.png", {})
    (tmp_path / "photo.txt").write_text("a caption for training, photo of a fox")
    with pytest.raises(InputFileError):
        metadata.read_metadata(image)
    (tmp_path / "photo.txt").write_text(tools.A1111)
    found = metadata.read_metadata(image)
    assert found.fields["prompt"] == "a red fox, (snow:1.2)"
    assert "'photo.txt' next to the image" in found.notes[0]
    tools.write_png(image, {"parameters": f"an owl\n{PARAMS}"})
    assert metadata.read_metadata(image).fields["prompt"] == "an owl"
    (tmp_path / "photo.txt").write_bytes(tools.A1111.encode("utf-16"))
    assert metadata.read_metadata(tmp_path / "photo.txt").fields["seed"] == 42
    assert not metadata.has_sidecar(image)


def test_character_prompts_of_novelai_are_appended() -> None:
    def caption(base: str, *characters: str) -> dict[str, object]:
        captions = [{"char_caption": text, "centers": [{"x": 0.5, "y": 0.5}]} for text in characters]
        return {"caption": {"base_caption": base, "char_captions": captions}}

    comment = {**tools.NOVELAI, "v4_prompt": caption("a fox", "an {owl}"), "v4_negative_prompt": caption("a house")}
    record = read_external({**NOVELAI_TEXTS, "Comment": json.dumps(comment)})
    assert record is not None
    assert (record.fields["prompt"], record.fields["negative_prompt"]) == ("a fox, an (owl:1.05)", "a house")
    assert "prompts of the characters" in record.notes[1]


def test_a_graph_beside_a1111_text_is_named(tmp_path: Path) -> None:
    graph = '{"1": {"class_type": "KSampler", "inputs": {}}}'
    path = tools.write_png(
        tmp_path / "both.png", {"parameters": "a fox\nSteps: 4, Sampler: Euler, Seed: 1", "prompt": graph}
    )
    found = metadata.read_metadata(path)
    assert found.source == "a1111"
    assert found.notes == ("The image also contains a graph of ComfyUI, which is not read.",)


def test_variations_of_the_first_invokeai_are_named() -> None:
    record = read_external({"Dream": f"{tools.DREAM} -v 0.2 -V 3:0.1"})
    assert record is not None
    assert [feature.name for feature in record.features] == ["variation seed"]


@pytest.mark.parametrize(("scale", "names"), [(1, []), (2.5, ["true classifier-free guidance"])])
def test_both_guidance_scales_of_swarmui_are_used_or_named(scale: float, names: list[str]) -> None:
    changes = {"fluxguidancescale": 3.5, "cfgscale": scale}
    record = read_external({"parameters": json.dumps(with_changes(tools.SWARMUI, "sui_image_params", **changes))})
    assert record is not None
    assert (record.fields["guidance_scale"], [each.name for each in record.features]) == (3.5, names)
    assert "fluxguidancescale" not in record.other
