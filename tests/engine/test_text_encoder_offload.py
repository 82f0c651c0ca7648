"""`--offload text` on the CPU: prompts are read first, by text encoders that are gone when the rest is loaded."""

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
import tiny_loras
import tiny_models
import torch
import transformers
from original_layout import to_original_sd1
from PIL import Image
from safetensors.torch import save_file

from artgen import GeneratedImage, Img2Img, Inpaint, Txt2Img, generate, generate_all, registry
from artgen.engine import memory_policy
from artgen.engine.loading import components, pipeline_cache
from artgen.engine.loading.device import DeviceConfig
from artgen.engine.memory_policy import MemorySettings, plan_memory
from artgen.engine.sampling import text_encoder_offload
from artgen.errors import UsageError
from artgen.events import Loading, PlanNote
from artgen.jobs import inputs
from artgen.jobs.prepare import prepare_jobs
from artgen.queue.entries import Entry
from artgen.queue.planner import Planner
from artgen.spec import memory_budget
from artgen.spec.requests import PromptRequest
from artgen.system import hardware

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")

MIB, GIB = 2**20, 2**30
WORDS: dict[str, Any] = {"prompt": "a red fox", "negative_prompt": "a cat", "seed": 7, "steps": 2}
LONG = "a red fox in the snow, " * 20


