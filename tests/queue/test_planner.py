"""Test plans: fingerprints, seeds and groups of jobs, and the reports of invalid lines."""

import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import batches
import pytest
import tiny_controls
import tiny_image_prompts
import tiny_models
import tiny_upscalers
from PIL import Image
from safetensors_files import zero_file
from tiny_loras import diffusers_lora

from artgen.queue.entries import LINE_SETTINGS, Entry, LineError
from artgen.queue.ledger import Ledger
from artgen.queue.plan import BatchPlan
from artgen.queue.planner import Planner
from artgen.queue.prompt_files import read_prompt_file
from artgen.queue.timings import Timings
from artgen.spec.records import to_record
from artgen.spec.requests import TASKS
from artgen.spec.settings import options_of, settings_of


def plan(*lines: dict[str, Any], **defaults: Any) -> BatchPlan:
    return Planner(Path("out"), defaults).build_plan(Entry("p.txt", i, line) for i, line in enumerate(lines, 1))


def keys(*lines: dict[str, Any], **defaults: Any) -> list[str]:
    batch_plan = plan(*lines, **defaults)
    assert not batch_plan.line_errors, batch_plan.line_errors[0].error
    return [job.fingerprint for job in batch_plan.jobs]


def test_generated_seed_does_not_depend_on_other_lines() -> None:
    lines: list[dict[str, Any]] = [{"prompt": f"fox {i}"} for i in range(20)]
    seeds = {job.request.prompt: job.request.seed for job in plan(*lines).jobs}
    random.Random(1).shuffle(lines)
    again = plan({"prompt": "new"}, *lines[:10])
    assert {job.request.prompt: job.request.seed for job in again.jobs[1:]}.items() <= seeds.items()
    assert len(set(seeds.values())) == 20


def test_repeated_line_is_a_separate_job() -> None:
    batch_plan = plan(
        {"prompt": "fox"}, {"prompt": "fox"}, {"prompt": "fox", "seed": "3"}, {"prompt": "fox", "seed": "3"}
    )
    assert len({job.fingerprint for job in batch_plan.jobs}) == 4
    first, second, third, fourth = (job.request.seed for job in batch_plan.jobs)
    assert first != second
    assert third == fourth == 3


def test_count_uses_consecutive_seeds() -> None:
    batch_plan = plan({"prompt": "fox", "seed": "-1", "count": 3})
    first = batch_plan.jobs[0].request.seed
    assert first is not None
    assert [job.request.seed for job in batch_plan.jobs] == [first, first + 1, first + 2]
    assert [job.request.seed for job in plan({"prompt": "a", "seed": "1,4-6"}, count=2).jobs] == [1, 4, 5, 6]


def test_the_error_of_a_line_with_several_variations_is_reported_once() -> None:
    line = {"prompt": "a fox", "model": "tiny", "count": 3, "variation_strength": 0.2}
    assert len(plan(line).jobs) == 3
    assert len(plan({**line, "steps": 0}).line_errors) == 1
    assert len(plan({**line, "steps": 10, "strength": 0.5}).line_errors) == 1


def test_unknown_fields_of_records_are_kept_and_do_not_change_the_fingerprint() -> None:
    line = {"prompt": "fox", "seed": "1"}
    record_plan = plan({**line, "unknown_fields": {"new": [1], "b\x1b": 2}, "schema": 7}, {"prompt": "a"}, steps=3)
    assert to_record(record_plan.jobs[0].request).items() >= {"new": [1], "b\x1b": 2}.items()
    assert not record_plan.jobs[1].request.unknown_fields
    assert [job.fingerprint for job in record_plan.jobs] == keys(line, {"prompt": "a"}, steps=3)
    assert len(record_plan.notes) == 2
    assert "schema 7" in record_plan.notes[0]
    assert "new, b\x1b" in record_plan.notes[1]


