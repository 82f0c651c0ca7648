"""Test that images with control nets equal plain diffusers byte for byte, and images without them too."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import plain_scripts as plain
import pytest
import sample_images
import tiny_controls
import tiny_models
import torch
from control_jobs import batch, controlled, request_for
from diffusers.models.controlnets import FluxMultiControlNetModel, SD3MultiControlNetModel
from PIL import Image

from artgen import UsageError, generate, replay
from artgen.jobs.prepare import prepare_jobs

PLAIN = {"seed": 3, "num_inference_steps": 4, "guidance_scale": 6.0}
PLAIN |= {"prompt": "a red fox in the snow", "negative_prompt": "a small house"}

CLASS_PREFIXES = {
    "sd1": "StableDiffusionControlNet",
    "sdxl": "StableDiffusionXLControlNet",
    "union": "StableDiffusionXLControlNetUnion",
    "sd3": "StableDiffusion3ControlNet",
    "flux": "FluxControlNet",
}
KINDS = ("sd1", "sdxl", "union", "sd3")
CASES = [(kind, task) for kind in ("sd1", "sdxl", "union") for task in plain.SUFFIXES] + [("sd3", "txt2img")]
"""Nets and tasks for which diffusers has a pipeline."""


GUESS = {"control_guess": True}


@pytest.fixture(autouse=True)
def _input_images() -> None:
    sample_images.photo(Path("photo.png"))
    sample_images.mask(Path("mask.png"))


@pytest.fixture(scope="module")
def folders(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of the model of each kind of net."""
    # The last layer of Stable Diffusion 3 takes no residuals.
    sd3 = tiny_models.sd3(tmp_path_factory.mktemp("models") / "sd3", layers=2)
    return {"sd1": models["sd1"], "sdxl": models["sdxl"], "union": models["sdxl"], "sd3": sd3}


