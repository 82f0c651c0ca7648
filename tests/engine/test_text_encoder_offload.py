"""Test `--offload text` on the CPU: prompts are encoded and the text encoders freed before the denoiser is loaded."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import batches
import diffusers
import plain_scripts as plain
import pytest
import sample_images
import tiny_loras
import tiny_models
import torch
import transformers
from original_layout import to_original_sd1
from PIL import Image
from safetensors.torch import save_file

from artgen import GeneratedImage, Img2Img, Inpaint, Txt2Img, generate, generate_all, registry
from artgen.engine import memory_policy
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import plan_memory
from artgen.engine.memory_settings import MemorySettings
from artgen.engine.sampling import text_encoder_offload
from artgen.errors import UsageError
from artgen.events import Loading, PlanNote
from artgen.jobs import inputs
from artgen.jobs.prepare import prepare_jobs
from artgen.queue.entries import Entry
from artgen.queue.planner import Planner
from artgen.spec import memory_budget
from artgen.spec.base_requests import PromptRequest
from artgen.system import hardware

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")

MIB, GIB = 2**20, 2**30
SETTINGS: dict[str, Any] = {"prompt": "a red fox", "negative_prompt": "a cat", "seed": 7, "steps": 1}
LONG_PROMPT = "a red fox in the snow, " * 20


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a Stable Diffusion 3 model with a T5 text encoder."""
    folder = tiny_models.sd3(tmp_path_factory.mktemp("models") / "sd3")
    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz ,."]
    tokenizer = transformers.T5TokenizerFast(
        vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *letters], extra_ids=0
    )
    tokenizer.save_pretrained(folder / "tokenizer_3")
    shape = {"d_model": 64, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    config = transformers.T5Config(vocab_size=len(tokenizer), **shape)
    transformers.T5EncoderModel(config).save_pretrained(folder / "text_encoder_3")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5TokenizerFast"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(autouse=True)
def _empty_caches() -> None:
    """Remove cached embeddings and pipelines."""
    text_encoder_offload.clear_embeddings()
    pipeline_cache.clear_cache()


def loaded_components(log: plain.EventLog) -> list[str]:
    """Return the loaded components in order."""
    return [event.component for event in log.events if isinstance(event, Loading)]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("sd1", "fp32"), ("sdxl", "bf16"), ("sd3", "fp32"), ("sd3 with T5", "fp32"), ("sd3 with T5", "bf16")],
)
def test_offloading_does_not_change_the_image(models: dict[str, Path], sd3: Path, kind: str, dtype: str) -> None:
    request = Txt2Img(model=str(models.get(kind, sd3)), dtype=dtype, device="cpu", **SETTINGS)
    for changes in ({}, {"negative_prompt": "", "guidance_scale": 1.0}):
        expected = generate(request.replace(**changes)).image
        pipeline_cache.clear_cache()
        log = plain.EventLog()
        offloaded = generate(request.replace(offload="text", **changes), listener=log)
        assert sample_images.same(offloaded.image, expected), changes
        assert offloaded.record["offload"] == "text"
        is_text_encoder = [name.startswith("text_encoder") for name in loaded_components(log)]
        assert is_text_encoder == sorted(is_text_encoder, reverse=True), "the text encoders are loaded first"


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_offloading_does_not_change_chunked_prompts_and_batches(models: dict[str, Path], kind: str) -> None:
    shared = {"model": str(models[kind]), "long_prompt": "chunk", "steps": 1, "seed": 1}
    requests = [
        Txt2Img(prompt=LONG_PROMPT, **shared),
        Txt2Img(prompt=LONG_PROMPT, **{**shared, "seed": 2}),
        Txt2Img(prompt="a cat", negative_prompt=LONG_PROMPT, **shared),
        Txt2Img(prompt="a fox", **shared),
    ]
    expected = [outcome.image for outcome in generate_all(requests, batch_size=2)]
    pipeline_cache.clear_cache()
    log = plain.EventLog()
    offloaded = generate_all([each.replace(offload="text") for each in requests], batch_size=2, listener=log)
    assert all(sample_images.same(outcome.image, image) for outcome, image in zip(offloaded, expected, strict=True))
    assert loaded_components(log).count("unet") == 1