TINY_EMBEDDING_WIDTH = 256
TXT2IMG: dict[str, Any] = {"prompt": "fox", "seed": "1", "steps": 2, "size": "32x32"}
IMG2IMG = {"task": "img2img", "image": Path("a.png"), "seed": "1", "steps": 4}
INPAINT = {**IMG2IMG, "task": "inpaint", "mask": Path("mask.png")}
INPAINT_TEXT = {**IMG2IMG, "task": "inpaint", "mask_text": "a dog", "mask_model": "clipseg"}
EDIT = {"task": "edit", "prompt": "make it winter", "image": Path("a.png"), "seed": "1", "model": "MODEL pix2pix"}
OUTPAINT = {"task": "outpaint", "image": Path("a.png"), "seed": "1", "steps": 2}
UPSCALE = {"task": "upscale", "image": Path("a.png"), "method": "redraw", "seed": "1", "steps": 5}
DENOISE = {"task": "denoise", "image": Path("a.png"), "sigma": "20"}

CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "prompt": (TXT2IMG, "cat"),
    "negative_prompt": (TXT2IMG, "grass"),
    "style": (TXT2IMG, ("plain",)),
    "preset": (TXT2IMG, ("local",)),
    "embedding": (TXT2IMG, ""),
    "prompt_weights": (TXT2IMG, "comfy"),
    "long_prompt": (TXT2IMG, "truncate"),
    "clip_skip": (TXT2IMG, 2),
    "pag_scale": (TXT2IMG, 3.0),
    "guide": (TXT2IMG, "apg"),
    "seed": (TXT2IMG, "2"),
    "combinatorial": (TXT2IMG, True),
    "count": (TXT2IMG, 2),
    "steps": (TXT2IMG, 3),
    "guidance_scale": (TXT2IMG, 4.0),
    "guidance_rescale": (TXT2IMG, 0.5),
    "scheduler": (TXT2IMG, "euler"),
    "sigmas": ({**TXT2IMG, "scheduler": "euler"}, "karras"),
    "fast": ({**TXT2IMG, "steps": 8}, "cache"),
    "width": ({**TXT2IMG, "size": None}, 64),
    "height": ({**TXT2IMG, "size": None}, 64),
    "size": (TXT2IMG, "64x64"),
    "variation_strength": (TXT2IMG, 0.2),
    "variation_seed": ({**TXT2IMG, "variation_strength": 0.2}, 5),
    "morph_position": ({**TXT2IMG, "morph_position": 0.2, "morph_seed": "5"}, 0.5),
    "morph_seed": ({**TXT2IMG, "morph_position": 0.5}, "5"),
    "morph_prompt": ({**TXT2IMG, "morph_position": 0.5}, "cat"),
    "morph_negative_prompt": ({**TXT2IMG, "morph_position": 0.5}, "grass"),
    "hires": (TXT2IMG, "2:0.5"),
    "hires_in": ({**TXT2IMG, "hires": "2:0.9"}, "latent"),
    "hires_model": ({**TXT2IMG, "hires": "2:0.9"}, "NETWORK"),
    "hires_steps": ({**TXT2IMG, "hires": "2:0.9"}, 3),
    "panorama": ({**TXT2IMG, "size": "320x64"}, True),
    "seamless": (TXT2IMG, "x"),
    "best_of": (TXT2IMG, 2),
    "score": ({**TXT2IMG, "best_of": 2}, "clip"),
    "score_model": ({**TXT2IMG, "best_of": 2, "score": "clip"}, "clip-large"),
    "image": (IMG2IMG, Path("b.png")),
    "strength": (IMG2IMG, 0.5),
    "background": (IMG2IMG, "red"),
    "sigma": (DENOISE, "10"),
    "method": (DENOISE, "tv"),
    "eta": ({**DENOISE, "steps": 2, "seed": "1"}, 0.5),
    "self_ensemble": (DENOISE, 2),
    "fidelity": ({**DENOISE, "steps": 2}, 0.5),
    "mask": (INPAINT, Path("other-mask.png")),
    "invert_mask": (INPAINT, True),
    "resize_mask": (INPAINT, True),
    "feather": (INPAINT, 4),
    "max_side": (INPAINT, 16),
    "keep_original": (INPAINT, False),
    "mask_text": ({**INPAINT_TEXT, "mask_text": "a dog"}, "a cat"),
    "mask_model": (INPAINT_TEXT, "owlv2"),
    "mask_threshold": (INPAINT_TEXT, 0.4),
    "grow": (INPAINT_TEXT, 4),
    "save_mask": (INPAINT_TEXT, "saved.png"),
    "soft_mask": (INPAINT, True),
    "only_masked": (INPAINT, 8),
    "fill": (INPAINT, "blur"),
    "invert": (IMG2IMG, True),
    "source_prompt": ({**IMG2IMG, "invert": True}, "a cat"),
    "image_guidance_scale": (EDIT, 2.0),
    "by": (UPSCALE, 3.0),
    "sharpen": (UPSCALE, 10),
    "tile_overlap": (UPSCALE, 8),
    "tile_size": (UPSCALE, 64),
    "upscale_model": ({"task": "upscale", "image": Path("a.png"), "method": "model"}, "NETWORK"),
    "reference": ({**EDIT, "image": Path("large.png"), "model": "MODEL flux2-klein"}, ("large.png",)),
    "expand": ({**OUTPAINT, "expand": "8"}, "16"),
    "target_size": ({**OUTPAINT, "target_size": "48x48"}, "64x48"),
    "model": (TXT2IMG, ""),
    "offline": (TXT2IMG, True),
    "lora": (TXT2IMG, ""),
    "filter": (TXT2IMG, ("words",)),
    "safety_checker": (TXT2IMG, False),
    "device": (TXT2IMG, "cpu"),
    "dtype": (TXT2IMG, "fp32"),
    "offload": (TXT2IMG, "none"),
    "memory_budget": (TXT2IMG, "64GiB"),
    "quantize": (TXT2IMG, "fp8"),
    "control": (TXT2IMG, "NET a.png"),
    "control_guess": ({**TXT2IMG, "control": "NET a.png"}, True),
    "image_prompt": (TXT2IMG, "ADAPTER"),
    "vae_tiling": (TXT2IMG, True),
    "acceleration": (TXT2IMG, "full"),
    "output": (TXT2IMG, "sub/"),
    "format": (TXT2IMG, "webp"),
    "quality": ({**TXT2IMG, "format": "webp"}, 80),
    "png_level": (TXT2IMG, 9),
    "metadata": (TXT2IMG, "none"),
    "history": (TXT2IMG, False),
    "sign": (TXT2IMG, False),
    "vae": ({**TXT2IMG, "model": "MODEL sd1"}, "VAE"),
    "refiner": ({**TXT2IMG, "model": "MODEL sdxl"}, "MODEL sdxl-refiner"),
    "text_encoder_3": ({**TXT2IMG, "model": "MODEL sd3"}, "none"),
    "class_label": ({"task": "sample", "model": "MODEL dit", "class_label": "2", "seed": "1", "steps": 2}, "3"),
}
"""Setting -> a line, and another value of the setting for this line. The test fills in VAEs, LoRAs, and `MODEL NAME` of
the tiny models."""

DEFAULTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (TXT2IMG, {"acceleration": "exact"}),
    (TXT2IMG, {"acceleration": "none"}),
    (TXT2IMG, {"fast": "none"}),
    (TXT2IMG, {"guidance_rescale": 0.0}),
    (TXT2IMG, {"pag_scale": 0.0}),
    (TXT2IMG, {"guide": "cfg"}),
    (TXT2IMG, {"prompt_weights": "a1111"}),
    (TXT2IMG, {"long_prompt": "chunk"}),
    (TXT2IMG, {"clip_skip": 1}),
    (TXT2IMG, {"guidance_scale": 3.0, "scheduler": "ddim"}),
    (TXT2IMG, {"vae_tiling": False}),
    (TXT2IMG, {"format": "png"}),
    (TXT2IMG, {"quality": 90}),
    (TXT2IMG, {"output": "{index:05}-{seed}-{prompt}"}),
    ({**TXT2IMG, "format": "jpeg"}, {"quality": 95}),
    ({**TXT2IMG, "format": "jpeg"}, {"format": "jpg"}),
    ({**TXT2IMG, "output": "x{seed}.webp"}, {"format": "webp"}),
    (IMG2IMG, {"strength": 0.6}),
    (INPAINT, {"strength": 1.0}),
    (DENOISE, {"method": "pixel", "model": "denoiser", "steps": 1, "self_ensemble": 1}),
    ({**DENOISE, "sigma": None}, {"sigma": "auto"}),
]
"""A line, and settings that have the same value by default."""


