"""Test that an image has the requested size or the size of its input image, and never a rounded size."""

from pathlib import Path

import numpy as np
import pytest
import sample_images
from diffusers import StableDiffusion3Pipeline, StableDiffusionPipeline
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from artgen import Img2Img, Inpaint, Outpaint, Request, Txt2Img, generate, registry
from artgen.errors import UsageError

FAST = {"seed": 1, "steps": 1, "guidance_scale": 1.0, "strength": 1.0}
ODD = [(1, 1), (7, 13), (33, 47), (64, 1), (8, 40)]


@pytest.mark.parametrize("size", ODD)
def test_output_has_the_size_of_the_input_image(models: dict[str, Path], size: tuple[int, int]) -> None:
    image = sample_images.photo(Path("photo.png"), *size)
    mask = sample_images.mask(Path("mask.png"), *size, box=(0, 0, 1, 1))
    shared = {"model": str(models["sd1"]), "image": image, **FAST}
    requests: list[Request] = [Img2Img(**shared), Inpaint(mask=mask, **shared)]
    assert [generate(request).image.size for request in requests] == [size, size]
    outpainted = generate(Outpaint(expand="left=3,bottom=5", **shared))
    assert outpainted.image.size == (size[0] + 3, size[1] + 5)
    assert (outpainted.record["width"], outpainted.record["height"]) == outpainted.image.size


@pytest.mark.parametrize("kind", ["sdxl", "sd3", "sd1-inpaint", "sd3-inpaint"])
def test_other_architectures_keep_odd_sizes(models: dict[str, Path], kind: str) -> None:
    image = sample_images.photo(Path("photo.png"), 33, 47)
    mask = sample_images.mask(Path("mask.png"), 33, 47)
    shared = {"model": str(models[kind]), "image": image, **FAST}
    assert generate(Inpaint(mask=mask, **shared)).image.size == (33, 47)
    if not kind.endswith("-inpaint"):
        assert generate(Img2Img(**shared)).image.size == (33, 47)


@pytest.mark.parametrize(
    ("requested", "size"), [((45, 21), (45, 21)), ((20, None), (20, 30)), ((None, 15), (10, 15)), ((1, None), (1, 2))]
)
def test_output_has_the_requested_size(
    models: dict[str, Path], requested: tuple[int | None, int | None], size: tuple[int, int]
) -> None:
    image = sample_images.photo(Path("photo.png"), 40, 60)
    request = Img2Img(model=str(models["sd1"]), image=image, width=requested[0], height=requested[1], **FAST)
    generated = generate(request)
    assert generated.image.size == size
    assert (generated.record["width"], generated.record["height"]) == size


def test_outpaint_to_a_target_size(models: dict[str, Path]) -> None:
    image = sample_images.photo(Path("photo.png"), 21, 30)
    assert generate(Outpaint(model=str(models["sd1"]), image=image, target_size="48x33", **FAST)).image.size == (48, 33)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "sd3"])
@pytest.mark.parametrize("size", [(33, 32), (1, 32), (39, 41)])
def test_unsupported_txt2img_size_suggests_supported_sizes(
    models: dict[str, Path], kind: str, size: tuple[int, int]
) -> None:
    request = Txt2Img(model=str(models[kind]), width=size[0], height=size[1], seed=1, steps=1)
    with pytest.raises(UsageError, match=f"{size[0]}x{size[1]}") as raised:
        generate(request)
    suggestions = raised.value.hint.removeprefix("Use --size ").rstrip(".").split(" or ")
    assert suggestions
    for text in suggestions:
        width, height = map(int, text.split("x"))
        assert abs(width - size[0]) < 8
        assert abs(height - size[1]) < 8
        assert generate(request.replace(width=width, height=height)).image.size == (width, height)


def test_txt2img_without_a_size_uses_the_native_size(models: dict[str, Path]) -> None:
    assert generate(Txt2Img(model=str(models["sd1"]), seed=1, steps=1)).image.size == (32, 32)
    assert generate(Txt2Img(model=str(models["sd1"]), seed=1, steps=1, width=64)).image.size == (64, 32)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    data=st.data(),
    feather=st.sampled_from([0, 0, 1, 5]),
    kind=st.sampled_from(["sd1", "sd1-inpaint", "sd3", "sd3-inpaint"]),
)
def test_pixels_outside_the_mask_are_unchanged(
    models: dict[str, Path], size: tuple[int, int], data: st.DataObject, feather: int, kind: str
) -> None:
    width, height = size
    values = data.draw(st.binary(min_size=width * height, max_size=width * height).filter(any))
    mask = Image.frombytes("L", size, values)
    mask.save("mask.png")
    photo = Image.open(sample_images.photo(Path("photo.png"), *size))
    generated = generate(
        Inpaint(
            model=str(models[kind]), image=Path("photo.png"), mask=Path("mask.png"), feather=feather, **FAST,
        )
    ).image  # fmt: skip
    assert generated.size == size
    for before, after, value in zip(pixels(photo), pixels(generated), values, strict=True):
        assert value or before == after


