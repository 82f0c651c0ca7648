"""Test the table of pipelines (`assets/pipelines.json`) without diffusers."""

import pytest

from artgen.errors import ModelUnavailableError
from artgen.registry import pipelines

GUIDANCE_KINDS = {"none", "classifier-free", "embedded", "true-cfg"}
NEGATIVE_KINDS = {"none", "guidance", "true-cfg"}


def test_each_entry_has_known_values() -> None:
    for entry in pipelines.pipeline_entries().values():
        assert entry.guidance in GUIDANCE_KINDS, entry.name
        assert entry.negative_prompt in NEGATIVE_KINDS, entry.name
        assert entry.tasks.keys() <= {"txt2img", "img2img", "inpaint", "outpaint", "edit", "sample"}, entry.name
        assert entry.tasks, entry.name
        assert entry.steps >= 1, entry.name
        assert entry.guidance_scale >= 0, entry.name


@pytest.mark.parametrize(
    ("class_name", "index", "denoiser", "expected"),
    [
        ("StableDiffusionPipeline", {}, {}, "sd1"),
        ("StableDiffusionPipeline", {}, {"cross_attention_dim": 1024}, "sd2"),
        ("StableDiffusionXLImg2ImgPipeline", {"requires_aesthetics_score": True}, {}, "sdxl-refiner"),
        ("StableDiffusionXLPipeline", {"scheduler": ["diffusers", "EDMEulerScheduler"]}, {}, "cosxl"),
        (
            "StableDiffusionXLPipeline",
            {"scheduler": ["diffusers", "EDMDPMSolverMultistepScheduler"]},
            {},
            "playground-v2.5",
        ),
        ("FluxPipeline", {}, {"guidance_embeds": False}, "flux-schnell"),
        ("FluxPipeline", {}, {"guidance_embeds": True}, "flux"),
        ("Flux2KleinPipeline", {"is_distilled": True}, {}, "flux2-klein"),
        ("Flux2KleinPipeline", {"is_distilled": False}, {}, "flux2-klein-base"),
    ],
)
def test_configurations_select_the_variant(
    class_name: str, index: dict[str, object], denoiser: dict[str, object], expected: str
) -> None:
    entry = pipelines.find_entry(class_name, index, denoiser)
    assert entry is not None
    assert entry.name == expected


@pytest.mark.parametrize(
    ("class_name", "reason"),
    [
        ("LongCatImageEditPipeline", "generates images of fixed sizes"),
        ("StableDiffusionXLControlNetPipeline", "control image"),
        ("StableDiffusionUpscalePipeline", "upscales images"),
        ("WanPipeline", "generates videos"),
        ("StableAudioPipeline", "generates audio"),
        ("NoSuchPipeline", "is not in artgen's table of image pipelines"),
    ],
)
def test_other_pipelines_are_refused_with_the_reason_and_supported_families(class_name: str, reason: str) -> None:
    with pytest.raises(ModelUnavailableError, match=reason) as caught:
        pipelines.require_entry("owner/name", class_name)
    assert "Stable Diffusion XL" in str(caught.value.hint)
    assert "Flux" in str(caught.value.hint)