def write_inputs() -> None:
    """Write the images and masks of the lines above, and a preset."""
    Path("artgen.toml").write_text('[presets.local]\ndevice = "auto"\n[filters.words]\nwords = "example"\n')
    for name, color in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (32, 32), color).save(f"{name}.png")
    Image.new("RGB", (64, 64), "red").save("large.png")
    for name, box in (("mask", (0, 0, 16, 16)), ("other-mask", (8, 8, 16, 16))):
        mask = Image.new("L", (32, 32))
        mask.paste(255, box)
        mask.save(f"{name}.png")


def test_every_setting_of_a_line_has_a_case() -> None:
    assert CHANGES.keys() == LINE_SETTINGS.keys()


@pytest.mark.parametrize("name", CHANGES)
def test_setting_changes_the_fingerprint_only_if_it_affects_pixels_or_file(
    name: str, models: dict[str, Path], zoo: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def filled(value: Any) -> Any:
        is_model = isinstance(value, str) and value.startswith("MODEL ")
        return str(zoo[value.removeprefix("MODEL ")]) if is_model else value

    write_inputs()
    line, value = CHANGES[name]
    line = {key: filled(each) for key, each in line.items() if each is not None}
    value = str(tiny_models.vae(Path("vae"))) if value == "VAE" else filled(value)
    if value == "NETWORK":
        tiny_upscalers.save(Path("network.safetensors"), tiny_upscalers.rrdbnet(1))
        value = "network.safetensors"
    if name == "lora":
        line, value = (
            {**line, "model": str(models["sd1"])},
            (str(diffusers_lora(Path("l.safetensors"), models["sd1"])),),
        )
    if "control" in line or name == "control":
        net = tiny_controls.save("sd1", Path("net"), models["sd1"])
        line = {**line, "model": str(models["sd1"]), "control": (f"canny=a.png,model={net}",)}
        value = (f"canny=b.png,model={net}",) if name == "control" else value
    if name == "image_prompt":
        adapter = tiny_image_prompts.save(Path("adapter"), models["sd1"])
        line = {**line, "model": str(models["sd1"]), "image_prompt": (f"a.png,model={adapter}",)}
        value = (f"b.png,model={adapter}",)
    if name == "only_masked":
        line = {**line, "model": str(models["sd1"])}
    if name == "model":
        value = str(models["sd1"])
    if name == "embedding":
        value = (str(zero_file(Path("fox.safetensors"), {"emb_params": (2, TINY_EMBEDDING_WIDTH)})),)
    if name == "style":
        monkeypatch.setenv("ARTGEN_STYLE_FOLDER", "styles")
        Path("styles").mkdir()
        Path("styles/styles.csv").write_text("name,prompt,negative_prompt\nplain,plain style,\n")
    affects = settings_of(LINE_SETTINGS[name])[name].affects
    changed = keys(line)[0] != keys({**line, name: value})[0]
    assert changed == bool({"pixels", "file"} & set(affects))


@pytest.mark.parametrize(("line", "values"), DEFAULTS)
def test_explicit_default_does_not_change_the_fingerprint(line: dict[str, Any], values: dict[str, Any]) -> None:
    write_inputs()
    line = {key: each for key, each in line.items() if each is not None}
    assert keys(line) == keys({**line, **values})


@pytest.mark.parametrize("line", [TXT2IMG, IMG2IMG, INPAINT, {**OUTPAINT, "expand": "8"}, DENOISE])
def test_explicit_defaults_of_all_settings_do_not_change_the_fingerprint(line: dict[str, Any]) -> None:
    write_inputs()
    fields = options_of(TASKS[line.get("task", "txt2img")].request_class)
    defaults = {
        name: field.default
        for name, field in fields.items()
        if field.default not in (None, ()) and name in LINE_SETTINGS and name not in line
    }
    assert keys({**line, **defaults}) == keys(line)


def test_memory_settings_do_not_change_the_generated_seed() -> None:
    line = {"prompt": "fox"}
    assert plan({**line, "device": "cpu", "offload": "none"}).jobs[0].request.seed == plan(line).jobs[0].request.seed


FORMER_LEDGER = Path(__file__).parent / "former_ledger"
"""Prompt file, input images and ledger of a batch. The version before the settings were renamed generated it with
`artgen batch prompts.txt -o out/ -m tiny --steps 2 --size 32x32 --device cpu --offload none`."""


def former_plan(**more: Any) -> tuple[BatchPlan, Ledger]:
    """Plan the former batch again in the current folder, whose images exist as empty files."""
    for file in FORMER_LEDGER.iterdir():
        target = Path("out/artgen-ledger", file.name) if file.suffix == ".jsonl" else Path(file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    ledger = Ledger(Path("out"))
    ledger.refresh()
    for path in ledger.completed_files():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    defaults = {"model": "tiny", "steps": 2, "size": "32x32", "device": "cpu", "offload": "none", **more}
    planner = Planner(Path("out"), defaults, existing_files=ledger.completed_files(), known_fingerprints=ledger.records)
    return planner.build_plan(read_prompt_file(Path("prompts.txt"))), ledger


def test_ledger_of_an_earlier_version_is_continued() -> None:
    batch_plan, ledger = former_plan()
    assert not batch_plan.line_errors
    assert len(batch_plan.jobs) == 22
    assert {job.fingerprint for job in batch_plan.jobs} == ledger.completed_keys()


def test_ledger_of_an_earlier_version_is_continued_with_explicit_defaults() -> None:
    batch_plan, ledger = former_plan(acceleration="exact", quality=90)
    plain = [job for job in batch_plan.jobs if job.line in (1, 2, 3, 4, 5, 14, 15, 16, 17, 18)]
    assert len(plain) == 13
    assert {job.fingerprint for job in plain} <= ledger.completed_keys()


def test_fingerprint_depends_on_the_content_of_the_input_image() -> None:
    Image.new("RGB", (32, 32), "red").save("a.png")
    line = {"task": "img2img", "image": Path("a.png"), "seed": "1"}
    red = keys(line)
    assert keys(line) == red
    Image.new("RGB", (32, 32), "blue").save("a.png")
    assert keys(line) != red


def test_defaults_apply_only_to_tasks_that_have_the_setting() -> None:
    Image.new("RGB", (40, 32)).save("a.png")
    batch_plan = plan(
        {"prompt": "fox"},
        {"task": "img2img", "image": Path("a.png")},
        {"prompt": "fox", "width": 64},
        strength=0.5,
        size="32x32",
        steps=4,
    )
    assert not batch_plan.line_errors
    assert [getattr(job.request, "strength", None) for job in batch_plan.jobs] == [None, 0.5, None]
    assert [job.template.size for job in batch_plan.jobs] == [(32, 32), (32, 32), (64, 128)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"prompt": "x", "strength": 0.5}, "takes no strength"),
        ({"prompt": " "}, "needs a prompt"),
        ({"prompt": "x", "task": "fly"}, "'fly' as a task: it is unknown"),
        ({"prompt": "x", "output": "/etc/x.png"}, "outside the folder"),
        ({"prompt": "x", "output": "a/../../x.png"}, "outside the folder"),
        ({"prompt": "x", "output": "{nope}"}, "is not a field"),
        ({"prompt": "x", "width": 33}, "multiples of"),
        ({"prompt": "x", "model": "no/such/model", "offline": True}, "no/such/model"),
        ({"prompt": "x\0"}, "NUL"),
        ({"prompt": ["x"]}, "prompt must be"),
        ({"prompt": "x", "steps": [1]}, "steps must be"),
        ({"task": "img2img", "image": Path("none.png")}, r"none\.png"),
        ({"task": "img2img"}, "needs an input image"),
    ],
)
def test_invalid_line_is_reported_with_its_location(values: dict[str, Any], message: str) -> None:
    batch_plan = plan({"prompt": "fine"}, values)
    assert len(batch_plan.jobs) == 1
    (line_error,) = batch_plan.line_errors
    assert isinstance(line_error, LineError)
    assert line_error.location == "p.txt:2"
    assert re.search(message, line_error.error.message), line_error.error.message


