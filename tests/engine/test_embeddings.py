"""Test embeddings (textual inversions): images as with plain diffusers, and the model is unchanged afterwards."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from artgen import Img2Img, Txt2Img, generate, generate_all, registry
from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.loading.embeddings import attached_embeddings
from artgen.engine.sampling import text_encoder_offload
from artgen.registry.convert import convert_pickle
from artgen.registry.embeddings import EmbeddingRequest, read_embedding

SETTINGS: dict[str, Any] = {"seed": 3, "steps": 2, "guidance_scale": 4.0}
WIDTH = 32


def vectors(number: int, seed: int) -> torch.Tensor:
    return torch.randn(number, WIDTH, generator=torch.Generator().manual_seed(seed)) * 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save embeddings in all layouts."""
    folder = tmp_path_factory.mktemp("embeddings")
    save_file({"emb_params": vectors(1, 1)}, folder / "one.safetensors")
    save_file({"emb_params": vectors(4, 2)}, folder / "four.safetensors")
    save_file({"<my>": vectors(1, 3)[0]}, folder / "concept.safetensors")
    save_file({"clip_l": vectors(2, 4), "clip_g": vectors(2, 5)}, folder / "pair.safetensors")
    return folder


@pytest.fixture(autouse=True)
def _embedding_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_EMBEDDING_FOLDER", str(folder))


def generate_plain(kind: str, model: Path, files: dict[str, Path], **kwargs: Any) -> Image.Image:
    """Generate an image with plain diffusers, which loads the embeddings of `files` with their tokens."""
    with plain.quiet():
        cls = {"sd1": diffusers.StableDiffusionPipeline, "sdxl": diffusers.StableDiffusionXLPipeline}[kind]
        pipe = cls.from_pretrained(model)
        pipe.set_progress_bar_config(disable=True)
        for token, path in files.items():
            tensors = load_file(path)
            for number, suffix in enumerate(("", "_2") if kind == "sdxl" else ("",)):
                values = tensors[("clip_l", "clip_g")[number]] if kind == "sdxl" else next(iter(tensors.values()))
                pipe.load_textual_inversion(
                    {token: values},
                    text_encoder=getattr(pipe, f"text_encoder{suffix}"),
                    tokenizer=getattr(pipe, f"tokenizer{suffix}"),
                )
        generator = torch.Generator("cpu").manual_seed(SETTINGS["seed"])
        return pipe(num_inference_steps=SETTINGS["steps"], guidance_scale=4.0, generator=generator, **kwargs).images[0]


@pytest.mark.parametrize("name", ["one", "four", "concept"])
def test_image_with_an_embedding_is_byte_identical_to_diffusers(
    models: dict[str, Path], folder: Path, name: str
) -> None:
    path = folder / f"{name}.safetensors"
    ours = generate(Txt2Img(model=str(models["sd1"]), prompt="a <x> fox", embedding=(f"{path}:<x>",), **SETTINGS))
    theirs = generate_plain("sd1", models["sd1"], {"<x>": path}, prompt="a <x> fox")
    assert sample_images.same(ours.image, theirs)
    assert ours.record["embedding"] == [f"{name}.safetensors:<x>"]
    assert ours.record["embedding_sha256"] == [registry.file_hash(path)]


def test_image_with_a_pair_for_sdxl_is_byte_identical_to_diffusers(models: dict[str, Path], folder: Path) -> None:
    path = folder / "pair.safetensors"
    ours = generate(
        Txt2Img(model=str(models["sdxl"]), prompt="a embedding:pair fox", negative_prompt="red", **SETTINGS)
    )
    theirs = generate_plain("sdxl", models["sdxl"], {"<x>": path}, prompt="a <x> fox", negative_prompt="red")
    assert sample_images.same(ours.image, theirs)


def test_negative_and_several_embeddings_are_byte_identical_to_diffusers(models: dict[str, Path], folder: Path) -> None:
    files = {"<x>": folder / "one.safetensors", "<y>": folder / "four.safetensors"}
    ours = generate(
        Txt2Img(model=str(models["sd1"]), prompt="a one fox", negative_prompt="embedding:four, red", **SETTINGS)
    )
    theirs = generate_plain("sd1", models["sd1"], files, prompt="a <x> fox", negative_prompt="<y>, red")
    assert sample_images.same(ours.image, theirs)


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_the_model_is_unchanged_after_an_embedding_was_used(models: dict[str, Path], kind: str) -> None:
    request = Txt2Img(model=str(models[kind]), prompt="a fox", **SETTINGS)
    name = {"sd1": "four", "sdxl": "pair"}[kind]
    before = generate(request).image
    changed = generate(request.replace(prompt=f"a embedding:{name} fox")).image
    pipeline_cache_pipe = next(iter(loaded_models.active_values()))
    assert not any("artgen" in token for token in pipeline_cache_pipe.tokenizer.added_tokens_encoder)
    text_encoder_offload.clear_embeddings()
    assert sample_images.same(generate(request.replace(seed=4)).image, generate_new(request.replace(seed=4)))
    assert sample_images.same(before, generate(request).image)
    assert not sample_images.same(before, changed)


def generate_new(request: Txt2Img) -> Image.Image:
    """Generate an image with a pipeline that was just loaded."""
    pipeline_cache.clear_cache()
    return generate(request).image


