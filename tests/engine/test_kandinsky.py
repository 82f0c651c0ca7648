"""Test Kandinsky 2.2, 3 and 5: images of plain diffusers, and the combination of a decoder with its prior."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import command_line
import hub_server
import plain_scripts
import pytest
import sample_images
import torch
from PIL import Image

from artgen import Img2Img, Inpaint, Txt2Img, generate, registry, replay
from artgen.errors import ModelUnavailableError
from artgen.registry.hub import cache

PRIOR = "kandinsky-community/kandinsky-2-2-prior"
CALL: dict[str, Any] = {"prompt": "a red fox", "guidance_scale": 3.0, "seed": 7}
SIZE = {"width": 64, "height": 64}
DECODERS = {
    "kandinsky22": ("KandinskyV22Pipeline", "KandinskyV22CombinedPipeline"),
    "kandinsky22-inpaint": ("KandinskyV22InpaintPipeline", "KandinskyV22InpaintCombinedPipeline"),
}


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [
        ("kandinsky22", "KandinskyV22CombinedPipeline"),
        ("kandinsky3", "Kandinsky3Pipeline"),
    ],
)
def test_txt2img_gives_the_image_of_diffusers(name: str, pipeline: str, zoo: Mapping[str, Path]) -> None:
    for call in (CALL, {**CALL, "negative_prompt": "house"}):
        expected = plain_scripts.generate(pipeline, zoo[name], num_inference_steps=3, **call, **SIZE)
        assert generate(Txt2Img(model=str(zoo[name]), steps=3, **call, **SIZE)).image == expected


@pytest.mark.parametrize(
    ("name", "pipeline"),
    [("kandinsky22", "KandinskyV22Img2ImgCombinedPipeline"), ("kandinsky3", "Kandinsky3Img2ImgPipeline")],
)
def test_img2img_gives_the_image_of_diffusers(name: str, pipeline: str, zoo: Mapping[str, Path]) -> None:
    path = sample_images.photo(Path("in.png"), 64, 64)
    image = Image.open(path).convert("RGB")
    size = SIZE if name == "kandinsky22" else {}
    expected = plain_scripts.generate(
        pipeline, zoo[name], num_inference_steps=4, image=image, strength=0.6, **CALL, **size
    )
    assert generate(Img2Img(model=str(zoo[name]), image=path, strength=0.6, steps=4, **CALL)).image == expected


def test_kandinsky5_gives_the_image_of_diffusers(zoo: Mapping[str, Path]) -> None:
    with plain_scripts.quiet():
        pipe = plain_scripts.load("Kandinsky5T2IPipeline", zoo["kandinsky5"])
    pipe.resolutions = [(64, 64)]  # diffusers generates other sizes at the nearest of its sizes
    expected = pipe(
        CALL["prompt"], guidance_scale=3.0, num_inference_steps=3, generator=torch.Generator("cpu").manual_seed(7),
        output_type="pil", **SIZE,
    ).image[0]  # fmt: skip
    assert generate(Txt2Img(model=str(zoo["kandinsky5"]), steps=3, **CALL, **SIZE)).image == expected


def test_inpaint_gives_the_image_of_diffusers(zoo: Mapping[str, Path]) -> None:
    model = zoo["kandinsky22-inpaint"]
    path, mask_path = sample_images.photo(Path("in.png"), 64, 64), sample_images.mask(Path("mask.png"), 64, 64)
    expected = plain_scripts.generate(
        "KandinskyV22InpaintCombinedPipeline", model, num_inference_steps=3, image=Image.open(path).convert("RGB"),
        mask_image=Image.open(mask_path).convert("L"), **CALL, **SIZE,
    )  # fmt: skip
    request = Inpaint(model=str(model), image=path, mask=mask_path, keep_original=False, steps=3, **CALL)
    assert generate(request).image == expected


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("kandinsky22", "inpaint", "it is not an inpainting model"),
        ("kandinsky22-inpaint", "txt2img", "it is an inpainting model"),
        ("kandinsky3", "inpaint", "support only txt2img, img2img"),
        ("kandinsky5", "img2img", "support only txt2img"),
    ],
)
def test_other_tasks_are_refused(name: str, task: str, message: str, zoo: Mapping[str, Path]) -> None:
    command_line.save_inputs()
    inputs = {"inpaint": ["in.png", "x", "--mask", "mask.png"], "txt2img": ["x"], "img2img": ["in.png", "x"]}[task]
    assert message in command_line.run(task, *inputs, "-m", str(zoo[name]), code=4).output


def split(combined: Path, name: str) -> tuple[Path, Path]:
    """Write the decoder and the prior of a combined model to two folders, as the repositories of Kandinsky 2.2."""
    index = json.loads((combined / "model_index.json").read_text())
    decoder, prior = Path("decoder"), Path("prior")
    indices: dict[Path, dict[str, Any]] = {
        decoder: {"_class_name": DECODERS[name][0]}, prior: {"_class_name": "KandinskyV22PriorPipeline"}
    }  # fmt: skip
    for component, value in index.items():
        if isinstance(value, list):
            folder = prior if component.startswith("prior_") else decoder
            indices[folder][component.removeprefix("prior_")] = value
            shutil.copytree(combined / component, folder / component.removeprefix("prior_"))
    for folder, values in indices.items():
        (folder / "model_index.json").write_text(json.dumps(values))
    return decoder, prior


def save_to_hub_cache(prior: Path) -> None:
    root = cache.repository_folder(PRIOR)
    shutil.copytree(prior, root / "snapshots" / hub_server.COMMIT)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(hub_server.COMMIT)


def test_a_decoder_is_combined_with_its_cached_prior(zoo: Mapping[str, Path]) -> None:
    decoder, prior = split(zoo["kandinsky22"], "kandinsky22")
    with pytest.raises(ModelUnavailableError, match=f"The prior '{PRIOR}' of the model is not on this computer"):
        generate(Txt2Img(model=str(decoder), offline=True, **CALL))
    save_to_hub_cache(prior)
    expected = generate(Txt2Img(model=str(zoo["kandinsky22"]), steps=3, **CALL, **SIZE)).image
    result = generate(Txt2Img(model=str(decoder), steps=3, offline=True, **CALL, **SIZE))
    assert result.image == expected
    assert (result.record["model"], result.record["model_source"]) == ("decoder", "local")
    Path("a.json").write_text(json.dumps(result.record))
    assert replay(Path("a.json")).image == expected
    path = sample_images.photo(Path("in.png"), 64, 64)
    images = [
        generate(Img2Img(model=str(each), image=path, steps=4, **CALL)).image for each in (decoder, zoo["kandinsky22"])
    ]
    assert images[0] == images[1]


def test_an_inpainting_decoder_is_combined_with_its_prior(zoo: Mapping[str, Path]) -> None:
    decoder, prior = split(zoo["kandinsky22-inpaint"], "kandinsky22-inpaint")
    save_to_hub_cache(prior)
    path, mask = sample_images.photo(Path("in.png"), 64, 64), sample_images.mask(Path("mask.png"), 64, 64)
    images = [
        generate(Inpaint(model=str(model), image=path, mask=mask, steps=3, **CALL)).image
        for model in (decoder, zoo["kandinsky22-inpaint"])
    ]
    assert images[0] == images[1]


def test_the_prior_is_downloaded_when_it_is_needed(zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, prior = split(zoo["kandinsky22"], "kandinsky22")
    with hub_server.serve(hub_server.Hub(repo=PRIOR)) as hub:
        hub.fill(prior)
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        assert registry.resolve_model(str(decoder), download=False).remote is not None
        assert not [name for name in hub.downloads() if name.endswith(".safetensors")]
        result = generate(Txt2Img(model=str(decoder), steps=3, **CALL, **SIZE))
    assert result.image == generate(Txt2Img(model=str(zoo["kandinsky22"]), steps=3, **CALL, **SIZE)).image
