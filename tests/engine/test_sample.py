"""Test `sample`: bytes equal to plain diffusers, seeds and batches, frames, records, replay, and refused settings."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import diffusers
import hub_server
import numpy as np
import pytest
import tiny_denoisers
import torch
from command_line import run
from PIL import Image

from artgen import FailedImage, GeneratedImage, Sample, generate, generate_all, replay
from artgen.engine.sampling import unconditional
from artgen.errors import MemoryExhaustedError, ModelUnavailableError, UsageError
from artgen.events import Event, Notice, StepEvent
from artgen.registry import pipelines
from artgen.spec.schedulers import find_scheduler
from artgen.spec.settings import FramesSettings

MODELS = ("ddpm", "ddim", "pndm", "score-sde-ve", "consistency", "consistency-classes", "dit", "ldm-uncond")
CLASS_LABELS = {"consistency-classes": "3", "dit": "1"}
STEPS = {"consistency": 2, "consistency-classes": 2, "score-sde-ve": 3}


def request(zoo: Mapping[str, Path], name: str, **settings: Any) -> Sample:
    values = {"model": str(zoo[name]), "seed": 7, "steps": STEPS.get(name, 4), "class_label": CLASS_LABELS.get(name)}
    return Sample(**{**values, **settings})


def plain(folder: Path | str, seeds: list[int], *, cls: str = "", scheduler: Any = None, **arguments: Any) -> Any:
    """Return the images of plain diffusers, one generator per image."""
    pipe = getattr(diffusers, cls or "DiffusionPipeline").from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    if scheduler is not None:
        entry = find_scheduler(scheduler)
        new = getattr(diffusers, entry.class_name).from_config(pipe.scheduler.config, **entry.config_overrides)
        pipe.scheduler = new
    if not isinstance(pipe, diffusers.DiTPipeline):
        arguments["batch_size"] = len(seeds)
    return pipe(generator=[torch.Generator().manual_seed(seed) for seed in seeds], **arguments).images


def class_arguments(name: str, count: int = 1) -> dict[str, Any]:
    return {"class_labels": [int(CLASS_LABELS[name])] * count} if name in CLASS_LABELS else {}


@pytest.mark.parametrize("name", MODELS)
def test_image_equals_plain_diffusers(zoo: Mapping[str, Path], name: str) -> None:
    ours = generate(request(zoo, name))
    (theirs,) = plain(zoo[name], [7], num_inference_steps=STEPS.get(name, 4), **class_arguments(name))
    assert ours.image.tobytes() == theirs.tobytes()
    assert ours.image.size == theirs.size == (ours.record["width"], ours.record["height"])


@pytest.mark.parametrize("name", [name for name in MODELS if name != "score-sde-ve"])
def test_batch_equals_plain_diffusers(zoo: Mapping[str, Path], name: str) -> None:
    requests = [request(zoo, name, seed=seed) for seed in (3, 4)]
    ours = [outcome for outcome in generate_all(requests, batch_size=2) if isinstance(outcome, GeneratedImage)]
    theirs = plain(zoo[name], [3, 4], num_inference_steps=STEPS.get(name, 4), **class_arguments(name, 2))
    assert [each.image.tobytes() for each in ours] == [each.tobytes() for each in theirs]
    assert {each.record["batch_size"] for each in ours} == {2}


@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
@pytest.mark.parametrize("class_label", ["0", "cat"])
def test_guidance_and_class_of_dit_equal_plain_diffusers(
    labeled_dit: Path, guidance_scale: float, class_label: str
) -> None:
    settings: dict[str, Any] = {"guidance_scale": guidance_scale, "class_label": class_label}
    ours = generate(Sample(model=str(labeled_dit), seed=1, steps=2, **settings))
    number = {"0": 0, "cat": 1}[class_label]
    (theirs,) = plain(
        labeled_dit, [1], num_inference_steps=2, class_labels=[number], guidance_scale=guidance_scale
    )  # fmt: skip
    assert ours.image.tobytes() == theirs.tobytes()
    assert (ours.record["class_label"], ours.record["class_name"]) == (str(number), ["fox", "cat"][number])
    assert ours.record["guidance_scale"] == guidance_scale


@pytest.fixture
def labeled_dit(zoo: Mapping[str, Path], tmp_path: Path) -> Path:
    """Return a DiT whose index has names of classes, as facebook/DiT-XL-2-256; `save_pretrained` omits them."""
    folder = Path(shutil.copytree(zoo["dit"], tmp_path / "dit"))
    index = json.loads((folder / "model_index.json").read_text())
    index["id2label"] = {"0": "fox, red fox", "1": "cat", "2": "dog, Hound", "999": "mushroom"}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


SCHEDULERS = [
    (name, scheduler)
    for name in ("ddpm", "dit", "ldm-uncond")
    for scheduler in pipelines.pipeline_entries()[name].schedulers
]


@pytest.mark.parametrize(("name", "scheduler"), SCHEDULERS)
def test_scheduler_equals_plain_diffusers(zoo: Mapping[str, Path], name: str, scheduler: str) -> None:
    ours = generate(request(zoo, name, scheduler=scheduler, steps=5))
    cls = {"ddim": "DDIMPipeline", "pndm": "PNDMPipeline"}.get(scheduler, "") if name == "ddpm" else ""
    (theirs,) = plain(
        zoo[name], [7], cls=cls, scheduler=scheduler, num_inference_steps=5, **class_arguments(name)
    )  # fmt: skip
    assert ours.image.tobytes() == theirs.tobytes()
    assert ours.record["scheduler"] == scheduler


@pytest.mark.parametrize("scheduler", ["ddpm", "dpm++2m-sde", "sa-solver"])
def test_noise_of_a_stochastic_scheduler_depends_only_on_the_seed(zoo: Mapping[str, Path], scheduler: str) -> None:
    first = generate(request(zoo, "ddpm", scheduler=scheduler))
    torch.manual_seed(123)
    assert generate(request(zoo, "ddpm", scheduler=scheduler)).image.tobytes() == first.image.tobytes()


@pytest.mark.parametrize("name", MODELS)
def test_images_do_not_depend_on_the_batch(zoo: Mapping[str, Path], name: str) -> None:
    """Include the score SDE, whose batch size is 1: the norm in its corrector is a mean over the batch."""
    requests = [request(zoo, name, seed=seed) for seed in (1, 2, 3)]
    one, four = (
        [
            np.asarray(each.image, int)
            for each in generate_all(requests, batch_size=size)
            if isinstance(each, GeneratedImage)
        ]
        for size in (1, 4)
    )
    assert len(one) == len(four) == 3
    assert all(np.abs(first - second).max() <= 1 for first, second in zip(one, four, strict=True))


def test_classes_share_a_batch(labeled_dit: Path) -> None:
    requests = [Sample(model=str(labeled_dit), seed=1, steps=2, class_label=label) for label in ("fox", "cat", "dog")]
    outcomes = list(generate_all(requests, batch_size=4))
    assert {outcome.record["batch_size"] for outcome in outcomes if isinstance(outcome, GeneratedImage)} == {4}
    (theirs,) = plain(labeled_dit, [1], num_inference_steps=2, class_labels=[2])
    last = outcomes[2]
    assert isinstance(last, GeneratedImage)
    difference = np.asarray(last.image, int) - np.asarray(theirs, int)
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("name", MODELS)
def test_defaults_are_the_defaults_of_diffusers(zoo: Mapping[str, Path], name: str) -> None:
    entry = pipelines.find_entry(type(diffusers.DiffusionPipeline.from_pretrained(zoo[name])).__name__)
    assert entry is not None
    import inspect

    call = inspect.signature(getattr(diffusers, entry.tasks["sample"]).__call__).parameters
    assert entry.steps == min(call["num_inference_steps"].default, 1000)
    if "guidance_scale" in call:
        assert entry.guidance_scale == call["guidance_scale"].default


def test_default_steps_fit_the_training_timesteps(tmp_path: Path) -> None:
    network, scheduler = tiny_denoisers.unet(), diffusers.DDPMScheduler(num_train_timesteps=20)
    diffusers.DDPMPipeline(network, scheduler).save_pretrained(tmp_path)
    assert generate(Sample(model=str(tmp_path), seed=1)).record["steps"] == 20
    with pytest.raises(UsageError, match="20 training timesteps"):
        generate(Sample(model=str(tmp_path), seed=1, steps=21))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("learned", [False, True])
def test_gray_models_and_learned_variances_equal_plain_diffusers(tmp_path: Path, channels: int, learned: bool) -> None:
    network = tiny_denoisers.unet(channels=channels, out_channels=channels * (2 if learned else 1))
    variance_type = "learned_range" if learned else "fixed_small"
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(variance_type=variance_type)).save_pretrained(tmp_path)
    ours = generate(Sample(model=str(tmp_path), seed=5, steps=3))
    (theirs,) = plain(tmp_path, [5], num_inference_steps=3)
    assert ours.image.mode == theirs.mode == ("L" if channels == 1 else "RGB")
    assert ours.image.tobytes() == theirs.tobytes()


def test_oldest_layouts_equal_plain_diffusers(tmp_path: Path) -> None:
    """Sample a model without model_index.json, and with it and all other files in one folder, as google/ddpm-*."""
    folder = tiny_denoisers.save_old(tmp_path / "old")
    unet, scheduler = diffusers.UNet2DModel.from_pretrained(folder), diffusers.DDPMScheduler.from_pretrained(folder)
    pipe = diffusers.DDPMPipeline(unet, scheduler)
    theirs = pipe(generator=torch.Generator().manual_seed(2), num_inference_steps=3).images[0]
    assert generate(Sample(model=folder, seed=2, steps=3)).image.tobytes() == theirs.tobytes()
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1", "scheduler": ["diffusers", "DDPMScheduler"],
             "unet": ["diffusers", "UNet2DModel"]}  # fmt: skip
    Path(folder, "model_index.json").write_text(json.dumps(index))
    assert generate(Sample(model=folder, seed=2, steps=3)).image.tobytes() == theirs.tobytes()


def test_dit_with_the_former_class_name_equals_plain_diffusers(zoo: Mapping[str, Path], tmp_path: Path) -> None:
    """facebook/DiT-XL-2-256 names its transformer Transformer2DModel."""
    folder = Path(shutil.copytree(zoo["dit"], tmp_path / "dit"))
    for path, change in (("model_index.json", ("DiTTransformer2DModel", "Transformer2DModel")),
                         ("transformer/config.json", ("DiTTransformer2DModel", "Transformer2DModel"))):  # fmt: skip
        (folder / path).write_text((folder / path).read_text().replace(*change))
    ours = generate(Sample(model=str(folder), seed=1, steps=2, class_label="5"))
    (theirs,) = plain(zoo["dit"], [1], num_inference_steps=2, class_labels=[5])
    assert ours.image.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("name", [name for name in MODELS if name != "score-sde-ve"])
@pytest.mark.parametrize("show", ["x0", "xt"])
def test_frames_have_the_size_of_the_image_and_end_with_it(zoo: Mapping[str, Path], name: str, show: str) -> None:
    result = generate(request(zoo, name), frames=FramesSettings(frames_show=show, frame_interval=1))
    assert all((frame.size, frame.mode) == (result.image.size, result.image.mode) for frame in result.frames)
    steps = 13 if name == "pndm" else STEPS.get(name, 4)  # PNDM begins with Runge-Kutta steps of 4 evaluations
    assert steps <= len(result.frames) <= steps + 2
    assert result.frames[-1].tobytes() == result.image.tobytes()
    assert result.image.tobytes() == generate(request(zoo, name)).image.tobytes()


def test_x0_of_the_last_step_equals_the_image(zoo: Mapping[str, Path]) -> None:
    """Show the x0 frame of the last DDIM step, which is the image, once."""
    result = generate(request(zoo, "ddim", steps=2), frames=FramesSettings(frame_interval=1))
    assert len(result.frames) == 2
    first = np.asarray(result.frames[0], int)
    assert first.std() > 0


@pytest.mark.parametrize("name", MODELS)
def test_replay_gives_the_same_pixels(zoo: Mapping[str, Path], name: str) -> None:
    flags = ("--class", CLASS_LABELS[name]) if name in CLASS_LABELS else ()
    run("sample", "-m", str(zoo[name]), "--steps", str(STEPS.get(name, 4)), *flags, "--seed", "4", "--count", "2",
        "-o", "out/")  # fmt: skip
    names = sorted(path.name for path in Path("out").iterdir())
    assert names == ["00001-4.png", "00002-5.png"]
    for path in Path("out").iterdir():
        assert replay(path).image.tobytes() == Image.open(path).tobytes()
    changed = replay(Path("out/00001-4.png"), seed=9)
    assert changed.record["seed"] == 9
    assert changed.image.tobytes() != Image.open("out/00001-4.png").tobytes()


def test_events_report_each_step(zoo: Mapping[str, Path]) -> None:
    events: list[Event] = []
    generate(request(zoo, "ddpm", steps=3), listener=events.append)
    steps = [(each.completed_steps, each.num_steps) for each in events if isinstance(each, StepEvent)]
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("suffix", ["txt", "jsonl", "csv", "yaml"])
def test_batch_lines_need_no_prompt_and_resume(labeled_dit: Path, suffix: str) -> None:
    lines = {
        "txt": f"--task sample --class cat --seed 3 --model {labeled_dit} --steps 2 --count 2",
        "jsonl": json.dumps({"task": "sample", "class": "cat", "seed": 3, "model": str(labeled_dit), "steps": 2,
                             "count": 2}),
        "csv": f"task,class_label,seed,model,steps,count\nsample,1,3,{labeled_dit},2,2",
        "yaml": "defaults: {task: sample, steps: 2, count: 2}\n"
                f"jobs:\n  - {{class: cat, seed: 3, model: {labeled_dit}}}",
    }  # fmt: skip
    Path(f"jobs.{suffix}").write_text(lines[suffix] + "\n")
    run("batch", f"jobs.{suffix}", "-o", "out/")
    images = sorted(Path("out").glob("*.png"))
    assert len(images) == 2
    (theirs,) = plain(labeled_dit, [3], num_inference_steps=2, class_labels=[1])
    assert np.abs(np.asarray(Image.open(images[0]), int) - np.asarray(theirs, int)).max() <= 1
    before = Image.open(images[1]).tobytes()
    images[1].unlink()
    run("batch", f"jobs.{suffix}", "-o", "out/")
    assert Image.open(images[1]).tobytes() == before


def test_classes_of_a_batch_have_different_fingerprints(labeled_dit: Path) -> None:
    Path("jobs.txt").write_text("".join(f"--class {name} --seed 1\n" for name in ("fox", "cat", "cat")))
    run("batch", "jobs.txt", "--task", "sample", "-m", str(labeled_dit), "--steps", "2", "-o", "out/")
    pixels = [Image.open(path).tobytes() for path in sorted(Path("out").glob("*.png"))]
    assert len(pixels) == 3
    assert pixels[0] != pixels[1] == pixels[2]


def test_sweep_of_steps_writes_a_sheet(zoo: Mapping[str, Path]) -> None:
    run("sample", "-m", str(zoo["ddim"]), "--sweep", "steps=1,2", "--seed", "1", "-o", "out/")
    assert len(list(Path("out").glob("*.png"))) == 3


def test_out_of_memory_halves_the_batch(zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    forward = diffusers.UNet2DModel.forward

    def limited(self: Any, sample: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if len(sample) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, sample, *args, **kwargs)

    requests = [request(zoo, "ddpm", seed=seed) for seed in (1, 2, 3, 4)]
    expected = [each.image.tobytes() for each in generate_all(requests) if isinstance(each, GeneratedImage)]
    monkeypatch.setattr(diffusers.UNet2DModel, "forward", limited)
    events: list[Event] = []
    outcomes = list(generate_all(requests, batch_size=4, listener=events.append))
    assert [each.image.tobytes() for each in outcomes if isinstance(each, GeneratedImage)] == expected
    notes = [each.text for each in events if isinstance(each, Notice)]
    assert notes == [f"Out of memory. Retrying with batch size {size}." for size in (2, 1)]
    assert [each.record["fallbacks"] for each in outcomes if isinstance(each, GeneratedImage)] == [
        ["batch size 2", "batch size 1"]
    ] * 4
    monkeypatch.setattr(diffusers.UNet2DModel, "forward", lambda *_, **__: exhausted())
    with pytest.raises(MemoryExhaustedError):
        generate(request(zoo, "ddpm"))


def exhausted() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.parametrize("name", MODELS)
def test_nan_fails_without_a_file(zoo: Mapping[str, Path], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = diffusers.DiTTransformer2DModel if name == "dit" else diffusers.UNet2DModel
    forward = cls.forward

    def spoiled(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        output[0].mul_(float("nan"))
        return output

    monkeypatch.setattr(cls, "forward", spoiled)
    (outcome,) = generate_all([request(zoo, name)])
    assert isinstance(outcome, FailedImage)
    assert "NaN or infinity" in outcome.error.message


def test_error_of_the_pipeline_is_reported_with_the_model(
    zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("wrong shape\nmore")

    monkeypatch.setattr(unconditional, "_call_arguments", lambda *_: {"wrong": 1})
    with pytest.raises(ModelUnavailableError, match=r"Cannot generate with '.*ddpm'"):
        generate(request(zoo, "ddpm"))
    monkeypatch.undo()
    monkeypatch.setattr(diffusers.UNet2DModel, "forward", fail)
    with pytest.raises(ModelUnavailableError, match=r"Cannot generate with '.*ddpm': wrong shape\."):
        generate(request(zoo, "ddpm"))


REFUSED = [
    ("ddpm", ("--class", "3"), 2, "--class has no effect"),
    ("ddpm", ("-g", "3"), 2, "--guidance-scale has no effect"),
    ("consistency-classes", ("-g", "3", "--class", "1"), 2, "--guidance-scale has no effect"),
    ("ddpm", ("--scheduler", "euler"), 2, "Supported schedulers: ddpm, ddim"),
    ("ddpm", ("--scheduler", "flow-euler"), 2, "Supported schedulers"),
    ("ddpm", ("--scheduler", "DPM++ 2M Karras"), 2, "implies karras sigmas"),
    ("consistency", ("--scheduler", "ddim"), 2, "only the scheduler of the model works"),
    ("ddpm", ("--steps", "1000", "--steps", "1001"), 2, "steps"),
    ("consistency", ("--steps", "41"), 2, "40 training timesteps"),
    ("dit", (), 2, "--class is missing"),
    ("dit", ("--class", "1000"), 2, "expected a number from 0 to 999"),
    ("dit", ("--class", "-1"), 2, "no class '-1'"),
    ("dit", ("--class", "3.5"), 2, "no class"),
    ("dit", ("--class", "wolf"), 2, "no class 'wolf'"),
    ("consistency-classes", ("--class", "10"), 2, "from 0 to 9"),
    ("consistency-classes", (), 2, "10 classes"),
    ("pndm", ("--dtype", "bf16"), 2, "computes in fp32"),
    ("score-sde-ve", ("--frames", "x.gif"), 2, "Frames cannot show"),
    ("ddpm", ("--frames", "x.gif", "--include-noising"), 2, "starts from noise alone"),
    ("ddpm", ("a red fox",), 2, "a red fox"),
    ("ddpm", ("--prompt", "a red fox"), 2, "--prompt"),
    ("ddpm", ("--negative-prompt", "a red fox"), 2, "--negative-prompt"),
    ("ddpm", ("--lora", "x.safetensors"), 2, "--lora"),
    ("ddpm", ("--size", "64x64"), 2, "--size"),
    ("ddpm", ("--strength", "0.5"), 2, "--strength"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "code", "message"), REFUSED)
@pytest.mark.parametrize("dry_run", [True, False])
def test_settings_without_effect_are_refused(
    zoo: Mapping[str, Path], name: str, options: tuple[str, ...], code: int, message: str, dry_run: bool
) -> None:
    result = run("sample", "-m", str(zoo[name]), *options, *(("--dry-run",) if dry_run else ()), code=code)
    assert message in result.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_label": "wolf"}, "no class 'wolf'"),
        ({"prompt": "a fox", "class_label": "1"}, "sample takes no prompt"),
        ({"lora": ["x"], "class_label": "1"}, "sample takes no lora"),
        ({"negative_prompt": "x", "class_label": "1"}, "sample takes no negative_prompt"),
        ({"size": "32x32", "class_label": "1"}, "sample takes no size"),
        ({}, "--class is missing"),
    ],
)
def test_batch_lines_with_settings_without_effect_are_refused(
    zoo: Mapping[str, Path], options: dict[str, Any], message: str
) -> None:
    Path("jobs.jsonl").write_text(json.dumps({"task": "sample", "model": str(zoo["dit"]), **options}) + "\n")
    assert message in run("batch", "jobs.jsonl", "-o", "out/", code=2).stderr


@pytest.mark.parametrize("line", ['{"class": 1}', '{"class_label": 1}', '{"class": "1"}', '{"class": "cat"}'])
def test_class_of_a_json_line_is_a_number_or_a_name(labeled_dit: Path, line: str) -> None:
    values = {**json.loads(line), "task": "sample", "model": str(labeled_dit), "seed": 1, "steps": 1}
    Path("jobs.jsonl").write_text(json.dumps(values) + "\n")
    result = run("batch", "jobs.jsonl", "-o", "out/", "--dry-run", "--json")
    assert json.loads(result.stdout)["class_label"] == "1"
    assert Sample(class_label=1).class_label == "1"  # type: ignore[arg-type]


def test_class_names_are_found_without_case_and_suggested(labeled_dit: Path) -> None:
    for label, number in (("HOUND", 2), ("red fox", 0), (" 999 ", 999), ("mushroom", 999), ("007", 7)):
        assert generate(Sample(model=str(labeled_dit), seed=1, steps=1, class_label=label)).record[
            "class_label"
        ] == str(number)
    with pytest.raises(UsageError) as caught:
        generate(Sample(model=str(labeled_dit), seed=1, steps=1, class_label="mushrom"))
    assert caught.value.hint == "Similar classes: mushroom."
    with pytest.raises(UsageError) as caught:
        generate(Sample(model=str(labeled_dit), seed=1, steps=1))
    assert "fox, red fox, cat" in caught.value.hint


def test_model_is_required() -> None:
    assert "artgen sample -m google/ddpm-church-256" in run("sample", code=2).stderr


@pytest.mark.parametrize("changed", ["sample_size", "in_channels", "num_class_embeds"])
def test_denoisers_that_do_not_fit_are_refused(zoo: Mapping[str, Path], tmp_path: Path, changed: str) -> None:
    folder = Path(shutil.copytree(zoo["ddpm"], tmp_path / "model"))
    path = folder / "unet" / "config.json"
    values = {"sample_size": None, "in_channels": 4, "num_class_embeds": 5}
    path.write_text(json.dumps({**json.loads(path.read_text()), changed: values[changed]}))
    result = run("sample", "-m", str(folder), "--steps", "1", code=4)
    assert "Cannot" in result.stderr


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Serve an empty repository `owner/tiny`."""
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.mark.parametrize(
    ("name", "command", "hint"),
    [
        ("ddpm", ("txt2img", "a fox"), "artgen sample -m owner/tiny"),
        ("consistency", ("txt2img", "a fox"), "artgen sample -m owner/tiny"),
        ("dit", ("txt2img", "a fox"), "artgen sample -m owner/tiny"),
        ("ldm-uncond", ("img2img", "in.png", "a fox"), "artgen sample -m owner/tiny"),
        ("sd1", ("sample",), 'artgen txt2img "a red fox" -m owner/tiny'),
        ("flux-dev", ("sample",), 'artgen txt2img "a red fox" -m owner/tiny'),
    ],
)
def test_the_right_command_is_named_before_the_download(
    zoo: Mapping[str, Path],
    models: dict[str, Path],
    hub: hub_server.Hub,
    name: str,
    command: tuple[str, ...],
    hint: str,
) -> None:
    hub.fill(models[name] if name in models else zoo[name])
    Image.new("RGB", (32, 32)).save("in.png")
    result = run(*command, "-m", "owner/tiny", code=4)
    assert hint in result.stderr
    assert result.stderr.count("error:") == 1
    assert [file for file in hub.downloads() if file.endswith(".safetensors")] == []


