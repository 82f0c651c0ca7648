"""Test that the architecture of an adapter is detected from the names and sizes of its layers, without torch."""

import json
from pathlib import Path

import pytest
from command_line import run
from isolated_command import modules_after
from safetensors_files import Shapes, zero_file

from artgen import Txt2Img, registry
from artgen.jobs.prepare import prepare_jobs
from artgen.registry import lora as lora_files
from artgen.registry.checkpoint_content import inspect_file

Sizes = dict[str, tuple[int, int]]
"""Layer -> outputs and inputs."""

FLUX_DOUBLE = {
    f"transformer_blocks.{block}.attn.{name}": (3072, 3072)
    for block in (0, 18) for name in ("to_q", "add_k_proj", "to_out.0")
}  # fmt: skip
FLUX_SINGLE = {
    "single_transformer_blocks.37.attn.to_q": (3072, 3072),
    "single_transformer_blocks.0.proj_mlp": (12288, 3072),
}
FLUX_ORIGINAL = {"double_blocks.18.img_attn.qkv": (9216, 3072), "double_blocks.0.txt_mlp.0": (12288, 3072)}
XLABS = {"double_blocks.7.processor.qkv_lora1": (9216, 3072), "double_blocks.7.processor.proj_lora2": (3072, 3072)}
QWEN = {"transformer_blocks.59.attn.add_q_proj": (3072, 3072), "transformer_blocks.0.attn.to_q": (3072, 3072)}
Z_IMAGE = {"layers.29.attention.to_q": (3840, 3840), "layers.0.feed_forward.w1": (10240, 3840)}
CASES: dict[str, tuple[str, Sizes, str]] = {
    "flux-double": ("transformer.{}.lora_{}.weight", FLUX_DOUBLE, "flux"),
    "flux-single": ("transformer.{}.lora_{}.weight", FLUX_SINGLE, "flux"),
    "flux-bare": ("{}.lora_{}.weight", FLUX_DOUBLE, "flux"),
    "flux-kohya": ("lora_unet_{_}.lora_{way}.weight", FLUX_ORIGINAL, "flux"),
    "flux-kohya-single": ("lora_unet_{_}.lora_{way}.weight", {"single_blocks.3.linear1": (21504, 3072)}, "flux"),
    "flux-comfyui": ("diffusion_model.{}.lora_{}.weight", FLUX_ORIGINAL, "flux"),
    "flux-fal": ("base_model.model.{}.lora_{}.weight", FLUX_ORIGINAL, "flux"),
    "flux-onetrainer": ("lora_transformer_{_}.lora_{way}.weight", FLUX_DOUBLE, "flux"),
    "flux-xlabs": ("{}.{way}.weight", XLABS, "flux"),
    "flux-xlabs-single": ("{}.{way}.weight", {"single_blocks.7.processor.qkv_lora": (9216, 3072)}, "flux"),
    "flux2-klein": ("lora_unet_{_}.lora_{way}.weight", {"single_blocks.3.linear1": (27648, 3072)}, "flux2"),
    "flux2-dev": ("diffusion_model.{}.lora_{}.weight", {"double_blocks.3.img_attn.qkv": (18432, 6144)}, "flux2"),
    "flux2-mlp": ("diffusion_model.{}.lora_{}.weight", {"double_blocks.3.img_mlp.0": (18432, 3072)}, "flux2"),
    "flux2-diffusers": ("transformer.{}.lora_{}.weight",
                        {"single_transformer_blocks.0.attn.to_qkv_mlp_proj": (27648, 3072)}, "flux2"),
    "chroma": ("transformer.{}.lora_{}.weight", {"distilled_guidance_layer.in_proj": (5120, 64)}, "chroma"),
    "qwen-mlp": ("transformer.{}.lora_{}.weight", {"transformer_blocks.0.img_mlp.net.2": (3072, 12288)}, "qwen-image"),
    "qwen-attention": ("transformer.{}.lora_{}.weight", QWEN, "qwen-image"),
    "qwen-kohya": ("lora_unet_{_}.lora_{way}.weight", QWEN, "qwen-image"),
    "qwen-comfyui": ("diffusion_model.{}.lora_{}.default.weight", QWEN, "qwen-image"),
    "z-image": ("diffusion_model.{}.lora_{}.weight", Z_IMAGE, "z-image"),
    "z-image-kohya": ("lora_unet_{_}.lora_{way}.weight", Z_IMAGE, "z-image"),
    "z-image-original": ("diffusion_model.{}.lora_{}.weight", {"layers.3.attention.qkv": (11520, 3840)}, "z-image"),
    "lumina2-original": ("diffusion_model.{}.lora_{}.weight", {"layers.3.attention.qkv": (3840, 2304)}, "lumina2"),
    "sd3-medium": ("transformer.{}.lora_{}.weight", {"transformer_blocks.0.attn.add_q_proj": (1536, 1536)}, "sd3"),
    "sd3-large": ("transformer.{}.lora_{}.weight", {"transformer_blocks.37.attn.to_q": (2432, 2432)}, "sd3"),
    "sd3-dual": ("transformer.{}.lora_{}.weight", {"transformer_blocks.0.attn.to_q": (1536, 1536),
                                                   "transformer_blocks.0.attn2.to_q": (1536, 1536)}, "sd3"),
    "sd3-kohya": ("lora_unet_{_}.lora_{way}.weight", {"joint_blocks.0.x_block.attn.qkv": (4608, 1536)}, "sd3"),
    "auraflow": ("transformer.{}.lora_{}.weight", {"joint_transformer_blocks.0.attn.to_q": (3072, 3072)}, "auraflow"),
    "hidream": ("transformer.{}.lora_{}.weight", {"double_stream_blocks.0.block.attn1.to_q": (2560, 2560)}, "hidream"),
    "sd1": ("unet.{}.lora_{}.weight", {"mid_block.attentions.0.transformer_blocks.0.attn2.to_v": (1280, 768),
                                       "mid_block.attentions.0.transformer_blocks.0.attn2.to_k": (1280, 768)}, "sd1"),
    "sd2": ("lora_unet_{_}.lora_{way}.weight",
            {"mid_block.attentions.0.transformer_blocks.0.attn2.to_k": (1280, 1024)}, "sd2"),
    "sdxl-original": ("lora_unet_{_}.lora_{way}.weight",
                      {"input_blocks.4.1.transformer_blocks.0.attn1.to_k": (640, 640)}, "sdxl"),
    "sdxl-deep": ("unet.{}.lora_{}.weight",
                  {"mid_block.attentions.0.transformer_blocks.9.attn1.to_q": (1280, 1280)}, "sdxl"),
    "sdxl-text": ("lora_te2_{_}.lora_{way}.weight", {"text_model.encoder.layers.0.mlp.fc1": (5120, 1280)}, "sdxl"),
    "sdxl": ("lora_unet_{_}.lora_{way}.weight",
             {"input_blocks.4.1.transformer_blocks.0.attn2.to_k": (640, 2048)}, "sdxl"),
}  # fmt: skip


