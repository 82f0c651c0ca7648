"""Test the descriptions of the files of control nets and IP-Adapters."""

from pathlib import Path

import pytest
from safetensors_files import Shapes, zero_file

from artgen.api.info import read_info
from artgen.registry.control_nets import net_entries

CONTROL: Shapes = {"controlnet_cond_embedding.conv_in.weight": (16, 3, 3, 3), "conv_in.weight": (320, 4, 3, 3)}
TEXT = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight"
ORIGINAL: Shapes = {
    "control_model.input_hint_block.0.weight": (16, 3, 3, 3),
    "control_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
}
BASE: Shapes = {"image_proj.proj.weight": (3072, 1024), "image_proj.norm.weight": (768,)}
PLUS: Shapes = {"image_proj.proj_in.weight": (768, 1280), "image_proj.latents": (1, 16, 768)}


@pytest.mark.parametrize(
    ("name", "shapes", "expected"),
    [
        ("my-net", {**CONTROL, TEXT: (320, 768)}, {"architecture": "sd1", "class_name": "ControlNetModel"}),
        ("my-net", {**CONTROL, TEXT: (320, 1024)}, {"architecture": "sd2", "layout": "diffusers"}),
        ("my-net", {**CONTROL, TEXT: (640, 2048)}, {"architecture": "sdxl", "class_name": "ControlNetModel"}),
        (
            "my-net",
            {**CONTROL, TEXT: (640, 2048), "task_embedding": (6, 320)},
            {"architecture": "sdxl", "class_name": "ControlNetUnionModel"},
        ),
        ("my-inpaint", ORIGINAL, {"architecture": "sd1", "layout": "original", "is_inpaint": True}),
        ("control_v11p_sd15_openpose_fp16", ORIGINAL, {"architecture": "sd1", "control_kinds": ["pose"]}),
        ("control_v11p_sd15_openpose", {**CONTROL, TEXT: (640, 2048)}, {"architecture": "sdxl", "control_kinds": None}),
        ("control_v11p_sd21_canny", {**CONTROL, TEXT: (320, 1024)}, {"control_kinds": ["canny"]}),
        (
            "x",
            {"controlnet_x_embedder.weight": (3072, 64)},
            {"architecture": "flux", "class_name": "FluxControlNetModel"},
        ),
        (
            "x",
            {"pos_embed_input.proj.weight": (1536, 16, 2, 2), "controlnet_blocks.0.weight": (1536, 1536)},
            {"architecture": "sd3", "class_name": "SD3ControlNetModel"},
        ),
        (
            "x",
            {"adapter.conv_in.weight": (320, 768, 3, 3), "adapter.body.0.in_conv.weight": (640, 320, 1, 1)},
            {"architecture": "sdxl", "class_name": "T2IAdapter"},
        ),
        (
            "x",
            {"adapter.conv_in.weight": (320, 192, 3, 3), "adapter.body.1.in_conv.weight": (640, 320, 1, 1)},
            {"architecture": "sd1", "class_name": "T2IAdapter"},
        ),
        (
            "x",
            {**BASE, "ip_adapter.1.to_k_ip.weight": (320, 768), "ip_adapter.3.to_k_ip.weight": (320, 768)},
            {"architecture": "sd1", "variant": "base", "layers": 2},
        ),
        ("x", {**PLUS, "ip_adapter.1.to_k_ip.weight": (640, 2048)}, {"architecture": "sdxl", "variant": "plus"}),
        (
            "ip-adapter-plus-face_sd15",
            {**PLUS, "ip_adapter.1.to_k_ip.weight": (320, 768)},
            {"architecture": "sd1", "variant": "face"},
        ),
        (
            "x",
            {**BASE, "ip_adapter.1.to_k_ip.weight": (320, 768), "ip_adapter.0.to_q_lora.down.weight": (128, 320)},
            {"architecture": "sd1", "variant": "face-id"},
        ),
        ("x", {"redux_up.weight": (12288, 1152)}, {"architecture": "flux", "class_name": "ReduxImageEncoder"}),
        ("x", {"lllite_unet_down.weight": (32, 3)}, {"kind": "controlnet", "architecture": "other"}),
    ],
)
def test_file_is_described(name: str, shapes: Shapes, expected: dict[str, object], tmp_path: Path) -> None:
    values = read_info(zero_file(tmp_path / f"{name}.safetensors", shapes)).values
    assert {key: values.get(key) for key in expected} == expected


def test_bundled_net_is_described() -> None:
    folder = net_entries()["canny-tiny"].bundled_folder
    assert folder is not None
    values = read_info(folder / "diffusion_pytorch_model.safetensors").values
    found = (values["architecture"], values["class_name"], values["control_kinds"])
    assert found == ("sd1", "ControlNetModel", ["canny", "lineart", "scribble"])