@pytest.mark.parametrize("kind", ["sdxl", "sd3 with T5"])
def test_offloading_does_not_change_weights_schedules_and_composition(
    models: dict[str, Path], sd3: Path, kind: str
) -> None:
    shared: dict[str, Any] = {"model": str(models.get(kind, sd3)), "steps": 4, "seed": 1, "guidance_scale": 5.0}
    requests = [
        Txt2Img(prompt="a (red:1.4) fox", negative_prompt="a [cat]", **shared),
        Txt2Img(prompt="a (red:1.4) fox", negative_prompt="a [cat]", prompt_weights="comfy", **shared),
        Txt2Img(prompt="a (red:1.4) fox", clip_skip=2, **shared),
        Txt2Img(prompt=f"[{LONG_PROMPT}|a cat]", **shared),
        Txt2Img(prompt="a [red:blue:2] fox AND a cat :0.7", **shared),
        Txt2Img(prompt="a [red:blue:2] fox AND a cat :0.7", **{**shared, "steps": 3}),
    ]
    expected = [generate(each).image for each in requests]
    assert len({image.tobytes() for image in expected}) == len(requests)
    pipeline_cache.clear_cache()
    log = plain.EventLog()
    outcomes = generate_all([each.replace(offload="text") for each in requests], listener=log)
    for outcome, image in zip(outcomes, expected, strict=True):
        assert isinstance(outcome, GeneratedImage)
        assert sample_images.same(outcome.image, image)


@pytest.mark.parametrize("kind", ["sd1", "sd3"])
def test_offloading_does_not_change_img2img_and_inpaint(models: dict[str, Path], kind: str) -> None:
    image, mask = sample_images.photo(Path("photo.png")), sample_images.mask(Path("mask.png"))
    shared: dict[str, Any] = {"model": str(models[kind]), "image": image, **SETTINGS, "steps": 2}
    for request in (Img2Img(strength=0.7, **shared), Inpaint(mask=mask, **shared)):
        expected = generate(request).image
        assert sample_images.same(generate(request.replace(offload="text")).image, expected)


def test_text_encoders_of_a_single_file_are_loaded_separately(tmp_path: Path) -> None:
    folder = tiny_models.sd1(tmp_path / "model")
    components_pipe = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    state = to_original_sd1(*(getattr(components_pipe, name).state_dict() for name in ("unet", "vae", "text_encoder")))
    save_file(state, tmp_path / "model.safetensors")
    model = dataclasses.replace(
        registry.resolve_model(str(folder), offline=True),
        path=tmp_path / "model.safetensors",
        is_file=True,
        single_file=registry.SingleFile(folder, ("unet", "vae", "text_encoder")),
    )
    model = dataclasses.replace(model, files=model.file_identities())
    for dtype in ("fp32", "bf16"):
        text_pipe = pipeline_cache.load_text_encoders(model, DeviceConfig("cpu", dtype), plain.EventLog())
        assert text_pipe.text_encoder is not None
        assert text_pipe.unet is text_pipe.vae is None
        denoiser_pipe = pipeline_cache.load_pipeline(
            model,
            DeviceConfig("cpu", dtype),
            offload="text",
            vae_tiling=False,
            safety_checker=True,
            listener=plain.EventLog(),
        )
        assert denoiser_pipe.text_encoder is None
        assert not any(weight.is_meta for weight in denoiser_pipe.unet.parameters())


def test_prompts_of_later_jobs_are_encoded_in_advance_and_cached(models: dict[str, Path]) -> None:
    shared = {"model": str(models["sd1"]), "steps": 1, "guidance_scale": 1.0, "offload": "text"}
    requests = [Txt2Img(prompt=f"a {thing}", seed=1, **shared) for thing in ("fox", "cat", "tree", "fox")]
    log = plain.EventLog()
    assert len(list(generate_all(requests, listener=log))) == 4
    assert loaded_components(log) == ["text_encoder", "unet", "vae"]
    again = plain.EventLog()
    generate(requests[2].replace(seed=2), listener=again)
    assert loaded_components(again) == []
    generate(requests[2].replace(prompt="a house"), listener=again)
    assert loaded_components(again) == ["text_encoder", "unet", "vae"]  # never in memory together


