"""Test the detection of distilled variants by scheduler, tensors and name."""

import pytest

from artgen.registry.variants import detect_variant


@pytest.mark.parametrize(
    ("name", "architecture", "scheduler", "expected"),
    [
        ("models/base", "z-image", {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 6.0}, (50, 4.0)),
        ("models/turbo", "z-image", {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, None),
        ("HiDream-ai/HiDream-I1-Dev", "hidream", {"_class_name": "FlowMatchLCMScheduler"}, (28, 0.0)),
        ("HiDream-ai/HiDream-I1-Fast", "hidream", {"_class_name": "FlowMatchLCMScheduler"}, (16, 0.0)),
        ("my-hidream", "hidream", {"_class_name": "FlowMatchLCMScheduler"}, (28, 0.0)),
        ("HiDream-ai/HiDream-I1-Fast", "hidream", {}, (16, 0.0)),
        ("HiDream-ai/HiDream-I1-Full", "hidream", {"_class_name": "UniPCMultistepScheduler"}, None),
        ("baidu/ERNIE-Image-Turbo", "ernie-image", {}, (8, 1.0)),
        ("baidu/ERNIE-Image", "ernie-image", {}, None),
        ("lodestones/Chroma1-Flash", "chroma", {}, (18, 1.0)),
        ("lodestones/Chroma1-HD", "chroma", {}, None),
        ("HunyuanDiT-v1.2-Diffusers-Distilled", "hunyuandit", {}, (25, 5.0)),
        ("PixArt-LCM-XL-2-1024-MS", "pixart", {"_class_name": "LCMScheduler"}, (4, 1.0)),
        ("lightx2v/Qwen-Image-Lightning-8steps", "qwen-image", {}, (8, 1.0)),
        ("stable-diffusion-3.5-large-turbo", "sd3", {}, (4, 0.0)),
    ],
)
def test_variant_of_a_transformer(
    name: str, architecture: str, scheduler: dict[str, object], expected: tuple[int, float] | None
) -> None:
    variant = detect_variant(name, architecture, scheduler=scheduler)
    assert (variant and (variant.steps, variant.guidance_scale)) == expected


def test_variant_names_its_source() -> None:
    assert str(detect_variant("x", "hidream", scheduler={"_class_name": "FlowMatchLCMScheduler"})) == (
        "HiDream-I1 Dev (from the scheduler): 28 steps, guidance 0"
    )