def test_lines_of_a_batch_have_their_own_embeddings(models: dict[str, Path]) -> None:
    prompts = ("a one fox", "a embedding:four fox", "a fox", "a one fox", "a (one:1.3) fox")
    requests = [Txt2Img(model=str(models["sd1"]), prompt=prompt, **SETTINGS) for prompt in prompts]
    together = [each.image for each in generate_all(requests) if not hasattr(each, "error")]
    alone = [generate_new(request) for request in requests]
    assert all(map(sample_images.same, together, alone))
    assert sample_images.same(together[0], together[3])
    assert len({image.tobytes() for image in together}) == 4


@pytest.mark.parametrize(("kind", "name"), [("sd1", "four"), ("sdxl", "pair")])
def test_text_offload_with_an_embedding_gives_the_same_image(models: dict[str, Path], kind: str, name: str) -> None:
    request = Txt2Img(model=str(models[kind]), prompt=f"a (embedding:{name}:1.2) fox", device="cpu", **SETTINGS)
    assert sample_images.same(generate(request).image, generate(request.replace(offload="text")).image)


def test_an_embedding_works_with_a_lora_and_img2img(models: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    lora = tiny_loras.diffusers_lora(tmp_path / "foo.safetensors", models["sd1"])
    request = Txt2Img(model=str(models["sd1"]), prompt="a embedding:four fox", **SETTINGS)
    both = generate(request.replace(lora=(str(lora),))).image
    assert len({image.tobytes() for image in (both, generate(request).image)}) == 2
    both.save(tmp_path / "in.png")
    image = Img2Img(model=request.model, prompt=request.prompt, image=tmp_path / "in.png", **SETTINGS)
    assert not sample_images.same(generate(image).image, generate(image.replace(prompt="a fox")).image)


def test_vectors_stay_in_one_chunk(models: dict[str, Path], folder: Path, tmp_path: Path) -> None:
    save_file({"emb_params": vectors(10, 7)}, tmp_path / "ten.safetensors")
    request = Txt2Img(model=str(models["sd1"]), embedding=(f"{tmp_path / 'ten.safetensors'}:<x>",), **SETTINGS)
    crossing = generate(request.replace(prompt=" ".join([*["fox"] * 70, "<x>"]))).image
    separated = generate(request.replace(prompt=" ".join([*["fox"] * 70, "BREAK <x>"]))).image
    assert sample_images.same(crossing, separated)


def test_pooled_output_is_that_of_the_end_token(models: dict[str, Path], folder: Path) -> None:
    model = registry.resolve_model(str(models["sdxl"]))
    pipe = pipeline_cache.load_pipeline(
        model, DeviceConfig("cpu", "fp32"), offload=None, vae_tiling=False, safety_checker=False, listener=print
    )
    embedding = EmbeddingRequest(read_embedding(folder / "pair.safetensors"), "<x>")
    encoder = pipe.text_encoder_2
    with attached_embeddings(pipe, [embedding]), torch.no_grad():
        ids = pipe.tokenizer_2(f"a {embedding.placeholder} fox", return_tensors="pt").input_ids
        expected = encoder(ids)[0]
        end = encoder.config.eos_token_id
        encoder.config.eos_token_id = 2  # as in SDXL: the pooled output is that of the largest id
        try:
            assert torch.equal(encoder(ids)[0], expected)
        finally:
            encoder.config.eos_token_id = end


@pytest.mark.parametrize("layout", ["a1111", "diffusers"])
def test_a_converted_pickle_gives_the_same_image(models: dict[str, Path], tmp_path: Path, layout: str) -> None:
    tensor = vectors(3, 9)
    content: dict[str, Any] = {"<my>": tensor}
    if layout == "a1111":
        content = {"string_to_token": {"*": 265}, "string_to_param": {"*": tensor}, "name": "my", "step": 1}
    torch.save(content, tmp_path / "my.pt")
    save_file({"emb_params": tensor}, tmp_path / "expected.safetensors")
    convert_pickle(tmp_path / "my.pt", tmp_path / "my.safetensors")
    request = Txt2Img(model=str(models["sd1"]), prompt="a <x> fox", **SETTINGS)
    images = [
        generate(request.replace(embedding=(f"{tmp_path / name}.safetensors:<x>",))).image
        for name in ("my", "expected")
    ]
    assert sample_images.same(*images)


def test_an_embedding_works_with_a_refiner(zoo: Mapping[str, Path], tmp_path: Path) -> None:
    width = 32
    save_file({"clip_l": torch.randn(2, width), "clip_g": torch.randn(2, width)}, tmp_path / "xl.safetensors")
    request = Txt2Img(model=str(zoo["sdxl"]), refiner=f"{zoo['sdxl-refiner']}:0.5", prompt="a <x> fox", seed=1, steps=4)
    changed = request.replace(embedding=(f"{tmp_path / 'xl.safetensors'}:<x>",))
    before = generate(request).image
    assert not sample_images.same(before, generate(changed).image)
    assert sample_images.same(before, generate(request).image)


def test_threads_with_and_without_an_embedding_do_not_affect_each_other(models: dict[str, Path]) -> None:
    requests = [Txt2Img(model=str(models["sd1"]), prompt=text, **SETTINGS) for text in ("a fox", "a one fox")]
    expected = [generate(request).image.tobytes() for request in requests]
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda request: generate(request).image.tobytes(), requests * 3))
    assert images == expected * 3