def lora_shapes(pattern: str, sizes: Sizes) -> Shapes:
    found: Shapes = {}
    for layer, (outputs, inputs) in sizes.items():
        for letter, way, shape in (("A", "down", (4, inputs)), ("B", "up", (outputs, 4))):
            found[pattern.format(layer, letter, _=layer.replace(".", "_"), way=way)] = shape
    return found


@pytest.mark.parametrize("name", CASES)
def test_architecture_is_detected_from_real_sizes(name: str) -> None:
    pattern, sizes, architecture = CASES[name]
    path = zero_file(Path("style.safetensors"), lora_shapes(pattern, sizes))
    assert lora_files.read_lora(path).architecture == architecture
    content = inspect_file(path)
    assert (content.kind, content.architecture) == ("lora", architecture)


@pytest.mark.parametrize(
    ("factors", "architecture"),
    [
        ({"hada_w1_a": (320, 4), "hada_w1_b": (4, 768), "hada_w2_a": (320, 4), "hada_w2_b": (4, 768)}, "sd1"),
        ({"lokr_w1": (8, 16), "lokr_w2": (80, 128)}, "sdxl"),
        ({"lokr_w1": (8, 16), "lokr_w2_a": (80, 4), "lokr_w2_b": (4, 64)}, "sd2"),
        ({"lora_down.weight": (4, 768), "lora_up.weight": (320, 4), "dora_scale": (320, 1)}, "sd1"),
    ],
)
def test_architecture_of_other_kinds_is_detected(factors: Shapes, architecture: str) -> None:
    layer = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
    path = zero_file(Path("style.safetensors"), {f"{layer}.{name}": shape for name, shape in factors.items()})
    assert lora_files.read_lora(path).architecture == architecture
    assert inspect_file(path).kind == "lora"