def test_batch_loads_the_text_encoders_once_per_model(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded_models: list[Any] = []
    load_text_encoders = pipeline_cache.load_text_encoders
    monkeypatch.setattr(
        pipeline_cache,
        "load_text_encoders",
        lambda *args: loaded_models.append(args[0].path) or load_text_encoders(*args),
    )
    settings = {"model": str(models["sd1"]), "offload": "text", "device": "cpu", "steps": 1}
    lines = [{"prompt": f"a fox {number}", "seed": str(number)} for number in range(5)]
    lines += [{**lines[0], "model": str(models["sdxl"])}, {"prompt": "a bear", "seed": "1"}]
    entries = [Entry("prompts.txt", number, line) for number, line in enumerate(lines, 1)]
    plan = Planner(tmp_path / "offloaded", settings).build_plan(entries)
    batches.run_batch(plan, batch_size="2")
    assert loaded_models == [models["sd1"], models["sdxl"]]
    batches.run_batch(
        Planner(tmp_path / "expected", {**settings, "offload": "none"}).build_plan(entries), batch_size="2"
    )
    offloaded, expected = (sorted((tmp_path / name).glob("*.png")) for name in ("offloaded", "expected"))
    assert len(offloaded) == len(entries)
    for file, expected_file in zip(offloaded, expected, strict=True):
        with Image.open(file) as first, Image.open(expected_file) as second:
            assert sample_images.same(first, second)


def test_input_images_are_not_loaded_for_cached_prompts(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = []
    for number in range(6):
        image = sample_images.photo(tmp_path / f"{number}.png")
        entries.append(Entry("p", number, {"task": "img2img", "image": image, "prompt": f"a fox {number // 5}"}))
    settings = {"model": str(models["sd1"]), "offload": "text", "device": "cpu", "steps": 2}
    plan = Planner(tmp_path / "out", settings).build_plan(entries)
    loaded_images: list[Path] = []
    load_inputs = inputs.load_inputs
    monkeypatch.setattr(
        inputs, "load_inputs", lambda request: loaded_images.append(request.image) or load_inputs(request)
    )
    _, results = batches.run_batch(plan)
    assert [result.record.state for result in results if result.record] == ["done"] * 6
    assert len(loaded_images) == 6 + 2, "every image once, and the first image of each other prompt once in advance"


def test_prefetch_stops_at_the_size_limit(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder_offload, "MAX_PREFETCH_BYTES", 1)
    shared = {"model": str(models["sd1"]), "steps": 1, "guidance_scale": 1.0, "offload": "text", "seed": 1}
    requests = [Txt2Img(prompt=f"a {thing}", **shared) for thing in ("fox", "cat", "fox")]
    log = plain.EventLog()
    images = [outcome.image for outcome in generate_all(requests, listener=log)]
    assert sample_images.same(images[0], images[2])
    assert not sample_images.same(images[0], images[1])
    assert loaded_components(log).count("text_encoder") == 3


def test_prefetched_embeddings_are_cached_until_a_new_prompt_is_needed(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"model": str(models["sd1"]), "steps": 1, "guidance_scale": 1.0, "offload": "text", "seed": 1}
    requests = [Txt2Img(prompt=f"fox {number}", **shared) for number in range(7)]
    generate(requests[0])
    embeddings = text_encoder_offload.cached_embeddings(prepare_jobs(requests[:1]), DeviceConfig("cpu", "fp32"))
    num_bytes = embeddings.nbytes()
    monkeypatch.setattr(text_encoder_offload, "MAX_PREFETCH_BYTES", 2 * num_bytes)
    text_encoder_offload.clear_embeddings()
    pipeline_cache.clear_cache()
    log = plain.EventLog()
    assert len(list(generate_all(requests, listener=log))) == 7
    assert loaded_components(log).count("text_encoder") == 3  # for the first, the fourth and the seventh


def test_text_offload_is_selected_if_the_model_exceeds_main_memory(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mode is also selected if `--offload` is unset: the system kills a process that exceeds main memory."""
    estimate = memory_budget.MemoryEstimate(
        text_encoder_bytes=(9 * GIB, GIB),
        denoiser_bytes=4 * GIB,
        vae_bytes=0,
        other_bytes=0,
        denoise_activation_bytes=0,
        decode_activation_bytes=0,
        tiled_decode_bytes=0,
    )
    monkeypatch.setattr(memory_policy, "estimate_memory", lambda *_, **__: estimate)
    cpu = DeviceConfig("cpu", "bf16")

    def select(request: PromptRequest, available: int | None) -> tuple[str | None, list[Any]]:
        monkeypatch.setattr(hardware, "available_ram", lambda: available)
        log, jobs = plain.EventLog(), prepare_jobs([request])
        settings = plan_memory(MemorySettings.from_request(jobs[0].request, 1), jobs[0], 1, cpu, log)
        assert not settings.vae_tiling
        return settings.offload, log.events

    request = Txt2Img(model=str(models["sd1"]), device="cpu", **SETTINGS)
    auto = request.replace(offload="auto")
    assert select(request, 24 * GIB) == (None, [])
    assert select(auto, 24 * GIB) == ("none", [PlanNote("offload none: about 14.6 GiB of 24.0 GiB available")])
    selected = ("text", [PlanNote("offload text: about 10.6 GiB of 12.0 GiB available")])
    assert select(request, 12 * GIB) == select(auto, 12 * GIB) == selected
    assert select(auto.replace(memory_budget="12GiB"), 24 * GIB) == selected
    assert select(auto.replace(memory_budget="24GiB"), 12 * GIB) == selected
    assert select(request.replace(offload="none"), 12 * GIB) == ("none", [])
    assert select(request, None) == (None, [])
    assert select(request.replace(memory_budget="12GiB"), None) == selected


def test_memory_budget_selects_and_records_text_offload(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), device="cpu", memory_budget="256MiB", **SETTINGS)
    record = generate(request).record
    assert record["offload"] == "text"
    assert "memory_budget" not in record


def test_inseparable_text_encoders_are_rejected_or_not_offloaded(models: dict[str, Path], tmp_path: Path) -> None:
    lora = tiny_loras.diffusers_lora(tmp_path / "style.safetensors", models["sd1"])
    request = Txt2Img(model=str(models["sd1"]), device="cpu", lora=(str(lora),), **SETTINGS)
    with pytest.raises(UsageError, match="the LoRA 'style' changes the text encoders"):
        prepare_jobs([request.replace(offload="text")])
    assert generate(request.replace(memory_budget="256MiB")).record.get("offload") != "text"
    folder = tiny_models.sd1(tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "LatentConsistencyModelPipeline"}))
    with pytest.raises(UsageError, match="is not a Stable Diffusion 1, 2, XL or 3 model"):
        prepare_jobs([Txt2Img(model=str(folder), device="cpu", offload="text", **SETTINGS | {"negative_prompt": ""})])


def test_text_encoder_lora_of_a_later_job_disables_offloading(models: dict[str, Path], tmp_path: Path) -> None:
    lora = tiny_loras.diffusers_lora(tmp_path / "style.safetensors", models["sd1"])
    request = Txt2Img(model=str(models["sd1"]), device="cpu", memory_budget="256MiB", **SETTINGS)
    with_lora = request.replace(lora=(str(lora),))
    separate = [generate(each).image for each in (request, with_lora)]
    outcomes = [
        outcome for outcome in generate_all([request, with_lora, request]) if isinstance(outcome, GeneratedImage)
    ]
    assert [outcome.record.get("offload") for outcome in outcomes] == ["text", None, "text"]
    for outcome, image in zip(outcomes, (*separate, separate[0]), strict=True):
        assert sample_images.same(outcome.image, image)


def test_larger_later_image_is_planned_again(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def estimate_memory(_: Any, __: str, size: tuple[int, int], *___: Any, **____: Any) -> memory_budget.MemoryEstimate:
        return memory_budget.MemoryEstimate(
            text_encoder_bytes=(GIB,),
            denoiser_bytes=GIB,
            vae_bytes=0,
            other_bytes=0,
            denoise_activation_bytes=size[0] << 20,
            decode_activation_bytes=0,
            tiled_decode_bytes=0,
        )

    monkeypatch.setattr(memory_policy, "estimate_memory", estimate_memory)
    monkeypatch.setattr(hardware, "available_ram", lambda: round(2.7 * GIB))
    shared = {"model": str(models["sd1"]), "device": "cpu", "steps": 1, "guidance_scale": 1.0}
    requests = [Txt2Img(prompt="a fox", seed=1, width=side, height=32, **shared) for side in (32, 160, 32)]
    modes = [outcome.record.get("offload") for outcome in generate_all(requests) if isinstance(outcome, GeneratedImage)]
    assert modes == [None, "text", "text"]


def test_denoiser_lora_works_with_text_offload(models: dict[str, Path], tmp_path: Path) -> None:
    states = tiny_loras.lora_state_dicts(models["sd1"])
    lora = tiny_loras.diffusers_lora(
        tmp_path / "style.safetensors",
        models["sd1"],
        parts={"unet": sorted({layer_name(name) for name in states["unet"]})},
    )
    request = Txt2Img(model=str(models["sd1"]), device="cpu", lora=(str(lora),), **SETTINGS)
    expected = generate(request).image
    assert sample_images.same(generate(request.replace(offload="text")).image, expected)
    assert not sample_images.same(generate(request.replace(lora=())).image, expected)


def layer_name(name: str) -> str:
    """Return the layer of a LoRA tensor."""
    return name.rpartition(".lora")[0]


@pytest.mark.parametrize(
    ("line", "root", "names"),
    [
        ("0::/job/step", "", ("memory.max", "memory.current", "inactive_file")),
        ("4:memory:/job/step", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ],
)
def test_control_groups_limit_the_available_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, root: str, names: tuple[str, str, str]
) -> None:
    (tmp_path / "own").write_text(f"1:name=systemd:/\n{line}\n")
    monkeypatch.setattr(hardware, "PROCESS_CGROUPS_FILE", tmp_path / "own")
    monkeypatch.setattr(hardware, "CGROUP_ROOT", tmp_path)
    (tmp_path / "meminfo").write_text(f"MemAvailable: {9 * GIB // 1024} kB\n")
    (tmp_path / "status").write_text(f"RssAnon: {2 * GIB // 1024} kB\n")
    monkeypatch.setattr(hardware, "MEMINFO_FILE", tmp_path / "meminfo")
    monkeypatch.setattr(hardware, "PROCESS_STATUS_FILE", tmp_path / "status")
    assert hardware.available_ram() == 11 * GIB
    step = tmp_path / root / "job" / "step"
    step.mkdir(parents=True)
    for folder, limit in ((step, "max"), (step.parent, str(8 * GIB))):
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{3 * GIB}\n")
        (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {GIB}\n")
    assert hardware.available_ram() == 8 * GIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads the Linux proc files")
def test_available_memory_is_at_most_the_physical_memory() -> None:
    available = hardware.available_ram()
    assert available is not None
    assert 0 < available <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


MEASURE_SCRIPT = """
import sys
from pathlib import Path
from artgen import Txt2Img, generate

def status(field):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) // 1024

shared = {"device": "cpu", "dtype": "bf16", "prompt": "a fox", "seed": 1, "steps": 1, "width": 32, "height": 32}
generate(Txt2Img(model=sys.argv[1], **shared))  # exclude the memory of imports
for offload in ("text", "none"):
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = status("VmRSS")
    generate(Txt2Img(model=sys.argv[2], offload=offload, **shared))
    print(offload, status("VmHWM") - before)
    generate(Txt2Img(model=sys.argv[1], **shared))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from the Linux proc files")
def test_text_encoders_and_denoiser_are_never_in_memory_together(models: dict[str, Path], tmp_path: Path) -> None:
    """The text encoder and the UNet have about 50 MiB each in bf16."""
    folder = tiny_models.sd1(tmp_path / "wide")
    text = transformers.CLIPTextConfig.from_pretrained(folder / "text_encoder")
    text.intermediate_size, text.num_hidden_layers = 16384, 28
    shape = diffusers.UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        modules = {
            "text_encoder": transformers.CLIPTextModel(text),
            "unet": diffusers.UNet2DConditionModel.from_config(shape, block_out_channels=(256, 256)),
        }
    sizes = []
    for name, module in modules.items():
        filled = module.to_empty(device="cpu")
        for key, tensor in filled.state_dict().items():
            tensor.fill_(0 if "norm" in key else 0.001)
        filled.save_pretrained(folder / name)
        sizes.append(sum(tensor.nbytes for tensor in filled.state_dict().values()) // 2 // MIB)
    assert min(sizes) > 35
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURE_SCRIPT, str(models["sd1"]), str(folder)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # freed memory is returned to the system
    )  # fmt: skip
    peak_mib = {name: int(peak) for name, peak in map(str.split, process.stdout.splitlines())}
    assert peak_mib["text"] < max(sizes) + 25, (peak_mib, sizes)
    assert peak_mib["none"] > sum(sizes), (peak_mib, sizes)  # the measurement detects both in memory
