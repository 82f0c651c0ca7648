"""Test that distilled variants are detected by their contents first, and by the words of their names."""

import pytest

from artgen.registry.variants import detect_variant, name_words


@pytest.mark.parametrize(
    ("name", "architecture", "expected"),
    [
        ("sd_xl_turbo_1.0_fp16", "sdxl", ("SDXL Turbo", 4, 0.0)),
        ("stabilityai/sd-turbo", "sd2", ("SD Turbo", 4, 0.0)),
        ("dreamshaperXL_v21TurboDPMSDE", "sdxl", ("SDXL Turbo", 4, 0.0)),
        ("sdxl_lightning_8step_lora_merged", "sdxl", ("Lightning", 8, 0.0)),
        ("realvisxlV40_v40LightningBakedvae", "sdxl", ("Lightning", 4, 0.0)),
        ("Hyper-SDXL-1step", "sdxl", ("Hyper-SD", 1, 0.0)),
        ("Hyper-SDXL-12steps-CFG", "sdxl", ("Hyper-SD", 12, 5.0)),
        ("lustifySDXLNSFW_ggwpV7DMD2", "sdxl", ("DMD2", 4, 0.0)),
        ("SimianLuo/LCM_Dreamshaper_v7", "sd1", ("LCM", 4, 1.0)),
        ("sd3.5_large_turbo", "sd3", ("Stable Diffusion 3.5 Large Turbo", 4, 0.0)),
        ("hyperrealism", "sd1", None),
        ("lightningstrike", "sdxl", None),
        ("turbo-owner/plain-model", "sdxl", None),
        ("juggernautXL_v9", "sdxl", None),
        ("flux1-dev-turbo", "flux", None),
    ],
)
def test_names_of_models_and_their_words(name: str, architecture: str, expected: tuple[str, int, float] | None) -> None:
    variant = detect_variant(name, architecture)
    assert (variant and (variant.name, variant.steps, variant.guidance_scale)) == expected
    assert variant is None or variant.source == "name"


def test_contents_have_priority_over_the_name() -> None:
    by_tensor = detect_variant("sdxl_lightning_4step", "sdxl", time_cond_dim=256)
    assert by_tensor is not None
    assert (by_tensor.source, by_tensor.guidance_scale) == ("tensors", 8.0)
    by_scheduler = detect_variant("sdxl_lightning_4step", "sdxl", scheduler={"_class_name": "LCMScheduler"})
    assert by_scheduler is not None
    assert (by_scheduler.source, by_scheduler.guidance_scale) == ("scheduler", 1.0)
    undistilled = {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "trailing"}
    assert detect_variant("a", "sdxl", scheduler={**undistilled, "prediction_type": "v_prediction"}) is None
    assert detect_variant("a", "sdxl", scheduler=undistilled) is not None


@pytest.mark.parametrize("name", ["", "/", "a" * 10_000, "\ud800\n\0", "100000 steps lightning", "../../lightning"])
def test_unusual_names_are_bounded(name: str) -> None:
    assert len(name_words(name)) < 500
    variant = detect_variant(name, "sdxl")
    assert variant is None or 1 <= variant.steps <= 16