def pixels(image: Image.Image) -> list[bytes]:
    """Return the bytes of each pixel."""
    data = image.tobytes()
    return [data[i : i + 3] for i in range(0, len(data), 3)]


@pytest.mark.parametrize("feather", [0, 1, 4])
def test_outpaint_keeps_the_original_pixels_inside_the_band(models: dict[str, Path], feather: int) -> None:
    photo = Image.open(sample_images.photo(Path("photo.png"), 19, 23))
    request = Outpaint(model=str(models["sd1"]), image=Path("photo.png"), expand="x=9,top=6", feather=feather, **FAST)
    generated = generate(request).image
    inside = (feather, feather, 19 - feather, 23 - feather)
    assert sample_images.same(generated.crop((9, 6, 28, 29)).crop(inside), photo.crop(inside))
    assert sample_images.same(generated.crop((9, 6, 28, 29)), photo) == (feather == 0)
    assert not sample_images.same(generated, generate(request.replace(seed=2)).image)


def test_band_removes_the_step_at_the_edge_of_the_input_image() -> None:
    """The decoded border differs by some gray levels from the image. The step is compared with the steps beside it."""
    fox = Path(__file__).parents[2] / "examples/inputs/fox.png"

    def steps(feather: int | None) -> tuple[float, float]:
        request = Outpaint(
            model="tiny", image=fox, prompt="a red fox in the snow", expand="16", seed=1, steps=6, feather=feather
        )
        pixels = np.asarray(generate(request).image).astype(float)
        sides = (pixels, pixels[::-1], pixels.transpose(1, 0, 2), pixels[:, ::-1].transpose(1, 0, 2))
        differences = np.mean([np.abs(np.diff(side[:, 16:-16], axis=0)).mean((1, 2)) for side in sides], axis=0)
        return float(differences[15]), float(np.r_[differences[8:14], differences[17:23]].mean())

    edge, _ = steps(0)
    blended, beside = steps(None)
    assert edge > 4
    assert blended < edge / 3
    assert blended < 1.5 * beside


def test_resized_or_inverted_mask(models: dict[str, Path]) -> None:
    photo = Image.open(sample_images.photo(Path("photo.png"), 24, 24))
    sample_images.mask(Path("mask.png"), 24, 24, box=(0, 0, 12, 24))
    request = Inpaint(
        model=str(models["sd1"]), image=Path("photo.png"), mask=Path("mask.png"), invert_mask=True, **FAST
    )
    generated = generate(request).image
    assert sample_images.same(generated.crop((0, 0, 12, 24)), photo.crop((0, 0, 12, 24)))
    assert not sample_images.same(generated.crop((12, 0, 24, 24)), photo.crop((12, 0, 24, 24)))
    sample_images.mask(Path("half.png"), 12, 12, box=(0, 0, 6, 12))
    resized = generate(request.replace(mask=Path("half.png"), invert_mask=False, resize_mask=True)).image
    assert sample_images.same(resized.crop((16, 0, 24, 24)), photo.crop((16, 0, 24, 24)))


def test_size_multiple_equals_that_of_diffusers(models: dict[str, Path]) -> None:
    """Generate at a multiple of `size_multiple`; other sizes raise an error."""
    absent = {"text_encoder_3": None, "tokenizer_3": None}
    for cls, name, without in ((StableDiffusionPipeline, "sd1", {}), (StableDiffusion3Pipeline, "sd3", absent)):
        pipe = cls.from_pretrained(models[name], local_files_only=True, **without)
        pipe.set_progress_bar_config(disable=True)
        multiple = registry.resolve_model(str(models[name])).size_multiple
        width, height = multiple * 3, multiple * 5
        images = pipe("a fox", width=width, height=height, num_inference_steps=1, output_type="np").images
        assert images.shape[1:3] == (height, width)
        with pytest.raises(ValueError, match="divisible by"):
            pipe("a fox", width=width + (multiple // 2 if name == "sd1" else 1), height=height)