def test_jobs_of_one_group_can_share_a_pipeline_call() -> None:
    chunks = {"prompt": "a", "long_prompt": "chunk"}
    batch_plan = plan(
        {"prompt": "a"}, {"prompt": "b", "steps": 3}, {"prompt": "c", "output": "sub/"}, {"prompt": "d", "seed": "1,2"},
        {"prompt": "a", "negative_prompt": "x"}, {"prompt": "b", "negative_prompt": "y"},
        {"prompt": "a", "size": "64x64"}, chunks, {**chunks, "prompt": "b"}, {**chunks, "seed": "7"},
    )  # fmt: skip
    assert [job.group_id for job in batch_plan.jobs] == [0, 1, 0, 0, 0, 2, 2, 3, 0, 0, 0]


def test_prompts_of_one_group_have_equal_numbers_of_chunks() -> None:
    texts = ["a fox", "fox " * 40, "cat " * 50, "(a:1.3)", "a BREAK b", "[a|b]", "[a|b]", "[b|a]", "a AND b", "a AND c"]
    batch_plan = plan(*({"prompt": text} for text in texts))
    assert [job.group_id for job in batch_plan.jobs] == [0, 1, 1, 0, 1, 2, 2, 3, 4, 5]


def test_img2img_jobs_with_equal_image_sizes_share_a_group() -> None:
    for name, size in (("a", (32, 32)), ("b", (32, 32)), ("c", (40, 32))):
        Image.new("RGB", size, "orange").save(f"{name}.png")
    line = {"task": "img2img", "prompt": "a fox"}
    batch_plan = plan(
        *({**line, "image": f"{name}.png"} for name in "abc"), {**line, "image": "b.png", "strength": 0.3}
    )
    assert [job.group_id for job in batch_plan.jobs] == [0, 0, 1, 2]
    denoised = plan(*({"task": "denoise", "image": f"{name}.png"} for name in "ab"))
    assert [job.group_id for job in denoised.jobs] == [0, 1]


