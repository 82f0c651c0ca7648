"""Write small images with the metadata of other tools, in each tool's format. All texts are our own."""

import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, PngImagePlugin

A1111 = (
    "a red fox, (snow:1.2)\nNegative prompt: a house\n"
    "Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 512x768, "
    "Model hash: 0123456789, Model: fox-model, Version: v1.10.1"
)
"""Text of AUTOMATIC1111."""

SWARMUI = {
    "sui_image_params": {
        "prompt": "a red fox", "negativeprompt": "a house", "model": "own/fox-model", "seed": 42, "steps": 25,
        "cfgscale": 6.5, "width": 512, "height": 768, "sampler": "dpmpp_2m", "scheduler": "karras",
        "swarm_version": "0.9.7.0",
    },
    "sui_extra_data": {"date": "2025-01-01", "generation_time": "1 sec"},
}  # fmt: skip

FOOOCUS = {
    "prompt": "fox", "full_prompt": ["a red fox", "film still"], "negative_prompt": "house",
    "full_negative_prompt": ["a house"], "base_model": "fox-model", "base_model_hash": "0123456789", "seed": "42",
    "steps": 25, "guidance_scale": 6.5, "sampler": "dpmpp_2m_sde_gpu", "scheduler": "karras",
    "resolution": "(512, 768)", "sharpness": 2.0, "adm_guidance": "(1.5, 0.8, 0.3)", "styles": "['Own Style']",
    "loras": [["fox-style", 0.5, "abcdef0123"]], "refiner_model": "None", "vae": "Default (model)",
    "performance": "Speed", "metadata_scheme": "fooocus", "version": "Fooocus v2.5.5",
}  # fmt: skip

INVOKEAI = {
    "generation_mode": "sdxl_txt2img", "positive_prompt": "a red fox", "negative_prompt": "a house", "width": 512,
    "height": 768, "seed": 42, "rand_device": "cpu", "cfg_scale": 6.5, "steps": 25, "scheduler": "dpmpp_2m_k",
    "model": {"key": "k", "hash": "blake3:00", "name": "fox-model", "base": "sdxl", "type": "main"},
    "loras": [{"model": {"name": "fox-style", "hash": "blake3:11"}, "weight": 0.5}], "app_version": "5.6.0",
}  # fmt: skip

INVOKEAI_2 = {
    "model": "stable diffusion", "model_weights": "fox-model", "model_hash": "ab" * 32, "app_version": "2.3.5",
    "image": {
        "prompt": [{"prompt": "a red fox [a house]", "weight": 1}], "steps": 25, "cfg_scale": 6.5, "seed": 42,
        "width": 512, "height": 768, "sampler": "k_dpmpp_2", "type": "txt2img", "threshold": 0, "perlin": 0,
    },
}  # fmt: skip

DREAM = '"a red fox [a house]" -s 25 -S 42 -W 512 -H 768 -C 6.5 -A k_euler_a'

NOVELAI = {
    "prompt": "a {red} fox", "uc": "a house", "steps": 25, "height": 768, "width": 512, "scale": 6.5, "seed": 42,
    "n_samples": 1, "sampler": "k_dpmpp_2m", "noise_schedule": "karras", "sm": False, "sm_dyn": False,
    "request_type": "PromptGenerateRequest", "cfg_rescale": 0.0, "signed_hash": "x", "version": 1,
}  # fmt: skip

MFLUX = {
    "mflux_version": "0.9.0", "model": "dev", "seed": 42, "steps": 25, "guidance": 3.5, "width": 512, "height": 768,
    "precision": "bfloat16", "quantize": 8, "prompt": "a red fox", "lora_paths": ["/home/own/fox-style.safetensors"],
    "lora_scales": [0.5], "image_path": None, "image_strength": None, "negative_prompt": None,
}  # fmt: skip