@pytest.fixture(scope="module")
def sd3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion 3 with a T5 of its own."""
    folder = tiny_models.sd3(tmp_path_factory.mktemp("models") / "sd3")
    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyz ,."]
    tokens = transformers.T5TokenizerFast(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *letters], extra_ids=0)
    tokens.save_pretrained(folder / "tokenizer_3")
    shape = {"d_model": 64, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    config = transformers.T5Config(vocab_size=len(tokens), **shape)
    transformers.T5EncoderModel(config).save_pretrained(folder / "text_encoder_3")
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"text_encoder_3": ["transformers", "T5EncoderModel"], "tokenizer_3": ["transformers", "T5TokenizerFast"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture(autouse=True)
def _nothing_read() -> None:
    text_encoder_offload._embedding_cache.clear()
    pipeline_cache.clear_cache()


def read(heard: plain.Heard) -> list[str]:
    """The components that were loaded, in order."""
    return [event.component for event in heard.events if isinstance(event, Loading)]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [("sd1", "fp32"), ("sdxl", "bf16"), ("sd3", "fp32"), ("sd3 with T5", "fp32"), ("sd3 with T5", "bf16")],
)
def test_the_pixels_are_the_same(models: dict[str, Path], sd3: Path, kind: str, dtype: str) -> None:
    request = Txt2Img(model=str(models.get(kind, sd3)), dtype=dtype, device="cpu", **WORDS)
    for changes in ({}, {"negative_prompt": "", "guidance_scale": 1.0}):
        whole = generate(request.replace(**changes)).image
        pipeline_cache.clear_cache()
        apart = generate(request.replace(offload="text", **changes))
        assert plain.same(apart.image, whole), changes
        assert apart.record["offload"] == "text"
    ((pipe),) = pipeline_cache._cache.values()
    assert not any(part for name, part in pipe.components.items() if name.startswith("text_encoder"))


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_so_are_those_of_long_prompts_and_of_several_at_a_time(models: dict[str, Path], kind: str) -> None:
    shared = {"model": str(models[kind]), "long_prompt": "chunk", "steps": 2, "seed": 1}
    requests = [Txt2Img(prompt=LONG, **shared), Txt2Img(prompt=LONG, **{**shared, "seed": 2}),
                Txt2Img(prompt="a cat", negative_prompt=LONG, **shared), Txt2Img(prompt="a fox", **shared)]  # fmt: skip
    whole = [found.image for found in generate_all(requests, batch_size=2)]
    pipeline_cache.clear_cache()
    heard = plain.Heard()
    apart = generate_all([each.replace(offload="text") for each in requests], batch_size=2, listener=heard)
    assert all(plain.same(found.image, other) for found, other in zip(apart, whole, strict=True))
    assert read(heard).count("unet") == 1


@pytest.mark.parametrize("kind", ["sd1", "sd3"])
def test_other_tasks_do_so_too(models: dict[str, Path], kind: str) -> None:
    image, mask = plain.photo(Path("photo.png")), plain.mask(Path("mask.png"))
    shared: dict[str, Any] = {"model": str(models[kind]), "image": image, **WORDS, "steps": 3}
    for request in (Img2Img(strength=0.7, **shared), Inpaint(mask=mask, **shared)):
        whole = generate(request).image
        assert plain.same(generate(request.replace(offload="text")).image, whole)


def test_a_single_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_models.sd1(tmp_path / "model")
    parts = diffusers.StableDiffusionPipeline.from_pretrained(folder)
    state = to_original_sd1(*(getattr(parts, name).state_dict() for name in ("unet", "vae", "text_encoder")))
    save_file(state, tmp_path / "whole.safetensors")
    monkeypatch.setattr(components, "single_file_config", lambda _: folder)
    model = dataclasses.replace(
        registry.resolve_model(str(folder), offline=True), path=tmp_path / "whole.safetensors", is_file=True
    )
    for dtype in ("fp32", "bf16"):
        reader = pipeline_cache.load_text_encoders(model, DeviceConfig("cpu", dtype), plain.Heard())
        assert reader.text_encoder is not None
        assert reader.unet is reader.vae is None
        drawer = pipeline_cache.load_pipeline(
            model,
            DeviceConfig("cpu", dtype),
            offload="text",
            vae_tiling=False,
            safety_checker=True,
            listener=plain.Heard(),
        )
        assert drawer.text_encoder is None
        assert not any(weight.is_meta for weight in drawer.unet.parameters())


def test_prompts_of_coming_pictures_are_read_at_once_and_known_ones_never_again(models: dict[str, Path]) -> None:
    shared = {"model": str(models["sd1"]), "steps": 1, "guidance_scale": 1.0, "offload": "text"}
    requests = [Txt2Img(prompt=f"a {thing}", seed=1, **shared) for thing in ("fox", "cat", "tree", "fox")]
    heard = plain.Heard()
    assert len(list(generate_all(requests, listener=heard))) == 4
    assert read(heard) == ["text_encoder", "unet", "vae"]
    again = plain.Heard()
    generate(requests[2].replace(seed=2), listener=again)
    assert read(again) == []
    generate(requests[2].replace(prompt="a house"), listener=again)
    assert read(again) == ["text_encoder", "unet", "vae"]  # never both in memory


def test_a_batch_reads_the_prompts_of_its_later_pictures_with_the_first_ones(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[Any] = []
    load_reader = pipeline_cache.load_text_encoders
    monkeypatch.setattr(
        pipeline_cache, "load_text_encoders", lambda *given: readers.append(given[0].path) or load_reader(*given)
    )
    settings = {"model": str(models["sd1"]), "offload": "text", "device": "cpu", "steps": 1}
    words = [{"prompt": f"a fox {number}", "seed": str(number)} for number in range(5)]
    words += [{**words[0], "model": str(models["sdxl"])}, {"prompt": "a bear", "seed": "1"}]
    found = [Entry("prompts.txt", number, each) for number, each in enumerate(words, 1)]
    made = Planner(tmp_path / "apart", settings).build_plan(found)
    batches.run_batch(made, batch_size="2")
    assert readers == [models["sd1"], models["sdxl"]], "each model's text encoders were loaded once"
    batches.run_batch(Planner(tmp_path / "whole", {**settings, "offload": "none"}).build_plan(found), batch_size="2")
    apart, whole = (sorted((tmp_path / name).glob("*.png")) for name in ("apart", "whole"))
    assert len(apart) == len(found)
    for one, other in zip(apart, whole, strict=True):
        with Image.open(one) as first, Image.open(other) as second:
            assert plain.same(first, second)


def test_input_pictures_of_a_batch_are_not_read_for_words_that_are_known(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number in range(6):
        picture = plain.photo(tmp_path / f"{number}.png")
        found.append(Entry("p", number, {"task": "img2img", "image": picture, "prompt": f"a fox {number // 5}"}))
    settings = {"model": str(models["sd1"]), "offload": "text", "device": "cpu", "steps": 2}
    made = Planner(tmp_path / "out", settings).build_plan(found)
    opened: list[Path] = []
    source = inputs.load_inputs
    monkeypatch.setattr(inputs, "load_inputs", lambda request: opened.append(request.image) or source(request))
    _, results = batches.run_batch(made)
    assert [result.record.state for result in results if result.record] == ["done"] * 6
    assert len(opened) == 6 + 2, "each in its turn, and the first of each other wording"


def test_no_more_is_read_ahead_than_there_is_room_for(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_encoder_offload, "MAX_PREFETCH_BYTES", 1)
    shared = {"model": str(models["sd1"]), "steps": 1, "guidance_scale": 1.0, "offload": "text", "seed": 1}
    requests = [Txt2Img(prompt=f"a {thing}", **shared) for thing in ("fox", "cat", "fox")]
    heard = plain.Heard()
    found = [picture.image for picture in generate_all(requests, listener=heard)]
    assert plain.same(found[0], found[2])
    assert not plain.same(found[0], found[1])
    assert read(heard).count("text_encoder") == 3


def test_what_was_read_ahead_is_kept_until_something_new_is_needed(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = {"model": str(models["sd1"]), "steps": 1, "guidance_scale": 1.0, "offload": "text", "seed": 1}
    requests = [Txt2Img(prompt=f"fox {number}", **shared) for number in range(7)]
    generate(requests[0])
    ((rows),) = text_encoder_offload._embedding_cache.values()
    monkeypatch.setattr(text_encoder_offload, "MAX_PREFETCH_BYTES", 2 * text_encoder_offload._nbytes(rows))
    text_encoder_offload._embedding_cache.clear()
    pipeline_cache.clear_cache()
    heard = plain.Heard()
    assert len(list(generate_all(requests, listener=heard))) == 7
    assert read(heard).count("text_encoder") == 3  # for the first, the fourth and the seventh


def test_it_is_chosen_where_main_memory_does_not_hold_all(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unasked too: on the CPU nothing can be tried again, the system ends a process that takes too much."""
    whole = memory_budget.MemoryEstimate(
        text_encoder_bytes=(9 * GIB, GIB),
        denoiser_bytes=4 * GIB,
        vae_bytes=0,
        other_bytes=0,
        denoise_activation_bytes=0,
        decode_activation_bytes=0,
        tiled_decode_bytes=0,
    )
    monkeypatch.setattr(memory_policy, "estimate_memory", lambda *_, **__: whole)
    cpu = DeviceConfig("cpu", "bf16")

    def settle(request: PromptRequest, there: int | None) -> tuple[str | None, list[Any]]:
        monkeypatch.setattr(hardware, "available_ram", lambda: there)
        heard, jobs = plain.Heard(), prepare_jobs([request])
        economy = plan_memory(MemorySettings.from_request(jobs[0].prompt_request, 1), jobs[0], 1, cpu, heard)
        assert not economy.vae_tiling
        return economy.offload, heard.events

    request = Txt2Img(model=str(models["sd1"]), device="cpu", **WORDS)
    auto = request.replace(offload="auto")
    assert settle(request, 24 * GIB) == (None, [])
    assert settle(auto, 24 * GIB) == ("none", [PlanNote("offload none: about 14.6 GiB of 24.0 GiB there are")])
    chosen = ("text", [PlanNote("offload text: about 10.6 GiB of 12.0 GiB there are")])
    assert settle(request, 12 * GIB) == settle(auto, 12 * GIB) == chosen
    assert settle(auto.replace(memory_budget="12GiB"), 24 * GIB) == chosen
    assert settle(auto.replace(memory_budget="24GiB"), 12 * GIB) == chosen
    assert settle(request.replace(offload="none"), 12 * GIB) == ("none", [])
    assert settle(request, None) == (None, [])
    assert settle(request.replace(memory_budget="12GiB"), None) == chosen


