"""Made again: a saved picture gives the same pixels; what it says is data, looked up and checked, never followed."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from artgen import GeneratedImage, Img2Img, Inpaint, Outpaint, Request, Txt2Img, generate, metadata, outputs, registry
from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.jobs import replay as replay_jobs
from artgen.spec.settings import OutputSettings

WORDS: dict[str, Any] = {"prompt": "a red fox, \n“quoted” 狐 {x}", "negative_prompt": "house", "seed": 2**40 + 7}
BASE: dict[str, Any] = {**WORDS, "steps": 3, "guidance_scale": 4.5, "scheduler": "DPM++ 2M Karras"}


def request(task: str, model: Path) -> Request:
    image, mask = plain.photo(Path("in put.png"), 28, 36), plain.mask(Path("mask.png"), 28, 36)
    shared = {"model": str(model), **BASE}
    return {
        "txt2img": lambda: Txt2Img(width=40, height=32, **shared),
        "img2img": lambda: Img2Img(image=image, strength=0.7, **shared),
        "inpaint": lambda: Inpaint(image=image, mask=mask, feather=2, **shared),
        "outpaint": lambda: Outpaint(image=image, expand="left=8,top=4", **shared),
    }[task]()


def save(picture: GeneratedImage, name: str = "made.png", level: str = "full") -> Path:
    place = outputs.parse_destination(OutputSettings(output=name, overwrite=True, metadata=level))
    return place.save(picture.image, picture.record)


def tampered(record: dict[str, Any], name: str = "tampered.json") -> Path:
    path = Path(name)
    path.write_text(json.dumps(record))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
@pytest.mark.parametrize("task", ["txt2img", "img2img", "inpaint", "outpaint"])
def test_the_same_pixels_again(models: dict[str, Path], task: str, suffix: str) -> None:
    made = generate(request(task, models["sd1"]))
    plan = replay_jobs.read_replay_spec(save(made, f"made.{suffix}"), {"model": str(models["sd1"])})
    assert plan.request.replace(model=str(models["sd1"])) == plan.request
    assert plain.same(generate(plan.request).image, made.image)


@pytest.mark.parametrize("kind", ["sdxl", "sd3"])
def test_other_architectures_too(models: dict[str, Path], kind: str) -> None:
    made = generate(Txt2Img(model=str(models[kind]), prompt="a fox", steps=2))
    plan = replay_jobs.read_replay_spec(save(made), {"model": str(models[kind])})
    assert plan.request.seed == made.record["seed"]
    assert plain.same(generate(plan.request).image, made.image)


def test_a_sidecar_and_a_bare_record_do_too(models: dict[str, Path]) -> None:
    made = generate(request("txt2img", models["sd1"]))
    model = {"model": str(models["sd1"])}
    assert plain.same(generate(replay_jobs.read_replay_spec(tampered(made.record), model).request).image, made.image)
    Image.new("RGB", (8, 8)).save("bare.png")
    metadata.sidecar_path(Path("bare.png")).write_text(json.dumps(made.record))
    assert plain.same(generate(replay_jobs.read_replay_spec(Path("bare.png"), model).request).image, made.image)


def test_changes_change_what_they_name(models: dict[str, Path]) -> None:
    made = generate(request("img2img", models["sd1"]))
    path = save(made)
    model = {"model": str(models["sd1"])}
    plan = replay_jobs.read_replay_spec(
        path, {**model, "steps": "5", "scheduler": "Euler a", "prompt": "", "strength": "1"}
    )
    assert (plan.request.steps, plan.request.scheduler, plan.request.sigmas) == (5, "euler-a", None)
    assert (plan.request.prompt, plan.request.seed) == ("", made.request.seed)
    assert not plain.same(generate(plan.request).image, made.image)
    back = replay_jobs.read_replay_spec(path, {**model, "negative_prompt": "house"})
    assert plain.same(generate(back.request).image, made.image)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stepps": "4"}, "Unknown setting: 'stepps'"),
        ({"steps": "0"}, "--set: steps must be"),
        ({"steps": "many"}, "steps must be a whole number"),
        ({"strength": "0.5"}, "Unknown setting: 'strength'"),
        ({"guidance_scale": "nan"}, "guidance_scale must be a finite number"),
        ({"scheduler": "eulr"}, "Unknown scheduler: 'eulr'"),
    ],
)
def test_a_change_that_cannot_be_made_is_a_mistake_of_usage(
    models: dict[str, Path], changes: dict[str, str], said: str
) -> None:
    path = save(generate(request("txt2img", models["sd1"])))
    with pytest.raises(UsageError, match=said):
        replay_jobs.read_replay_spec(path, {"model": str(models["sd1"]), **changes})


def test_the_input_is_found_beside_the_picture_or_here_by_its_hash(models: dict[str, Path], tmp_path: Path) -> None:
    made = generate(request("inpaint", models["sd1"]))
    model = {"model": str(models["sd1"])}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = Path(shutil.move(save(made), elsewhere / "made.png"))
    found = replay_jobs.read_replay_spec(path, model).request
    assert isinstance(found, Inpaint)
    assert (found.image, found.mask) == (Path("in put.png"), Path("mask.png"))
    for name in ("in put.png", "mask.png"):
        shutil.move(name, elsewhere / name)
    found = replay_jobs.read_replay_spec(path, model).request
    assert isinstance(found, Inpaint)
    assert found.image == elsewhere / "in put.png"
    # A file of that name with other contents is another file.
    plain.photo(elsewhere / "in put.png", 28, 36, seed=99)
    with pytest.raises(InputFileError, match=r"'in put\.png', which is not beside it") as refused:
        replay_jobs.read_replay_spec(path, model)
    assert "--set image=PATH" in refused.value.hint
    plain.photo(Path("renamed.png"), 28, 36)
    said = replay_jobs.read_replay_spec(path, {**model, "image": "renamed.png"}).request
    assert isinstance(said, Inpaint)
    assert said.image == Path("renamed.png")
    assert plain.same(generate(said).image, made.image)


def test_a_recorded_path_is_never_followed(models: dict[str, Path], tmp_path: Path) -> None:
    made = generate(request("img2img", models["sd1"]))
    secret = plain.photo(tmp_path / "secret.png")
    digest = hashlib.sha256(secret.read_bytes()).hexdigest()
    model = {"model": str(models["sd1"])}
    for name in (str(secret), "../secret.png", "sub/../../secret.png"):
        with pytest.raises(InputFileError, match=r"'secret\.png', which is not beside it"):
            replay_jobs.read_replay_spec(tampered({**made.record, "image": name, "image_sha256": digest}), model)
    for changed in ({"image_sha256": None}, {"image": ""}, {"image": ".."}, {"image": None}, {"image": ["in put.png"]}):
        with pytest.raises(InputFileError, match="was made from image"):
            replay_jobs.read_replay_spec(tampered({**made.record, "image": "gone.png", **changed}), model)


def test_a_local_model_has_to_be_named(models: dict[str, Path]) -> None:
    made = generate(request("txt2img", models["sd1"]))
    assert made.record["model_source"] == "local"
    assert made.record["model"] == "sd1"
    with pytest.raises(UsageError, match="local model 'sd1'") as refused:
        replay_jobs.read_replay_spec(save(made), {})
    assert "--set model=PATH" in refused.value.hint
    assert made.record["model_hash"][:10] in refused.value.message


def test_a_recorded_model_is_never_followed_as_a_path(models: dict[str, Path]) -> None:
    made = generate(request("txt2img", models["sd1"]))
    record = {name: value for name, value in made.record.items() if name != "model_source"}
    shutil.copytree(models["sd1"], "here")
    for model in (str(models["sd1"]), "./here", "here"):
        with pytest.raises(ArtgenError, match="path on this computer"):
            replay_jobs.read_replay_spec(tampered({**record, "model": model}), {})
    for model in ("/no/such/place", "x.ckpt", "", 7, ["sd1"], None):
        with pytest.raises(ArtgenError):
            replay_jobs.read_replay_spec(tampered({**record, "model": model}), {})


def test_an_alias_or_hub_id_keeps_its_revision_and_hash() -> None:
    record = {"task": "txt2img", "prompt": "a", "seed": 1, "model": "ada/fox", "model_revision": "0" * 40}
    plan = replay_jobs.read_replay_spec(tampered({**record, "model_hash": "ab" * 32}), {})
    assert plan.request.model == f"ada/fox@{'0' * 40}"
    assert plan.expected_hashes == {"model_hash": "ab" * 32}
    assert (
        replay_jobs.read_replay_spec(tampered({**record, "model_hash": "ab" * 32}), {"model": "sd15"}).expected_hashes
        == {}
    )


def test_the_users_own_alias_is_followed_wherever_it_leads(models: dict[str, Path]) -> None:
    registry.set_alias("mine", str(models["sd1"]))
    made = generate(Txt2Img(model="mine", prompt="a fox", seed=1, steps=2))
    assert made.record["model"] == "mine"
    plan = replay_jobs.read_replay_spec(save(made), {})
    assert plan.expected_hashes == {"model_hash": made.record["model_hash"]}
    assert plain.same(generate(plan.request).image, made.image)


A1111 = """a red fox, snow
Negative prompt: a house
Steps: 3, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 42, Size: 40x32, Model: other, Clip skip: 2
"""


def test_a1111_text(models: dict[str, Path]) -> None:
    Path("fox.txt").write_text(A1111)
    plan = replay_jobs.read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"])})
    assert plan.request == Txt2Img(
        prompt="a red fox, snow", negative_prompt="a house", steps=3, scheduler="dpm++2m", sigmas="karras",
        guidance_scale=6.5, seed=42, width=40, height=32, model=str(models["sd1"]),
    )  # fmt: skip
    theirs = plain.draw(
        "StableDiffusionPipeline", models["sd1"], seed=42, scheduler=plain.SCHEDULER, prompt="a red fox, snow",
        negative_prompt="a house", num_inference_steps=3, guidance_scale=6.5, width=40, height=32,
    )  # fmt: skip
    assert plain.same(generate(plan.request).image, theirs)
    assert replay_jobs.read_replay_spec(Path("fox.txt"), {}).notes == (
        "it also says Clip skip, which means nothing here",
        "it was drawn elsewhere with 'other'; add --set model=... to use the same",
    )


@pytest.mark.parametrize("sampler", ["Restart", "DPM++ 3M SDE Heun", "DPM++ 3M SDE Heun Karras", "[/nope]", "x" * 999])
def test_a_sampler_that_is_not_known_gives_way_to_the_models_own(models: dict[str, Path], sampler: str) -> None:
    Path("fox.txt").write_text(A1111.replace("DPM++ 2M", sampler))
    plan = replay_jobs.read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"])})
    assert (plan.request.scheduler, plan.request.sigmas, plan.request.steps) == (None, None, 3)
    assert sampler.removesuffix(" Karras")[:80] in plan.notes[0]
    assert "the model's own is used" in plan.notes[0]
    assert generate(plan.request).request.scheduler == "ddim"
    chosen = replay_jobs.read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"]), "scheduler": "Euler"})
    assert chosen.request.scheduler == "euler"
    assert chosen.request.sigmas is None
    assert "not understood" not in " ".join(chosen.notes)


def test_values_of_other_tools_that_mean_nothing_here(models: dict[str, Path]) -> None:
    Path("fox.txt").write_text(
        "fox\nSteps: 0, Sampler: Euler a, Schedule type: Karras, CFG scale: 1e9, Seed: -1, Foo: 1"
    )
    plan = replay_jobs.read_replay_spec(Path("fox.txt"), {"model": str(models["sd1"])})
    assert plan.request == Txt2Img(prompt="fox", scheduler="euler-a", model=str(models["sd1"]))
    assert len(plan.notes) == 5
    for said in ("steps '0'", "sigmas 'karras'", "guidance_scale '1000000000.0'", "seed '-1'", "Foo"):
        assert said in " | ".join(plan.notes)
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"sampler_name": "res_multistep", "scheduler": "simple", "steps": 2,
              "positive": ["2", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "fox"}},
    }  # fmt: skip
    plan = replay_jobs.read_replay_spec(tampered(graph), {"model": str(models["sd1"])})
    assert plan.request == Txt2Img(prompt="fox", steps=2, model=str(models["sd1"]))
    assert "'res_multistep' is not understood" in plan.notes[0]


def test_a1111_text_inside_a_picture() -> None:
    info = PngInfo()
    info.add_text("parameters", A1111)
    Image.new("RGB", (8, 8)).save("a1111.png", pnginfo=info)
    assert replay_jobs.read_replay_spec(Path("a1111.png"), {}).request.prompt == "a red fox, snow"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_minimal_metadata_cannot_be_made_again(models: dict[str, Path], suffix: str) -> None:
    path = save(generate(request("txt2img", models["sd1"])), f"made.{suffix}", level="minimal")
    with pytest.raises(InputFileError, match="--metadata minimal"):
        replay_jobs.read_replay_spec(path, {})


def test_no_metadata_and_no_picture(models: dict[str, Path]) -> None:
    path = save(generate(request("txt2img", models["sd1"])), level="none")
    with pytest.raises(InputFileError, match="contains no generation metadata"):
        replay_jobs.read_replay_spec(path, {})
    with pytest.raises(InputFileError):
        replay_jobs.read_replay_spec(Path("nowhere.png"), {})


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "upscale"},
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
        {"unknown_key": 1},
        {"vae_tiling": "yes"},
    ],
)
def test_a_tampered_record_is_refused_clearly(models: dict[str, Path], changes: dict[str, Any]) -> None:
    made = generate(Txt2Img(model=str(models["sd1"]), prompt="a fox", seed=1, steps=1))
    with pytest.raises(InputFileError) as refused:
        replay_jobs.read_replay_spec(tampered({**made.record, **changes}), {"model": str(models["sd1"])})
    assert refused.value.message


@pytest.mark.parametrize(
    "facts",
    [
        {"batch_size": "many"},
        {"batch_size": [2]},
        {"fallbacks": 7},
        {"fallbacks": "vae tiling"},
        {"torch": 7, "diffusers": ["x"]},
        {"model_hash": 7},
        {"dropped_prompt": None},
    ],
)
def test_facts_of_any_kind_do_no_harm(models: dict[str, Path], facts: dict[str, Any]) -> None:
    made = generate(Txt2Img(model=str(models["sd1"]), prompt="a fox", seed=1, steps=1))
    plan = replay_jobs.read_replay_spec(tampered({**made.record, **facts}), {"model": str(models["sd1"])})
    assert plain.same(generate(plan.request).image, made.image)


def test_why_pixels_may_differ_is_said(models: dict[str, Path]) -> None:
    made = generate(Txt2Img(model=str(models["sd1"]), prompt="a fox", seed=1, steps=1))
    model = {"model": str(models["sd1"])}
    assert replay_jobs.read_replay_spec(tampered(made.record), model).notes == ()
    record = {**made.record, "torch": "1.0", "batch_size": 4, "device": "cuda:7", "fallbacks": ["vae tiling"]}
    plan = replay_jobs.read_replay_spec(tampered(record), model)
    notes = " | ".join(plan.notes)
    for said in ("torch 1.0", "drawn on cuda:7"):
        assert said in notes
    assert (plan.request.device, plan.request.dtype, plan.request.vae_tiling) == ("auto", "auto", True)
    assert plan.batch_size == 1  # other bits in any case
    changed = replay_jobs.read_replay_spec(tampered(record), {**model, "steps": "2"})
    assert "torch 1.0" not in " | ".join(changed.notes)