def test_many_lines_share_their_templates() -> None:
    batch_plan = Planner(Path("out")).build_plan(batches.create_entries(10_000))
    assert len(batch_plan.jobs) == 10_000
    assert len({id(job.template) for job in batch_plan.jobs}) == 2


def test_timings_and_batch_sizes_are_saved() -> None:
    first, second = plan({"prompt": "a", "steps": 10}, {"prompt": "b", "steps": 10, "size": "64x64"}).jobs
    history = Timings()
    assert history.estimate_seconds([first]) is None
    history.update(first, 5.0)
    history.update_batch_sizes([first, second], {first.group_id: 8})
    history.save()
    again = Timings()
    assert again.estimate_seconds([first]) == pytest.approx(5.0)
    assert again.estimate_seconds([first, second]) is None
    assert again.batch_sizes([first, second]) == {first.group_id: 8}
    for damaged in ("[]", '{"seconds": 3}', "not json"):
        Path("history.json").write_text(damaged)
        assert Timings(Path("history.json")).estimate_seconds([first]) is None


def test_default_of_feather_keeps_the_fingerprint_of_earlier_versions() -> None:
    Image.new("RGB", (128, 96), "red").save("a.png")
    line = {**OUTPAINT, "expand": "8"}
    assert keys(line) == keys({**line, "feather": 3})  # the default is 1/32 of the shorter side
    assert len({key for feather in (None, 0, 1, 2, 4) for key in keys({**line, "feather": feather})}) == 5