def test_metadata_decides_between_architectures_with_the_same_layers() -> None:
    shapes = lora_shapes("transformer.{}.lora_{}.weight", {"transformer_blocks.3.attn.add_q_proj": (3072, 3072)})
    for text, architecture in [("qwen-image/lora", "qwen-image"), ("flux-1-dev/lora", "flux"), ("sdxl", "flux")]:
        path = zero_file(Path(f"{architecture}.safetensors"), shapes, {"modelspec.architecture": text})
        assert lora_files.read_lora(path).architecture == architecture


@pytest.mark.parametrize(
    ("alias", "name", "message"),
    [
        ("flux-dev", "z-image", "it is a LoRA for Z-Image, and 'flux-dev' is Flux.1."),
        ("sdxl", "flux-double", "it is a LoRA for Flux.1, and 'sdxl' is Stable Diffusion XL."),
        ("qwen-image", "flux-single", "it is a LoRA for Flux.1, and 'qwen-image' is Qwen-Image."),
        ("z-image-turbo", "sdxl", "it is a LoRA for Stable Diffusion XL, and 'z-image-turbo' is Z-Image."),
        ("sd35-medium", "flux-double", "it is a LoRA for Flux.1, and 'sd35-medium' is Stable Diffusion 3."),
        ("pixart-sigma", "flux-single", "artgen does not support LoRAs with PixArt-Sigma models."),
        ("hunyuandit", "sd1", "artgen does not support LoRAs with HunyuanDiT models."),
    ],
)
def test_wrong_loras_are_rejected_before_a_download(alias: str, name: str, message: str) -> None:
    pattern, sizes, _ = CASES[name]
    zero_file(Path("style.safetensors"), lora_shapes(pattern, sizes))
    shown = run("txt2img", "a fox", "-m", alias, "--lora", "style.safetensors", "--offline", code=4).stderr
    assert message in " ".join(shown.split())


def test_rejecting_a_lora_needs_no_torch() -> None:
    pattern, sizes, _ = CASES["flux-xlabs"]
    zero_file(Path("style.safetensors"), lora_shapes(pattern, sizes))
    code, loaded, stderr = modules_after("txt2img", "a fox", "-m", "tiny", "--lora", "style.safetensors")
    assert code == 4, stderr
    assert not {"torch", "diffusers"} & set(loaded)


@pytest.mark.parametrize(
    "tensors",
    [
        {"bundle_emb.word.string_to_param.*": (2, 768)},
        {"bundle_emb.word.clip_l": (2, 768), "bundle_emb.word.clip_g": (2, 1280)},
        {"bundle_emb.word": (2, 768)},
    ],
)
def test_bundled_embedding_is_named_in_a_note(tensors: Shapes) -> None:
    layer = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    config = json.loads((registry.resolve_model("tiny").path / "text_encoder" / "config.json").read_text())
    width, inner = config["hidden_size"], config["intermediate_size"]
    lora = {f"{layer}.lora_down.weight": (4, width), f"{layer}.lora_up.weight": (inner, 4)}
    path = zero_file(Path("style.safetensors"), {**lora, **tensors})
    assert lora_files.read_lora(path).embeddings == ("word",)
    assert json.loads(run("info", str(path), "--json").stdout)["embeddings"] == ["word"]
    (job,) = prepare_jobs([Txt2Img(prompt="a fox", model="tiny", lora=(str(path),))])
    assert "'style.safetensors' also contains the embedding 'word', which artgen does not use." in job.notes