@pytest.fixture(scope="module")
def nets(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of a net of each kind."""
    root = tmp_path_factory.mktemp("nets")
    return {kind: tiny_controls.save(kind, root / kind, folders[kind]) for kind in KINDS}


def plain_control(kind: str, task: str, model: Path, nets: Sequence[Any], **arguments: Any) -> Image.Image:
    """Generate with the control pipeline of diffusers."""
    absent = dict.fromkeys(plain.ABSENT) if kind == "sd3" else {}
    infix = "PAG" if "pag_scale" in arguments else ""
    with plain.quiet():
        cls = getattr(diffusers, CLASS_PREFIXES[kind] + infix + plain.SUFFIXES[task])
        pipe = cls.from_pretrained(model, controlnet=nets[0] if len(nets) == 1 else _joined(kind, nets), **absent)
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(3)  # Stable Diffusion 3 encodes the control map with noise of the global generator
    settings = {**PLAIN, **sample_images.task_arguments(task), **arguments}
    if kind == "flux":
        del settings["negative_prompt"]
    return plain.run(pipe, **settings)


def _joined(kind: str, nets: Sequence[Any]) -> Any:
    """Return nets as one component; some pipelines do not take a list."""
    classes = {"sd3": SD3MultiControlNetModel, "flux": FluxMultiControlNetModel}
    return classes[kind](list(nets)) if kind in classes else list(nets)


def map_argument(kind: str, task: str) -> str:
    """Return the name of the argument with the control map."""
    return "image" if task == "txt2img" and kind in ("sd1", "sdxl") else "control_image"


@pytest.mark.parametrize(("kind", "task"), CASES)
def test_control_equals_plain_diffusers(
    folders: dict[str, Path], nets: dict[str, Path], kind: str, task: str, tmp_path: Path
) -> None:
    model = folders[kind]
    request = request_for(task, model)
    net = tiny_controls.net_of(nets[kind], model.name)
    plain_image = generate(request).image

    ours = controlled(request, tiny_controls.control(net, "canny=m.png,scale=0.7,until=0.6")).image
    arguments = {map_argument(kind, task): tiny_controls.control_map(), "control_guidance_end": 0.6}
    if kind == "union":
        arguments["control_mode"] = 3
    theirs = plain_control(
        kind, task, model, [tiny_controls.build(kind, model)], controlnet_conditioning_scale=0.7, **arguments
    )
    assert sample_images.same(ours, theirs)
    assert not sample_images.same(ours, plain_image)

    # Off: the scale 0, an end before the first step, a net without training, and a later image without control.
    for text in ("canny=m.png,scale=0", "canny=m.png,until=0.001"):
        assert sample_images.same(controlled(request, tiny_controls.control(net, text)).image, plain_image), text
    folder = tiny_controls.save(kind, tmp_path / "fresh", model, fresh=True)
    fresh = tiny_controls.control(tiny_controls.net_of(folder, model.name))
    assert sample_images.same(controlled(request, fresh).image, plain_image)
    assert sample_images.same(generate(request).image, plain_image)


@pytest.mark.parametrize("kind", KINDS)
def test_several_nets_equal_plain_diffusers(
    folders: dict[str, Path], nets: dict[str, Path], kind: str, tmp_path: Path
) -> None:
    model = folders[kind]
    other = tiny_controls.net_of(tiny_controls.save(kind, tmp_path / "other", model, seed=8), model.name)
    net, second_map = tiny_controls.net_of(nets[kind], model.name), tiny_controls.control_map(1)
    controls = [
        tiny_controls.control(net, "canny=m.png,scale=0.7,until=0.6"),
        tiny_controls.control(other, "depth=m.png,scale=0.4,from=0.5", image=second_map),
        tiny_controls.control(net, "canny=m.png,scale=0"),
    ]
    ours = controlled(request_for("txt2img", model), *controls).image
    arguments = {
        map_argument(kind, "txt2img"): [tiny_controls.control_map(), second_map],
        "controlnet_conditioning_scale": [0.7, 0.4],
        "control_guidance_start": [0.0, 0.5],
        "control_guidance_end": [0.6, 1.0],
        **({"control_mode": [3, 1]} if kind == "union" else {}),
    }
    modules = [tiny_controls.build(kind, model), tiny_controls.build(kind, model, seed=8)]
    assert sample_images.same(ours, plain_control(kind, "txt2img", model, modules, **arguments))


@pytest.mark.parametrize(
    ("kind", "task", "setting", "argument"),
    [
        ("sd1", "txt2img", dict(GUESS), {"guess_mode": True}),
        ("sdxl", "img2img", dict(GUESS), {"guess_mode": True}),
        ("sdxl", "inpaint", dict(GUESS), {"guess_mode": True}),
        ("sd1", "txt2img", {"pag_scale": 3.0}, {"pag_scale": 3.0}),
        ("sd1", "inpaint", {"pag_scale": 3.0}, {"pag_scale": 3.0}),
        ("sdxl", "txt2img", {"pag_scale": 3.0}, {"pag_scale": 3.0}),
        ("sdxl", "img2img", {"pag_scale": 3.0}, {"pag_scale": 3.0}),
        ("sdxl", "inpaint", {"guidance_rescale": 0.7}, {"guidance_rescale": 0.7}),
    ],
)
def test_control_with_other_guidance_equals_plain_diffusers(
    folders: dict[str, Path], nets: dict[str, Path], kind: str, task: str, setting: dict[str, Any],
    argument: dict[str, Any],
) -> None:  # fmt: skip
    model = folders[kind]
    control = tiny_controls.control(tiny_controls.net_of(nets[kind], model.name))
    request = request_for(task, model)
    guess = bool(setting.pop("control_guess", False))
    ours = controlled(request.replace(**setting), control, guess=guess).image
    arguments = {
        map_argument(kind, task): control.image,
        **argument,
        **({"control_mode": 3} if kind == "union" else {}),
    }
    arguments["controlnet_conditioning_scale"] = 1.0
    theirs = plain_control(kind, task, model, [tiny_controls.build(kind, model)], **arguments)
    assert sample_images.same(ours, theirs)
    assert not sample_images.same(ours, controlled(request, control).image)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_adapters_equal_plain_diffusers(folders: dict[str, Path], kind: str, tmp_path: Path) -> None:
    model, map_image = folders[kind], tiny_controls.control_map()
    if kind == "sd1":
        model = tiny_controls.with_attention_first(tmp_path / "model", model)
    folder = tiny_controls.save("adapter", tmp_path / "a", model)
    gray = tiny_controls.save("adapter", tmp_path / "b", model, seed=6, in_channels=1)
    first, second = tiny_controls.net_of(folder, kind), tiny_controls.net_of(gray, kind)
    request = request_for("txt2img", model)
    plain_image = generate(request).image

    cls = getattr(
        diffusers, {"sd1": "StableDiffusionAdapterPipeline", "sdxl": "StableDiffusionXLAdapterPipeline"}[kind]
    )
    base = plain.load({"sd1": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline"}[kind], model)
    modules = [tiny_controls.build("adapter", model), tiny_controls.build("adapter", model, seed=6, in_channels=1)]
    for count in (1, 2):
        controls = [tiny_controls.control(net, "canny=m.png,scale=0.6") for net in (first, second)[:count]]
        ours = controlled(request, *controls).image
        adapter = modules[0] if count == 1 else diffusers.MultiAdapter(modules)
        parts = {**base.components, "adapter": adapter, "requires_safety_checker": False}
        accepted = inspect.signature(cls.__init__).parameters
        pipe = cls(**{name: part for name, part in parts.items() if name in accepted})
        pipe.set_progress_bar_config(disable=True)
        maps = [map_image, map_image.convert("L")][:count]
        theirs = plain.run(
            pipe, width=32, height=32, image=maps[0] if count == 1 else maps,
            adapter_conditioning_scale=0.6 if count == 1 else [0.6, 0.6], **PLAIN,
        )  # fmt: skip
        assert sample_images.same(ours, theirs), count
        assert not sample_images.same(ours, plain_image)
    assert sample_images.same(
        controlled(request, tiny_controls.control(first, "canny=m.png,scale=0")).image, plain_image
    )
    assert sample_images.same(generate(request).image, plain_image)


def test_inpaint_net_reads_the_image_with_masked_pixels_of_minus_one(
    folders: dict[str, Path], nets: dict[str, Path]
) -> None:
    model = folders["sd1"]
    net = tiny_controls.net_of(nets["sd1"], "sd1", is_inpaint=True)
    ours = controlled(request_for("inpaint", model), tiny_controls.control(net, "raw=m.png")).image
    pixels = np.asarray(Image.open("photo.png").convert("RGB")).astype(np.float32) / 255.0
    pixels[np.asarray(Image.open("mask.png").convert("L")) / 255.0 > 0.5] = -1.0
    condition = torch.from_numpy(pixels[None].transpose(0, 3, 1, 2).copy())
    theirs = plain_control(
        "sd1", "inpaint", model, [tiny_controls.build("sd1", model)], control_image=condition,
        controlnet_conditioning_scale=1.0,
    )  # fmt: skip
    assert sample_images.same(ours, theirs)


@pytest.mark.parametrize(("kind", "setting"), [("sd1", {}), ("sd1", {"pag_scale": 3.0}), ("sdxl", {})])
def test_only_the_masked_area_with_control_equals_plain_diffusers(
    folders: dict[str, Path], nets: dict[str, Path], kind: str, setting: dict[str, Any]
) -> None:
    """The pipeline crops the control map together with the image, which has another size than the model."""
    model = folders[kind]
    photo = Image.open("photo.png").convert("RGB").resize((75, 61))
    photo.save("photo.png")
    mask = Image.new("L", photo.size)
    mask.paste(255, (20, 10, 50, 40))
    mask.save("mask.png")
    control_map = tiny_controls.control_map(size=photo.size)
    control_map.save("map.png")
    request = request_for("inpaint", model, only_masked=6, control=(f"raw=map.png,model={nets[kind]}",), **setting)
    ours = generate(request).image
    (job,) = prepare_jobs([request])
    width, height = job.model.native_size
    theirs = plain_control(
        kind, "inpaint", model, [tiny_controls.build(kind, model)], control_image=control_map, width=width,
        height=height, padding_mask_crop=6, controlnet_conditioning_scale=1.0, mask_image=mask,
        **setting,
    )  # fmt: skip
    assert ours.size == photo.size
    assert sample_images.same(ours, theirs)
    off = request.replace(control=(), pag_scale=None)
    assert not sample_images.same(ours, generate(off).image)


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "union"])
def test_soft_masks_with_control(folders: dict[str, Path], nets: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """A net without training changes nothing, and a soft mask without gray values equals the mask of diffusers."""
    model = folders[kind]
    control = tiny_controls.control(tiny_controls.net_of(nets[kind], model.name))
    request = request_for("inpaint", model, strength=0.9)
    soft = request.replace(soft_mask=True)
    assert sample_images.same(controlled(soft, control).image, controlled(request, control).image)
    mask = Image.open("mask.png").convert("L").point(lambda value: value * 150 // 255)
    mask.save("mask.png")
    folder = tiny_controls.save(kind, tmp_path / "fresh", model, fresh=True)
    fresh = tiny_controls.control(tiny_controls.net_of(folder, model.name))
    without = generate(soft).image
    assert sample_images.same(controlled(soft, fresh).image, without)
    assert not sample_images.same(controlled(soft, control).image, without)


@pytest.mark.parametrize(("task", "count"), [("inpaint", 1), ("inpaint", 2), ("outpaint", 1)])
def test_inpaint_nets_of_sd3_equal_plain_diffusers(
    folders: dict[str, Path], tmp_path: Path, task: str, count: int
) -> None:
    model = folders["sd3"]
    folder = tiny_controls.save("sd3", tmp_path / "net", model, extra_conditioning_channels=1)
    net = tiny_controls.net_of(folder, "sd3", is_inpaint=True)
    request = request_for(task, model)
    controls = [tiny_controls.control(net, "raw=m.png,scale=0.7")] * count
    ours = controlled(request, *controls).image
    (job,) = prepare_jobs([request])
    module = tiny_controls.build("sd3", model, extra_conditioning_channels=1)
    with plain.quiet():
        pipe = diffusers.StableDiffusion3ControlNetInpaintingPipeline.from_pretrained(
            model, controlnet=module if count == 1 else [module] * count, **dict.fromkeys(plain.ABSENT)
        )
    pipe.set_progress_bar_config(disable=True)
    torch.manual_seed(3)
    theirs = plain.run(
        pipe, **PLAIN, width=job.width, height=job.height, control_mask=job.padded_mask,
        control_image=job.padded_image if count == 1 else [job.padded_image] * count,
        controlnet_conditioning_scale=0.7 if count == 1 else [0.7] * count,
    )  # fmt: skip
    assert sample_images.same(ours, theirs)
    alone = [controlled(request.replace(seed=seed), *controls).image for seed in (3, 4)]
    together = batch([request, request.replace(seed=4)], [controls] * 2, size=2)
    assert all(sample_images.difference(a, b.image) <= 1 for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_a_batch_have_their_own_maps(folders: dict[str, Path], nets: dict[str, Path], kind: str) -> None:
    model = folders[kind]
    net = tiny_controls.net_of(nets[kind], model.name)
    requests = [request_for("txt2img", model, seed=seed) for seed in (3, 4, 5)]
    controls = [[tiny_controls.control(net, image=tiny_controls.control_map(i))] for i in range(3)]
    alone = [controlled(request, *given).image for request, given in zip(requests, controls, strict=True)]
    for ours, expected in zip(batch(requests, controls, size=2), alone, strict=True):
        assert sample_images.difference(ours.image, expected) <= 1


@pytest.mark.parametrize(("task", "count"), [("txt2img", 2), ("img2img", 1), ("inpaint", 2)])
def test_union_net_of_flux_equals_plain_diffusers(
    zoo: Mapping[str, Path], task: str, count: int, tmp_path: Path
) -> None:
    model = zoo["flux-dev"]
    sample_images.photo(Path("photo.png"), 64, 64)
    sample_images.mask(Path("mask.png"), 64, 64)
    module = tiny_controls.build("flux", model, num_mode=4)
    module.save_pretrained(tmp_path / "net")
    net = tiny_controls.net_of(tmp_path / "net", "flux", modes={"canny": 0, "depth": 2})
    maps = [tiny_controls.control_map(i, (64, 64)) for i in range(2)]
    texts = ("canny=m.png,scale=0.7,until=0.8", "depth=m.png,scale=0.5")
    controls = [tiny_controls.control(net, text, image=each) for text, each in zip(texts, maps, strict=True)][:count]
    request = request_for(task, model, negative_prompt="")
    request = request.replace(width=64, height=64) if task == "txt2img" else request
    values = {
        "control_image": maps, "controlnet_conditioning_scale": [0.7, 0.5], "control_guidance_start": [0.0, 0.0],
        "control_guidance_end": [0.8, 1.0], "control_mode": [0, 2],
    }  # fmt: skip
    arguments = {name: value[:count] if count > 1 else value[0] for name, value in values.items()}
    size = {"width": 64, "height": 64}
    theirs = plain_control("flux", task, model, [module] * count, **arguments, **size)
    ours = controlled(request, *controls).image
    assert sample_images.same(ours, theirs)
    requests = [request, request.replace(seed=4)]
    first = batch(requests, [controls, controls], size=2)[0].image
    assert sample_images.difference(first, ours) <= 1


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
@pytest.mark.parametrize("space", ["pixel", "latent"])
def test_hires_fix_with_a_control_net_equals_two_calls(
    folders: dict[str, Path], nets: dict[str, Path], kind: str, space: str
) -> None:
    """The control image is resized for each pass."""
    tiny_controls.control_map(size=(64, 64)).save("control.png")
    text = f"raw=control.png,scale=0.9,model={nets[kind]}"
    ours = generate(request_for("txt2img", folders[kind], control=(text,), hires="1.5:0.6", hires_in=space))
    net = tiny_controls.build(kind, folders[kind])

    def control_map(side: int) -> torch.Tensor:
        image = Image.open("control.png").resize((side, side), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(image).astype(np.float32).transpose(2, 0, 1)[None] / 255.0)

    shared = {"controlnet_conditioning_scale": 0.9}
    output = {"output_type": "latent"} if space == "latent" else {}
    first = plain_control(kind, "txt2img", folders[kind], [net], image=control_map(32), **shared, **output)
    if space == "latent":
        size = tuple(round(1.5 * side) for side in first.shape[-2:])
        enlarged = torch.nn.functional.interpolate(first[None], size=size, mode="bilinear")
    else:
        enlarged = first.resize((48, 48), Image.Resampling.LANCZOS)
    arguments = {"image": enlarged, "control_image": control_map(48), "strength": 0.6, **shared}
    assert sample_images.same(ours.image, plain_control(kind, "img2img", folders[kind], [net], **arguments))
    assert ours.record["control"] == [text.replace(str(nets[kind]), nets[kind].name)]
    assert ours.record["hires"] == "1.5:0.6"
    ours.save("ours.png")
    assert sample_images.same(replay("ours.png", control=(text,)).image, ours.image)


@pytest.mark.parametrize("kind", ["sd3"])
def test_hires_fix_without_a_control_pipeline_for_img2img_is_refused(
    folders: dict[str, Path], nets: dict[str, Path], kind: str
) -> None:
    request = request_for("txt2img", folders[kind], control=(f"raw=photo.png,model={nets[kind]}",), hires="1.5")
    with pytest.raises(UsageError, match=r"Cannot use --hires with .* its second pass is img2img"):
        generate(request)