@pytest.mark.parametrize("options", [("--class", "3"), ("-g", "3"), ("--scheduler", "euler"), ("--dtype", "int4")])
def test_settings_are_refused_before_the_download(
    zoo: Mapping[str, Path], hub: hub_server.Hub, options: tuple[str, ...]
) -> None:
    hub.fill(zoo["ddpm"])
    run("sample", "-m", "owner/tiny", *options, code=2)
    assert [file for file in hub.downloads() if file.endswith(".safetensors")] == []


def test_model_of_the_hub_in_the_oldest_layout(hub: hub_server.Hub, tmp_path: Path) -> None:
    """Download a repository with all files in one folder, as google/ddpm-church-256."""
    folder = Path(tiny_denoisers.save_old(tmp_path / "old"))
    index = {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1", "scheduler": ["diffusers", "DDPMScheduler"],
             "unet": ["diffusers", "UNet2DModel"]}  # fmt: skip
    (folder / "model_index.json").write_text(json.dumps(index))
    hub.fill(folder)
    (theirs,) = plain(folder, [3], num_inference_steps=2)
    run("sample", "-m", "owner/tiny", "--steps", "2", "--seed", "3", "-o", "out.png")
    assert Image.open("out.png").tobytes() == theirs.tobytes()
    assert replay(Path("out.png")).image.tobytes() == theirs.tobytes()


def test_default_model_of_the_user_that_needs_a_prompt_is_ignored_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ARTGEN_MODEL", "tiny")
    result = run("sample", "--steps", "1", code=2)
    assert "The default of model from the environment or a configuration file is ignored" in result.stderr
    assert "--model is missing" in result.stderr


def test_half_precision_is_finite(zoo: Mapping[str, Path]) -> None:
    for name in ("ddpm", "ddim", "consistency", "dit"):
        result = generate(request(zoo, name, dtype="bf16", steps=1))
        assert result.record["dtype"] == "bf16"
        assert np.asarray(result.image).std() > 0


def test_json_and_dry_run(zoo: Mapping[str, Path]) -> None:
    result = run("sample", "-m", str(zoo["ddpm"]), "--count", "2", "--seed", "1", "--dry-run", "--json")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["task"], each["seed"], each["steps"], each["scheduler"]) for each in records] == [
        ("sample", 1, 1000, "ddpm"), ("sample", 2, 1000, "ddpm")
    ]  # fmt: skip
    assert "--scheduler ddim --steps 50 is faster" in result.stderr
    assert list(Path().iterdir()) == []
