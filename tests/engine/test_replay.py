"""Test that replay generates identical pixels, and that metadata is validated and never used as a path."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import plain_scripts
import pytest
import sample_images
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from artgen import (
    GeneratedImage,
    Img2Img,
    Inpaint,
    Outpaint,
    Request,
    Txt2Img,
    generate,
    metadata,
    outputs,
    registry,
    replay,
)
from artgen._version import RECORD_SCHEMA
from artgen.errors import ArtgenError, InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.jobs.replay import read_replay_spec
from artgen.registry import location_index
from artgen.spec.settings import OutputSettings

PROMPTS: dict[str, Any] = {"prompt": "a red fox, \n“quoted” 狐 {x}", "negative_prompt": "house", "seed": 2**40 + 7}
BASE: dict[str, Any] = {**PROMPTS, "steps": 3, "guidance_scale": 4.5, "scheduler": "DPM++ 2M Karras"}


def request(task: str, model: Path) -> Request:
    image, mask = sample_images.photo(Path("in put.png"), 28, 36), sample_images.mask(Path("mask.png"), 28, 36)
    shared = {"model": str(model), **BASE}
    return {
        "txt2img": lambda: Txt2Img(width=40, height=32, **shared),
        "img2img": lambda: Img2Img(image=image, strength=0.7, **shared),
        "inpaint": lambda: Inpaint(image=image, mask=mask, feather=2, **shared),
        "outpaint": lambda: Outpaint(image=image, expand="left=8,top=4", **shared),
    }[task]()


def save(generated: GeneratedImage, name: str = "generated.png", level: str = "full") -> Path:
    destination = outputs.parse_destination(OutputSettings(output=name, overwrite=True, metadata=level))
    return destination.save(generated.image, generated.record)


def save_record(record: dict[str, Any]) -> Path:
    path = Path("record.json")
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint"])
def test_replay_generates_identical_pixels(models: dict[str, Path], task: str, suffix: str) -> None:
    generated = generate(request(task, models["sd1"]))
    spec = read_replay_spec(save(generated, f"generated.{suffix}"), {"model": str(models["sd1"])})
    assert spec.request.replace(model=str(models["sd1"])) == spec.request
    assert sample_images.same(generate(spec.request).image, generated.image)


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_replay_of_other_architectures_generates_identical_pixels(models: dict[str, Path], kind: str) -> None:
    generated = generate(Txt2Img(model=str(models[kind]), prompt="a fox", steps=2))
    spec = read_replay_spec(save(generated), {"model": str(models[kind])})
    assert spec.request.seed == generated.record["seed"]
    assert sample_images.same(generate(spec.request).image, generated.image)


def test_sidecars_and_record_files_are_replayed(models: dict[str, Path]) -> None:
    generated = generate(request("txt2img", models["sd1"]))
    model = {"model": str(models["sd1"])}
    assert sample_images.same(
        generate(read_replay_spec(save_record(generated.record), model).request).image, generated.image
    )
    Image.new("RGB", (8, 8)).save("bare.png")
    metadata.sidecar_path(Path("bare.png")).write_text(json.dumps(generated.record))
    assert sample_images.same(generate(read_replay_spec(Path("bare.png"), model).request).image, generated.image)


def test_set_changes_only_the_named_settings(models: dict[str, Path]) -> None:
    generated = generate(request("img2img", models["sd1"]))
    path = save(generated)
    model = {"model": str(models["sd1"])}
    spec = read_replay_spec(path, {**model, "steps": "5", "scheduler": "Euler a", "prompt": "", "strength": "1"})
    assert (spec.request.steps, spec.request.scheduler, spec.request.sigmas) == (5, "euler-a", None)
    assert (spec.request.prompt, spec.request.seed) == ("", generated.request.seed)
    assert not sample_images.same(generate(spec.request).image, generated.image)
    unchanged = read_replay_spec(path, {**model, "negative_prompt": "house"})
    assert sample_images.same(generate(unchanged.request).image, generated.image)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stepps": "4"}, "Unknown setting: 'stepps'"),
        ({"steps": "0"}, "--set: steps must be"),
        ({"steps": "many"}, "steps must be a whole number"),
        ({"strength": "0.5"}, "Unknown setting: 'strength'"),
        ({"guidance_scale": "nan"}, "guidance_scale must be a finite number"),
        ({"scheduler": "eulr"}, "Unknown scheduler: 'eulr'"),
    ],
)
def test_invalid_changes_raise_usage_errors(models: dict[str, Path], changes: dict[str, str], message: str) -> None:
    path = save(generate(request("txt2img", models["sd1"])))
    with pytest.raises(UsageError, match=message):
        read_replay_spec(path, {"model": str(models["sd1"]), **changes})


def test_inputs_are_found_by_hash_next_to_the_image_or_in_the_current_folder(
    models: dict[str, Path], tmp_path: Path
) -> None:
    generated = generate(request("inpaint", models["sd1"]))
    model = {"model": str(models["sd1"])}
    folder = tmp_path / "other"
    folder.mkdir()
    path = Path(shutil.move(save(generated), folder / "generated.png"))
    found = read_replay_spec(path, model).request
    assert isinstance(found, Inpaint)
    assert (found.image, found.mask) == (Path("in put.png"), Path("mask.png"))
    for name in ("in put.png", "mask.png"):
        shutil.move(name, folder / name)
    found = read_replay_spec(path, model).request
    assert isinstance(found, Inpaint)
    assert found.image == folder / "in put.png"
    # A file with the same name and other contents is not used.
    sample_images.photo(folder / "in put.png", 28, 36, seed=99)
    with pytest.raises(InputFileError, match=r"'in put\.png' .* is neither next to the image") as caught:
        read_replay_spec(path, model)
    assert "--set image=PATH" in caught.value.hint
    sample_images.photo(Path("renamed.png"), 28, 36)
    renamed = read_replay_spec(path, {**model, "image": "renamed.png"}).request
    assert isinstance(renamed, Inpaint)
    assert renamed.image == Path("renamed.png")
    assert sample_images.same(generate(renamed).image, generated.image)


def test_recorded_input_paths_are_not_opened(models: dict[str, Path], tmp_path: Path) -> None:
    generated = generate(request("img2img", models["sd1"]))
    secret = sample_images.photo(tmp_path / "secret.png")
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    model = {"model": str(models["sd1"])}
    for name in (str(secret), "../secret.png", "sub/../../secret.png"):
        with pytest.raises(InputFileError, match=r"'secret\.png' .* is neither next to the image"):
            read_replay_spec(save_record({**generated.record, "image": name, "image_sha256": digest}), model)
    for changed in ({"image_sha256": None}, {"image": ""}, {"image": ".."}, {"image": None}, {"image": ["in put.png"]}):
        with pytest.raises(InputFileError, match=r"its image .* is neither next to|its record is invalid"):
            read_replay_spec(save_record({**generated.record, "image": "gone.png", **changed}), model)


def test_a_local_model_is_found_by_its_hash(models: dict[str, Path]) -> None:
    generated = generate(request("txt2img", models["sd1"]))
    assert (generated.record["model"], generated.record["model_source"]) == ("sd1", "local")
    replayed = replay(save(generated))
    assert sample_images.same(replayed.image, generated.image)
    assert replayed.record == generated.record
    location_index.index_path().unlink()
    with pytest.raises(ModelUnavailableError, match="the model 'sd1'") as caught:
        read_replay_spec(save(generated), {})
    assert "--set model=PATH" in caught.value.hint
    assert generated.record["model_hash"] in caught.value.message


def test_unknown_fields_are_in_the_record_of_the_new_image(models: dict[str, Path]) -> None:
    generated = generate(request("txt2img", models["sd1"]))
    assert generated.record["schema"] == RECORD_SCHEMA
    unknown = {"new_fact": {"a": [1, None]}, "b\n\x1b": "\u202e"}
    replayed = replay(save_record({**generated.record, **unknown}))
    assert replayed.record == {**generated.record, **unknown}
    assert sample_images.same(replayed.image, generated.image)
    old = {name: value for name, value in replayed.record.items() if name not in ("schema", *unknown)}
    assert replay(save_record(old)).record == generated.record
    for suffix in ("png", "jpg", "webp"):
        assert metadata.read_metadata(save(replayed, f"replayed.{suffix}")).record == replayed.record


def test_recorded_model_paths_are_not_opened(models: dict[str, Path]) -> None:
    generated = generate(request("txt2img", models["sd1"]))
    record = {name: value for name, value in generated.record.items() if name != "model_source"}
    shutil.copytree(models["sd1"], "here")
    for model in (str(models["sd1"]), "./here", "here"):
        for source in ({}, {"model_source": "local"}) if model != "here" else ({"model_hash": None},):
            with pytest.raises((RefusedError, ModelUnavailableError), match="aths from metadata are not opened"):
                read_replay_spec(save_record({**record, "model": model, **source}), {})
    for model in ("/no/such/place", "x.ckpt", "", 7, ["sd1"]):
        with pytest.raises(ArtgenError):
            read_replay_spec(save_record({**record, "model": model, "model_hash": None}), {})
    with pytest.raises(ModelUnavailableError, match="weights differ"):
        replay(save_record({**record, "model": None, "width": 128, "height": 128}))


def test_models_from_the_hub_have_the_recorded_revision_and_hash() -> None:
    record = {"task": "txt2img", "prompt": "a", "seed": 1, "model": "ada/fox", "model_revision": "0" * 40}
    spec = read_replay_spec(save_record({**record, "model_hash": "ab" * 32}), {})
    assert spec.request.model == f"ada/fox@{'0' * 40}"
    assert spec.expected_hashes == {"model_hash": "ab" * 32}
    assert read_replay_spec(save_record({**record, "model_hash": "ab" * 32}), {"model": "sd15"}).expected_hashes == {}


def test_an_alias_of_the_user_may_refer_to_a_local_model(models: dict[str, Path]) -> None:
    registry.set_alias("mine", str(models["sd1"]))
    generated = generate(Txt2Img(model="mine", prompt="a fox", seed=1, steps=2))
    assert generated.record["model"] == "mine"
    spec = read_replay_spec(save(generated), {})
    assert spec.expected_hashes == {"model_hash": generated.record["model_hash"]}
    assert sample_images.same(generate(spec.request).image, generated.image)


A1111 = """a red fox, snow
Negative prompt: a house
Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 40x32, Model: other, Foo: 2
"""


def test_a1111_text_gives_the_same_request_and_pixels(models: dict[str, Path]) -> None:
    Path("fox.txt").write_text(A1111)
    spec = read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"])})
    assert spec.request == Txt2Img(
        prompt="a red fox, snow", negative_prompt="a house", steps=3, scheduler="dpm++2m", sigmas="karras",
        guidance_scale=6.5, seed=42, width=40, height=32, model=str(models["sd1"]), prompt_weights="a1111",
    )  # fmt: skip
    expected = plain_scripts.generate(
        "StableDiffusionPipeline", models["sd1"], seed=42, scheduler=plain_scripts.SCHEDULER, prompt="a red fox, snow",
        negative_prompt="a house", num_inference_steps=3, guidance_scale=6.5, width=40, height=32,
    )  # fmt: skip
    assert sample_images.same(generate(spec.request).image, expected)
    assert read_replay_spec(Path("fox.txt"), {}).notes == (
        "Ignored metadata: Foo.",
        "The image was generated with the model 'other' of another tool. To set the model, add --set model=NAME.",
    )


@pytest.mark.parametrize("sampler", ["Restart", "DPM++ 3M SDE Heun", "DPM++ 3M SDE Heun Karras", "[/nope]", "x" * 999])
def test_unknown_samplers_are_replaced_by_the_default_of_the_model(models: dict[str, Path], sampler: str) -> None:
    Path("fox.txt").write_text(A1111.replace("DPM++ 2M", sampler))
    spec = read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"])})
    assert (spec.request.scheduler, spec.request.sigmas, spec.request.steps) == (None, None, 3)
    assert sampler.removesuffix(" Karras")[:80] in spec.notes[0]
    assert "The default of the model is used" in spec.notes[0]
    assert generate(spec.request).request.scheduler == "ddim"
    chosen = read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"]), "scheduler": "Euler"})
    assert chosen.request.scheduler == "euler"
    assert chosen.request.sigmas is None
    assert "is not supported" not in " ".join(chosen.notes)


def test_unsupported_values_of_other_tools_are_ignored_with_a_note(models: dict[str, Path]) -> None:
    Path("fox.txt").write_text(
        "fox\nSteps: 0, Sampler: Euler a, Schedule type: Karras, CFG scale: 1e9, Seed: -1, Foo: 1"
    )
    spec = read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"])})
    assert spec.request == Txt2Img(prompt="fox", scheduler="euler-a", model=str(models["sd1"]), prompt_weights="a1111")
    assert len(spec.notes) == 5
    for text in ("steps '0'", "sigmas 'karras'", "guidance_scale '1000000000.0'", "seed '-1'", "Foo"):
        assert text in " | ".join(spec.notes)
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"sampler_name": "res_multistep", "scheduler": "simple", "steps": 2,
              "positive": ["2", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "fox"}},
    }  # fmt: skip
    spec = read_replay_spec(save_record(graph), {"model": str(models["sd1"])})
    assert spec.request == Txt2Img(prompt="fox", steps=2, model=str(models["sd1"]), prompt_weights="comfy")
    assert "'res_multistep' is not supported" in spec.notes[0]


def test_a1111_text_inside_an_image_is_read() -> None:
    info = PngInfo()
    info.add_text("parameters", A1111)
    Image.new("RGB", (8, 8)).save("a1111.png", pnginfo=info)
    assert read_replay_spec(Path("a1111.png"), {}).request.prompt == "a red fox, snow"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_images_with_minimal_metadata_cannot_be_replayed(models: dict[str, Path], suffix: str) -> None:
    path = save(generate(request("txt2img", models["sd1"])), f"generated.{suffix}", level="minimal")
    with pytest.raises(InputFileError, match="--metadata minimal"):
        read_replay_spec(path, {})


def test_missing_metadata_and_missing_files_raise_input_file_errors(models: dict[str, Path]) -> None:
    path = save(generate(request("txt2img", models["sd1"])), level="none")
    with pytest.raises(InputFileError, match="contains no generation metadata"):
        read_replay_spec(path, {})
    with pytest.raises(InputFileError):
        read_replay_spec(Path("nowhere.png"), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "enlarge"},
        {"task": ["txt2img"]},
        {"task": None},
        {"steps": 10**9},
        {"steps": "3"},
        {"steps": [3]},
        {"seed": -1},
        {"seed": "7"},
        {"width": 10**9},
        {"guidance_scale": True},
        {"prompt": 7},
        {"prompt": ["a"]},
        {"scheduler": "unheard-of"},
        {"device": 7},
        {"vae_tiling": "yes"},
    ],
)
def test_invalid_records_raise_input_file_errors(models: dict[str, Path], changes: dict[str, Any]) -> None:
    generated = generate(Txt2Img(model=str(models["sd1"]), prompt="a fox", seed=1, steps=1))
    with pytest.raises(InputFileError) as caught:
        read_replay_spec(save_record({**generated.record, **changes}), {"model": str(models["sd1"])})
    assert caught.value.message


def test_notes_state_why_pixels_may_differ(models: dict[str, Path]) -> None:
    generated = generate(Txt2Img(model=str(models["sd1"]), prompt="a fox", seed=1, steps=1))
    model = {"model": str(models["sd1"])}
    assert read_replay_spec(save_record(generated.record), model).notes == ()
    record = {**generated.record, "torch": "1.0", "batch_size": 4, "device": "cuda:7", "fallbacks": ["vae tiling"]}
    spec = read_replay_spec(save_record(record), model)
    notes = " | ".join(spec.notes)
    for text in ("torch 1.0", "generated on cuda:7"):
        assert text in notes
    assert (spec.request.device, spec.request.dtype, spec.request.vae_tiling) == ("auto", "auto", True)
    assert spec.batch_size == 1  # The pixels differ with any batch size.
    changed = read_replay_spec(save_record(record), {**model, "steps": "2"})
    assert "torch 1.0" not in " | ".join(changed.notes)