EASYDIFFUSION = {
    "prompt": "a red fox", "negative_prompt": "a house", "seed": 42, "use_stable_diffusion_model": "fox-model",
    "clip_skip": False, "use_vae_model": None, "sampler_name": "dpmpp_2m", "width": 512, "height": 768,
    "num_inference_steps": 25, "guidance_scale": 6.5, "use_lora_model": ["fox-style"], "lora_alpha": [0.5],
}  # fmt: skip

DRAWTHINGS = {
    "c": "a red fox", "uc": "a house", "model": "fox-model.ckpt", "sampler": "DPM++ 2M Karras", "scale": 6.5,
    "seed": 42, "seed_mode": "Scale Alike", "size": "512x768", "steps": 25, "strength": 1,
    "lora": [{"model": "fox-style.ckpt", "weight": 0.5}], "v2": {"clipSkip": 1},
}  # fmt: skip

MIDJOURNEY = "a red fox --ar 2:3 --v 6 --seed 42 --no house Job ID: 01234567-89ab-cdef-0123-456789abcdef"


def write_png(path: Path, texts: Mapping[str, object], size: tuple[int, int] = (8, 8), **save_args: object) -> Path:
    """Write a PNG with text chunks. Values that are not texts are written as JSON."""
    info = PngImagePlugin.PngInfo()
    for name, value in texts.items():
        info.add_text(name, value if isinstance(value, str) else json.dumps(value))
    Image.new("RGB", size, "teal").save(path, pnginfo=info, **save_args)
    return path


def write_with_exif(path: Path, tags: Mapping[int, object], exif_tags: Mapping[int, object] | None = None) -> Path:
    """Write an image in the format of the suffix, with tags in the first IFD and in the EXIF IFD."""
    exif = Image.Exif()
    for tag, value in tags.items():
        exif[tag] = value
    if exif_tags:
        exif[0x8769] = dict(exif_tags)
    Image.new("RGB", (8, 8), "teal").save(path, exif=exif)
    return path


def write_with_comment(path: Path, comment: object, encoding: str = "utf-16-be") -> Path:
    """Write an image with the EXIF tag UserComment, a text or JSON with the prefix UNICODE."""
    text = comment if isinstance(comment, str) else json.dumps(comment)
    return write_with_exif(path, {}, {0x9286: b"UNICODE\0" + text.encode(encoding)})


def xmp_packet(properties: str) -> str:
    """Return an XMP packet with elements such as `<xmp:CreatorTool>`."""
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:exif="http://ns.adobe.com/exif/1.0/">'
        f"{properties}</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


def alternatives(name: str, text: str) -> str:
    """Return an XMP property with one alternative of a language."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return f'<{name}><rdf:Alt><rdf:li xml:lang="x-default">{escaped}</rdf:li></rdf:Alt></{name}>'


def drawthings_packet(data: object) -> str:
    """Return the XMP packet of Draw Things."""
    return xmp_packet(
        f"<xmp:CreatorTool>Draw Things</xmp:CreatorTool>{alternatives('exif:UserComment', json.dumps(data))}"
    )


def add_chunk(path: Path, kind: bytes, body: bytes) -> Path:
    """Insert a chunk after the header of a PNG file."""
    data = path.read_bytes()
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    path.write_bytes(data[:33] + chunk + data[33:])
    return path


def write_stealth(path: Path, signature: str, *, in_alpha: bool) -> Path:
    """Write a PNG with a signature in the lowest bits of the pixels, column by column."""
    bits = [int(bit) for byte in signature.encode() for bit in f"{byte:08b}"]
    image = Image.new("RGBA" if in_alpha else "RGB", (16, 16), (100, 100, 100))
    for index in range(len(bits) if in_alpha else len(bits) // 3):
        position = (index // 16, index % 16)
        if in_alpha:
            image.putpixel(position, (100, 100, 100, 254 | bits[index]))
        else:
            image.putpixel(position, tuple(100 | bit for bit in bits[3 * index : 3 * index + 3]))
    image.save(path)
    return path
