"""Test that exceptions of other libraries in a pipeline call exit with code 4, and bugs of artgen do not."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel

from artgen import Txt2Img, generate
from artgen.engine.loading import pipeline_cache
from artgen.engine.sampling import nan_guard
from artgen.errors import ModelUnavailableError

REQUEST: dict[str, Any] = {"prompt": "a red fox", "seed": 7, "steps": 2, "device": "cpu"}


def fail(*_: Any, **__: Any) -> None:
    raise ValueError("the tensor has 3 dimensions.\nSecond line")


@pytest.mark.parametrize(
    ("cls", "method"),
    [
        (CLIPTextModel, "forward"),
        (StableDiffusionPipeline, "prepare_latents"),
        (UNet2DConditionModel, "forward"),
        (AutoencoderKL, "decode"),
    ],
)
def test_exceptions_of_other_libraries_name_the_model(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch, cls: type, method: str
) -> None:
    pipeline_cache.clear_cache()
    monkeypatch.setattr(cls, method, fail)
    reason = r"^Cannot generate with '.*sd1': the tensor has 3 dimensions\.$"
    with pytest.raises(ModelUnavailableError) as caught:
        generate(Txt2Img(model=str(models["sd1"]), **REQUEST))
    assert re.match(reason, caught.value.message)
    assert caught.value.exit_code == 4
    assert "artgen models verify" in caught.value.hint


def test_a_pipeline_works_again_after_an_exception(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    before = generate(Txt2Img(model=str(models["sd1"]), **REQUEST)).image
    with monkeypatch.context() as patches:
        patches.setattr(UNet2DConditionModel, "forward", fail)
        with pytest.raises(ModelUnavailableError):
            generate(Txt2Img(model=str(models["sd1"]), **REQUEST))
    assert generate(Txt2Img(model=str(models["sd1"]), **REQUEST)).image.tobytes() == before.tobytes()


def test_bugs_of_artgen_in_a_callback_are_not_converted(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nan_guard, "_AsyncFlags", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        generate(Txt2Img(model=str(models["sd1"]), **REQUEST))


def test_running_out_of_memory_is_not_converted(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def forward(original: Callable[..., Any], self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(len(calls))
        if calls == [0]:
            raise MemoryError
        return original(self, *args, **kwargs)

    plain.wrap_method(monkeypatch, UNet2DConditionModel, "forward", forward)
    assert generate(Txt2Img(model=str(models["sd1"]), **REQUEST)).record["fallbacks"] == ["vae tiling"]