def test_a_budget_is_kept_to_and_recorded_as_what_was_done(models: dict[str, Path]) -> None:
    request = Txt2Img(model=str(models["sd1"]), device="cpu", memory_budget="256MiB", **WORDS)
    record = generate(request).record
    assert record["offload"] == "text"
    assert "memory_budget" not in record


def test_what_cannot_be_read_apart_is_refused_or_left_whole(models: dict[str, Path], tmp_path: Path) -> None:
    lora = tiny_loras.diffusers_lora(tmp_path / "style.safetensors", models["sd1"])
    request = Txt2Img(model=str(models["sd1"]), device="cpu", lora=(str(lora),), **WORDS)
    with pytest.raises(UsageError, match="the LoRA style changes its text encoders"):
        prepare_jobs([request.replace(offload="text")])
    assert generate(request.replace(memory_budget="256MiB")).record.get("offload") != "text"
    folder = tiny_models.sd1(tmp_path / "other")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "LatentConsistencyModelPipeline"}))
    with pytest.raises(UsageError, match="none of Stable Diffusion 1, 2, XL and 3"):
        prepare_jobs([Txt2Img(model=str(folder), device="cpu", offload="text", **WORDS)])


def test_a_later_picture_whose_lora_reads_the_prompt_is_drawn_with_the_whole_model(
    models: dict[str, Path], tmp_path: Path
) -> None:
    lora = tiny_loras.diffusers_lora(tmp_path / "style.safetensors", models["sd1"])
    request = Txt2Img(model=str(models["sd1"]), device="cpu", memory_budget="256MiB", **WORDS)
    changed = request.replace(lora=(str(lora),))
    alone = [generate(each).image for each in (request, changed)]
    found = [made for made in generate_all([request, changed, request]) if isinstance(made, GeneratedImage)]
    assert [made.record.get("offload") for made in found] == ["text", None, "text"]
    assert all(plain.same(made.image, image) for made, image in zip(found, (*alone, alone[0]), strict=True))


