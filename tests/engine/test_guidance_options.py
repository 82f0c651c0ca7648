"""Test for every family that guidance and negative prompts change the image, or are refused, with exact sizes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_images
from tiny_zoo import BUILDERS

from artgen import Img2Img, Inpaint, Txt2Img, generate
from artgen.errors import ModelUnavailableError, UsageError
from artgen.registry import ResolvedModel, resolve_model

SETTINGS: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "device": "cpu"}
SIZE_PX = 64


SLOW = {"qwen-image-edit", "qwen-image-edit-plus"}  # they encode images of a million pixels


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else []) for name in sorted(BUILDERS)]
)
def model(request: pytest.FixtureRequest, zoo: Mapping[str, Path]) -> ResolvedModel:
    """Return each tiny model that generates images from a prompt."""
    try:
        resolved = resolve_model(str(zoo[request.param]))
    except ModelUnavailableError:
        pytest.skip("refused by design, see test_pipelines.py")
    if resolved.is_inpainting or not resolved.pipeline_entry.tasks.keys() - {"sample", "edit"}:  # test_edit.py
        pytest.skip("tested elsewhere")
    return resolved


def image(model: ResolvedModel, **changes: Any) -> bytes:
    """Generate with the first task of the model."""
    settings = {**SETTINGS, "model": str(model.path), "steps": 2, **changes}
    tasks = model.pipeline_entry.tasks
    if "txt2img" in tasks:
        result = generate(Txt2Img(width=SIZE_PX, height=SIZE_PX, **settings))
    elif "img2img" in tasks:
        source = sample_images.photo(Path("photo.png"), SIZE_PX, SIZE_PX)
        result = generate(Img2Img(image=source, **{**settings, "steps": 4}))
    else:
        source, mask = (
            make(Path(f"{make.__name__}.png"), SIZE_PX, SIZE_PX) for make in (sample_images.photo, sample_images.mask)
        )
        result = generate(Inpaint(image=source, mask=mask, **{**settings, "steps": 4}))
    assert result.image.size == (SIZE_PX, SIZE_PX)
    return np.asarray(result.image).tobytes()


def test_guidance_and_negative_prompts_have_an_effect_or_are_refused(model: ResolvedModel) -> None:
    entry = model.pipeline_entry
    if entry.guidance == "none":
        with pytest.raises(UsageError, match=r"--guidance-scale 5 .*no guidance") as caught:
            image(model, guidance_scale=5.0)
        assert caught.value.settings == ("guidance_scale",)
    else:
        assert image(model, guidance_scale=1.5) != image(model, guidance_scale=12.0)
    if entry.negative_prompt == "none":
        with pytest.raises(UsageError, match="negative prompt") as caught:
            image(model, negative_prompt="a cat")
        assert caught.value.settings == ("negative_prompt",)
    else:
        assert image(model, guidance_scale=8.0) != image(model, guidance_scale=8.0, negative_prompt="0")


def test_sizes_are_never_rounded(model: ResolvedModel) -> None:
    if "txt2img" not in model.pipeline_entry.tasks:
        pytest.skip("the size is the size of the input image")
    multiple = model.size_multiple
    width, height = multiple * -(-48 // multiple), multiple * (-(-48 // multiple) + 1)
    settings = {**SETTINGS, "model": str(model.path), "steps": 2}
    result = generate(Txt2Img(width=width, height=height, **settings))
    assert result.image.size == (width, height) == (result.record["width"], result.record["height"])
    with pytest.raises(UsageError, match=f"multiples of {multiple}"):
        generate(Txt2Img(width=width, height=height + multiple // 2, **settings))
