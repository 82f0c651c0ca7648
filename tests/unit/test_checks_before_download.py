"""Test that a model that cannot be used is refused after its index and its configurations, before its weights."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hub_server
import pytest
from command_line import run, save_inputs
from gguf_files import gguf_bytes
from hub_models import FLOW_SCHEDULER, folder_files, layout_files, pipeline_files, weight_downloads
from PIL import Image
from safetensors_files import SD1_SHAPES, filled_bytes, zero_file

from artgen import registry
from artgen.errors import ArtgenError
from artgen.events import Event, Notice
from artgen.registry.hub import cache, client

REPO = "owner/tiny"
LORA_KEY = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
XL_LORA = {f"{LORA_KEY}.lora_down.weight": (4, 2048), f"{LORA_KEY}.lora_up.weight": (320, 4), f"{LORA_KEY}.alpha": ()}
Files = dict[str, bytes]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def save_all_inputs() -> None:
    """Write the input files of all commands. Does not import torch."""
    save_inputs()
    Path("photos").mkdir()
    for number in range(2):
        Image.effect_noise((64, 64), 50 + number).convert("RGB").save(f"photos/{number}.png")
    Path("prompts.txt").write_text("a fox\na car\n")


def with_config(files: Files, path: str, **changes: Any) -> Files:
    config = {**json.loads(files[path]), **changes}
    return {**files, path: json.dumps({key: value for key, value in config.items() if value != "delete"}).encode()}


def without(files: Files, *endings: str) -> Files:
    return {name: data for name, data in files.items() if not name.endswith(endings)}


def renamed(files: Files, old: str, new: str) -> Files:
    return {name.replace(old, new): data for name, data in files.items()}


PIXART = pipeline_files("PixArtAlphaPipeline")
MODELS: dict[str, tuple[Files, int, str]] = {
    "controlnet": (pipeline_files("StableDiffusionControlNetPipeline"), 4, "needs a control image"),
    "video": (pipeline_files("WanPipeline"), 4, "generates videos"),
    "upscaler": (pipeline_files("StableDiffusionUpscalePipeline"), 4, "upscales images"),
    "unknown-pipeline": (pipeline_files("NoSuchPipeline"), 4, "table of image pipelines"),
    "pipeline-with-code": (pipeline_files(["pipeline", "Mine"]), 5, "its own code"),
    "component-with-code": (
        with_config(PIXART, "model_index.json", transformer=["my_module", "Mine"]), 5, "its own code"
    ),
    "config-with-code": (with_config(PIXART, "transformer/config.json", auto_map={"AutoModel": "x.Y"}), 5, "own code"),
    "quantized": (
        with_config(PIXART, "transformer/config.json", quantization_config={"quant_method": "bitsandbytes"}),
        4,
        "bitsandbytes",
    ),
    "no-scheduler": (pipeline_files("PixArtAlphaPipeline", scheduler=None), 4, "no scheduler"),
    "pickles": (renamed(PIXART, ".safetensors", ".bin"), 5, "pickle"),
    "no-weights": (without(PIXART, ".safetensors"), 4, "no weights"),
    "other-variant": (renamed(PIXART, "_model.safetensors", "_model.fp8.safetensors"), 4, "fp8"),
    "missing-shard": (
        {
            **without(PIXART, "transformer/diffusion_pytorch_model.safetensors"),
            "transformer/diffusion_pytorch_model-00001-of-00003.safetensors": filled_bytes({"a": (9999,)}),
        },
        4,
        "1 of 3 shards",
    ),
    "invalid-config": (with_config(PIXART, "transformer/config.json", in_channels="x"), 4, "in_channels"),
    "lora": ({"pytorch_lora_weights.safetensors": filled_bytes({"a": (9999,)}), "README.md": b"x"}, 4, "LoRA"),
    "peft-lora": (
        {"adapter_model.safetensors": filled_bytes({"a": (9999,)}), "adapter_config.json": b"{}"}, 4, "LoRA"
    ),
    "single-file": ({"model.fp16.safetensors": filled_bytes({"a": (9999,)})}, 4, "owner/tiny/model.fp16.safetensors"),
    "component-only": (
        {"config.json": b'{"_class_name": "AutoencoderKL"}',
         "diffusion_pytorch_model.safetensors": filled_bytes({"a": (9999,)})},
        4,
        "AutoencoderKL",
    ),
    "pickle-file": ({"v1-5.ckpt": b"x" * 9999}, 5, "pickle"),
    "gguf-file": ({"flux-Q4_0.gguf": b"x" * 9999}, 4, "owner/tiny/flux-Q4_0.gguf"),
    "transformers-model": ({"config.json": b'{"model_type": "llama"}', "model.safetensors": b"x" * 999}, 4, "llama"),
}  # fmt: skip
"""Repositories that no command can use: files, exit code, part of the message."""

COMMANDS = (
    ("txt2img", "a fox", "-o", "out.png"),
    ("txt2img", "a fox", "--dry-run"),
    ("img2img", "in.png", "a fox", "-o", "out.png"),
    ("models", "pull"),
    ("models", "show"),
    ("batch", "prompts.txt", "-o", "out"),
    ("batch", "prompts.txt", "-o", "out", "--dry-run"),
    ("denoise", "in.png", "--method", "latent", "-o", "out.png"),
    ("anomaly", "in.png", "--method", "latent"),
    ("train", "photos", "-o", "out.safetensors"),
    ("train", "photos", "-o", "out.safetensors", "--dry-run"),
    ("noise", "in.png", "--space", "latent", "-o", "out.png"),
    ("rank", "in.png", "--prompt", "x"),
    ("reconstruct", "in.png", "-o", "out.png"),
)


def command_with_model(command: tuple[str, ...]) -> list[str]:
    return [*command, REPO] if command[0] == "models" else [*command, "-m", REPO]


def check_refusal(hub: hub_server.Hub, arguments: list[str], code: int, text: str) -> None:
    """Check the exit code, the sentence, and that no weights were requested."""
    result = run(*arguments, code=code)
    assert text in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert weight_downloads(hub) == []
    assert sum(len(hub.files[name]) for name in hub.downloads() if name in hub.files) < 20_000


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("command", [COMMANDS[0], COMMANDS[1], COMMANDS[3], COMMANDS[4]], ids=" ".join)
def test_unusable_models_are_refused_before_the_download(
    hub: hub_server.Hub, name: str, command: tuple[str, ...]
) -> None:
    save_inputs()
    hub.files, code, text = MODELS[name]
    check_refusal(hub, command_with_model(command), code, text)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("name", ["video", "no-scheduler", "config-with-code", "lora"])
def test_all_commands_check_before_the_download(hub: hub_server.Hub, name: str, command: tuple[str, ...]) -> None:
    save_all_inputs()
    hub.files, code, text = MODELS[name]
    check_refusal(hub, command_with_model(command), code, text)


FLUX_FILL = pipeline_files("FluxFillPipeline", scheduler=FLOW_SCHEDULER)
REQUESTS: dict[str, tuple[Files | str, list[str], int, str]] = {
    "task": (pipeline_files("PixArtAlphaPipeline"), ["img2img", "in.png", "a fox"], 4, "img2img"),
    "inpaint-task": (pipeline_files("LuminaPipeline"), ["inpaint", "in.png", "a fox", "-M", "mask.png"], 4, "inpaint"),
    "fill": (FLUX_FILL, ["txt2img", "a fox"], 4, "txt2img"),
    "inpainting-model": ("sd1-inpaint", ["txt2img", "a fox"], 4, "inpainting"),
    "lora-architecture": ("sd1", ["txt2img", "a fox", "--lora", "xl.safetensors"], 4, "LoRA"),
    "lora-of-pixart": (pipeline_files("PixArtAlphaPipeline"), ["txt2img", "x", "--lora", "xl.safetensors"], 4, "LoRA"),
    "size": ("sd1", ["txt2img", "a fox", "--size", "65x64"], 2, "multiples of 8"),
    "flow-scheduler": ("sd1", ["txt2img", "a fox", "--scheduler", "flow-euler"], 2, "scheduler"),
    "strength": ("sd1", ["img2img", "in.png", "a fox", "--strength", "0.01", "--steps", "5"], 2, "runs no step"),
    "fast": ("sd3", ["txt2img", "a fox", "--fast", "lcm"], None, "lcm"),  # type: ignore[dict-item]
    "denoise-method": ("sd3", ["denoise", "in.png", "--method", "latent"], 4, "latent"),
    "denoise-pixel": ("sd1", ["denoise", "in.png"], 4, "pixel"),
    "anomaly-method": ("sd3", ["anomaly", "in.png", "--method", "latent"], 4, "latent"),
    "train": ("sd3", ["train", "photos", "-o", "x.safetensors"], 4, "train"),
    "train-inpaint": ("sd1-inpaint", ["train", "photos", "-o", "x.safetensors"], 4, "inpainting"),
    "batch-line": ("sd1", ["batch", "lines.txt", "-o", "out"], 2, "lines.txt:2"),
    "batch-task": ("sd1-inpaint", ["batch", "prompts.txt", "-o", "out"], 4, "inpainting"),
}
"""Requests that a model does not support: model, command, exit code, part of the message."""


@pytest.mark.parametrize("name", REQUESTS)
def test_unsupported_requests_are_refused_before_the_download(hub: hub_server.Hub, name: str, tmp_path: Path) -> None:
    save_all_inputs()
    Path("lines.txt").write_text("a fox --size 64x64\na car --size 65x65\n")
    zero_file(Path("xl.safetensors"), XL_LORA)
    files, command, code, text = REQUESTS[name]
    hub.files = layout_files(files, tmp_path) if isinstance(files, str) else files
    result = run(*command, "-m", REPO, code=code)
    assert result.exit_code, result.stderr
    assert text in result.stderr, result.stderr
    assert weight_downloads(hub) == []


@pytest.mark.parametrize("code", [401, 403])
def test_a_gated_model_is_refused_with_the_page_of_its_license(hub: hub_server.Hub, code: int) -> None:
    hub.files, hub.gated = PIXART, code
    result = run("txt2img", "a fox", "-m", REPO, code=4)
    assert f"{hub.url}/{REPO}" in result.stderr or "/owner/tiny" in result.stderr
    assert "hf auth login" in result.stderr


def test_pull_and_the_first_use_print_the_total_size(hub: hub_server.Hub, tmp_path: Path) -> None:
    hub.files = layout_files("sd1", tmp_path)
    events: list[Event] = []
    total = sum(map(len, hub.files.values()))
    registry.resolve_model(REPO, listener=events.append)
    notes = [event.text for event in events if isinstance(event, Notice)]
    assert f"Downloading 'owner/tiny': {total / 1000:.1f} kB in {len(hub.files)} files." in notes
    cache.remove_model(REPO)
    assert f"{total / 1000:.1f} kB in {len(hub.files)} files" in run("models", "pull", REPO).stderr
    assert "Downloading" not in run("models", "pull", REPO).stderr, "all files are in the cache"


def test_a_dry_run_downloads_no_weights_and_prints_the_size(hub: hub_server.Hub, tmp_path: Path) -> None:
    hub.files = layout_files("sd1", tmp_path)
    save_all_inputs()
    events: list[Event] = []
    model = registry.resolve_model(REPO, download=False, listener=events.append)
    assert model.remote is not None
    assert model.remote.download_bytes == sum(map(len, hub.files.values()))
    assert weight_downloads(hub) == []
    complete = registry.resolve_model(REPO)
    assert complete.remote is None
    assert complete.provenance() == model.provenance(), "the hash is known before the download"
    assert complete.weight_bytes() == model.weight_bytes()


def test_a_refused_model_can_be_used_for_another_task(hub: hub_server.Hub, tmp_path: Path) -> None:
    hub.files = layout_files("sd1-inpaint", tmp_path)
    run("txt2img", "a fox", "-m", REPO, code=4)
    assert not (cache.repository_folder(REPO) / "refs").exists(), "no ref points to an incomplete snapshot"
    assert REPO not in run("models", "list").stdout
    model = registry.resolve_model(REPO)
    assert registry.resolve_model(REPO, offline=True) == model


def test_the_configurations_of_a_newer_commit_do_not_break_the_complete_model(
    hub: hub_server.Hub, tmp_path: Path
) -> None:
    hub.files = layout_files("sd1", tmp_path)
    model = registry.resolve_model(REPO)
    hub.commit, hub.files = "f" * 40, pipeline_files("NoSuchPipeline")
    run("models", "pull", REPO, code=4)
    assert registry.resolve_model(REPO, offline=True) == model


def test_the_cached_index_is_used_offline(hub: hub_server.Hub, tmp_path: Path) -> None:
    hub.files = MODELS["video"][0]
    run("txt2img", "a fox", "-m", REPO, code=4)
    requests = len(hub.requests)
    for command in (
        ["txt2img", "a fox", "--offline", "-m", REPO],
        ["txt2img", "x", "--offline", "--dry-run", "-m", REPO],
    ):
        assert "generates videos" in run(*command, code=4).stderr
    assert len(hub.requests) == requests
    hub.commit, hub.files = "f" * 40, layout_files("sd1", tmp_path)
    registry.resolve_model(REPO, download=False)
    result = run("txt2img", "a fox", "--offline", "-m", REPO, code=4)
    assert "network is disabled" in result.stderr


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{"), lambda path: path.write_bytes(b"")]
)
def test_damaged_configurations_of_a_refused_model_are_repaired(
    hub: hub_server.Hub, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    hub.files = layout_files("sd1", tmp_path)
    preview = registry.resolve_model(REPO, download=False)
    damage((preview.path / "unet/config.json").resolve())
    assert registry.resolve_model(REPO).remote is None
    assert folder_files(preview.path).keys() == hub.files.keys()


def test_an_interrupted_download_of_configurations_is_repeated(hub: hub_server.Hub, tmp_path: Path) -> None:
    hub.files = layout_files("sd1", tmp_path)
    hub.cut_after["unet/config.json"], hub.cut_always = 10, True
    with pytest.raises(ArtgenError):
        registry.resolve_model(REPO)
    assert weight_downloads(hub) == []
    hub.cut_after, hub.cut_always = {}, False
    assert registry.resolve_model(REPO).remote is None


FILE = "deep/v1-5 fp16.safetensors"


@pytest.mark.parametrize(
    ("shapes", "command", "code", "text"),
    [
        ({"a": (9999,)}, ["txt2img", "a fox"], 4, "v1-5"),
        ({"a": (9999,)}, ["models", "pull"], 4, "v1-5"),
        (XL_LORA, ["txt2img", "a fox"], 4, "LoRA"),
        (SD1_SHAPES, ["txt2img", "a fox", "--size", "65x64"], 2, "multiples of 8"),
        (SD1_SHAPES, ["txt2img", "a fox", "--lora", "xl.safetensors"], 4, "LoRA"),
        (SD1_SHAPES, ["denoise", "in.png"], 4, "pixel"),
    ],
)
def test_a_checkpoint_on_the_hub_is_checked_with_its_header(
    hub: hub_server.Hub, shapes: dict[str, tuple[int, ...]], command: list[str], code: int, text: str
) -> None:
    save_inputs()
    zero_file(Path("xl.safetensors"), XL_LORA)
    hub.files = {FILE: filled_bytes(shapes), "README.md": b"x"}
    name = f"{REPO}/{FILE}"
    result = run(*command, *([name] if command[0] == "models" else ["-m", name]), code=code)
    assert text in result.stderr, result.stderr
    assert not list(cache.cache_folder().rglob("blobs/*")), "only the header was downloaded"


@pytest.mark.parametrize("options", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({f"blk.{index}.attn_q.weight": ("F16", (64, 64)) for index in range(4000)}, "a language model"),
        (
            {"double_blocks.0.img_attn.norm.key_norm.scale": ("Q8_K", (256,)), "img_in.weight": ("F16", (3072, 64))},
            "Q8_K",
        ),
        ({"a": ("F16", (320, 4))}, "not an image model"),
    ],
)
def test_a_gguf_file_on_the_hub_is_checked_with_its_header(
    hub: hub_server.Hub, tensors: dict[str, tuple[str, tuple[int, ...]]], text: str, options: tuple[str, ...]
) -> None:
    hub.files = {"model-Q8.gguf": gguf_bytes(tensors)}
    result = run("txt2img", "a fox", "-m", f"{REPO}/model-Q8.gguf", *options, code=4)
    assert text in result.stderr
    assert not list(cache.cache_folder().rglob("blobs/*")), "only the header was downloaded"


def test_a_checkpoint_on_the_hub_has_a_name(hub: hub_server.Hub) -> None:
    hub.files = {FILE: filled_bytes(SD1_SHAPES)}
    name = f"{REPO}/{FILE}"
    preview = registry.resolve_model(name, download=False)
    assert preview.remote is not None
    assert preview.remote.download_bytes == len(hub.files[FILE])
    events: list[Event] = []
    model = registry.resolve_model(name, listener=events.append)
    assert any("Downloading 'owner/tiny'" in event.text for event in events if isinstance(event, Notice))
    assert model.path.read_bytes() == hub.files[FILE]
    assert (model.name, model.source, model.revision) == (name, REPO, hub.commit)
    assert model.provenance() == preview.provenance()
    assert registry.resolve_model(f"{name}@{hub.commit}", offline=True).path == model.path
    recorded = registry.recorded_model_name(name, REPO, hub.commit)
    assert recorded == f"{name}@{hub.commit}"
    assert registry.recorded_model_name(name, "other/repo", hub.commit) is None
    assert registry.recorded_model_name(name, "local", None) is None


@pytest.mark.parametrize("name", ["owner/tiny/../x.safetensors", "owner/tiny//x.safetensors", "owner/x.safetensors"])
def test_names_of_files_outside_a_repository_are_rejected(hub: hub_server.Hub, name: str) -> None:
    with pytest.raises(ArtgenError):
        registry.resolve_model(name)
    assert not hub.requests