def test_a_later_picture_that_takes_more_is_planned_for(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def demand(_: Any, __: str, size: tuple[int, int], *___: Any, **____: Any) -> memory_budget.MemoryEstimate:
        return memory_budget.MemoryEstimate(
            text_encoder_bytes=(GIB,),
            denoiser_bytes=GIB,
            vae_bytes=0,
            other_bytes=0,
            denoise_activation_bytes=size[0] << 20,
            decode_activation_bytes=0,
            tiled_decode_bytes=0,
        )

    monkeypatch.setattr(memory_policy, "estimate_memory", demand)
    monkeypatch.setattr(hardware, "available_ram", lambda: round(2.7 * GIB))
    shared = {"model": str(models["sd1"]), "device": "cpu", "steps": 1, "guidance_scale": 1.0}
    requests = [Txt2Img(prompt="a fox", seed=1, width=side, height=32, **shared) for side in (32, 160, 32)]
    found = [made.record.get("offload") for made in generate_all(requests) if isinstance(made, GeneratedImage)]
    assert found == [None, "text", "text"]


def test_a_lora_of_the_denoiser_alone_stays_possible(models: dict[str, Path], tmp_path: Path) -> None:
    states = tiny_loras.states(models["sd1"])
    lora = tiny_loras.diffusers_lora(
        tmp_path / "style.safetensors", models["sd1"], parts={"unet": sorted({_layer(name) for name in states["unet"]})}
    )
    request = Txt2Img(model=str(models["sd1"]), device="cpu", lora=(str(lora),), **WORDS)
    whole = generate(request).image
    assert plain.same(generate(request.replace(offload="text")).image, whole)
    assert not plain.same(generate(request.replace(lora=())).image, whole)


def _layer(name: str) -> str:
    return name.rpartition(".lora")[0]


@pytest.mark.parametrize(
    ("line", "root", "names"),
    [
        ("0::/job/step", "", ("memory.max", "memory.current", "inactive_file")),
        ("4:memory:/job/step", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ],
)
def test_control_groups_limit_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, root: str, names: tuple[str, str, str]
) -> None:
    (tmp_path / "own").write_text(f"1:name=systemd:/\n{line}\n")
    monkeypatch.setattr(hardware, "PROCESS_CGROUPS_FILE", tmp_path / "own")
    monkeypatch.setattr(hardware, "CGROUP_ROOT", tmp_path)
    assert list(hardware._cgroup_limits()) == []
    step = tmp_path / root / "job" / "step"
    step.mkdir(parents=True)
    for folder, limit in ((step, "max"), (step.parent, str(8 * GIB))):
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{3 * GIB}\n")
        (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {GIB}\n")
    assert list(hardware._cgroup_limits()) == [6 * GIB]
    monkeypatch.setattr(hardware, "_read_kib", lambda file, _: {"/proc/meminfo": 9, "/proc/self/status": 2}[file] * GIB)
    assert hardware.available_ram() == 8 * GIB


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' tables")
def test_free_memory_is_a_part_of_what_the_machine_has() -> None:
    free = hardware.available_ram()
    assert free is not None
    assert 0 < free <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


MEASURED = """
import sys
from pathlib import Path
from artgen import Txt2Img, generate

def status(field):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) // 1024

shared = {"device": "cpu", "dtype": "bf16", "prompt": "a fox", "seed": 1, "steps": 1, "width": 32, "height": 32}
generate(Txt2Img(model=sys.argv[1], **shared))  # what is imported then is not counted
for offload in ("text", "none"):
    Path("/proc/self/clear_refs").write_text("5")  # the most begins anew
    before = status("VmRSS")
    generate(Txt2Img(model=sys.argv[2], offload=offload, **shared))
    print(offload, status("VmHWM") - before)
    generate(Txt2Img(model=sys.argv[1], **shared))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory a process took at most")
def test_text_encoders_and_denoiser_are_never_in_memory_together(models: dict[str, Path], tmp_path: Path) -> None:
    """Each takes about 50 MiB in bf16."""
    folder = tiny_models.sd1(tmp_path / "wide")
    text = transformers.CLIPTextConfig.from_pretrained(folder / "text_encoder")
    text.intermediate_size, text.num_hidden_layers = 16384, 28
    shape = diffusers.UNet2DConditionModel.load_config(folder / "unet")
    with torch.device("meta"):
        parts = {
            "text_encoder": transformers.CLIPTextModel(text),
            "unet": diffusers.UNet2DConditionModel.from_config(shape, block_out_channels=(256, 256)),
        }
    sizes = []
    for name, part in parts.items():
        filled = part.to_empty(device="cpu")
        for key, tensor in filled.state_dict().items():
            tensor.fill_(0 if "norm" in key else 0.001)
        filled.save_pretrained(folder / name)
        sizes.append(sum(tensor.nbytes for tensor in filled.state_dict().values()) // 2 // MIB)
    assert min(sizes) > 35
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED, str(models["sd1"]), str(folder)],
        capture_output=True, text=True, check=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},  # what is let go of goes back to the system
    )  # fmt: skip
    taken = {name: int(most) for name, most in map(str.split, ran.stdout.splitlines())}
    assert taken["text"] < max(sizes) + 25, (taken, sizes)
    assert taken["none"] > sum(sizes), (taken, sizes)  # else the test could not fail
