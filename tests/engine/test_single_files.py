"""Test the configurations for single checkpoint files with diffusers and transformers."""

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from accelerate import init_empty_weights
from diffusers import StableDiffusionPipeline
from original_layout import to_original_sd1
from safetensors.torch import save_file
from safetensors_files import zero_file
from transformers import CLIPTextConfig, CLIPTokenizer
from typer.testing import CliRunner

from artgen.cli.main import app
from artgen.engine.loading import loaded_models, pipeline_cache
from artgen.registry import single_file_configs

PARAMETERS = {
    "sd1": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "sd2": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "sdxl": {"unet": 2_567_463_684, "text_encoder": 123_060_480, "text_encoder_2": 694_659_840},
    "sdxl-refiner": {"unet": 2_259_526_660, "text_encoder_2": 694_659_840},
    "sd3-medium": {"transformer": 2_028_328_000, "vae": 83_819_683},
    "sd35-medium": {"transformer": 2_243_171_520},
    "sd35-large": {"transformer": 8_056_627_520},
}


def build_shipped_folder(name: str) -> Path:
    return single_file_configs.build_config_folder(name, single_file_configs.shipped_config(name))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("sd1", "sdxl", "sd3-medium") else [pytest.mark.slow])
        for name in sorted(PARAMETERS)
    ],
)
def test_configurations_have_the_published_sizes(name: str) -> None:
    """Build each component on the meta device and count its parameters."""
    folder = build_shipped_folder(name)
    for component, parameters in PARAMETERS[name].items():
        config = json.loads((folder / component / "config.json").read_text())
        if "pos_embed_max_size" in config:  # a buffer that is slow to compute and is not counted
            config["pos_embed_max_size"] = 64
        with init_empty_weights():
            if component.startswith("text"):
                cls = getattr(transformers, config["architectures"][0])
                module = cls(CLIPTextConfig(**config))
            else:
                module = getattr(diffusers, config["_class_name"]).from_config(config)
        assert sum(p.numel() for p in module.parameters()) == parameters, component


def test_tokenizer_equals_clip() -> None:
    """Compare with the token ids of OpenAI's CLIP."""
    packed = (single_file_configs.CONFIGS_FOLDER / "clip-merges.txt.gz").read_bytes()
    provenance = json.loads((single_file_configs.CONFIGS_FOLDER / "PROVENANCE.json").read_text())["clip-merges.txt.gz"]
    assert hashlib.sha256(packed).hexdigest() == provenance["sha256"]
    folder = build_shipped_folder("sdxl")
    tokenizer = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer", local_files_only=True)
    assert len(tokenizer) == 49_408
    expected = [49406, 320, 1125, 539, 550, 18376, 6765, 320, 4558, 49407]
    assert tokenizer("a photo of an astronaut riding a horse").input_ids == expected
    assert (tokenizer.model_max_length, tokenizer.pad_token_id) == (77, 49407)
    second = CLIPTokenizer.from_pretrained(folder, subfolder="tokenizer_2", local_files_only=True)
    assert second.pad_token_id == 0


def test_schedulers_of_all_configurations_can_be_created() -> None:
    for path in single_file_configs.CONFIGS_FOLDER.glob("s*.json"):
        config = json.loads(path.read_text())["scheduler/scheduler_config.json"]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            getattr(diffusers, config["_class_name"]).from_config(config)


def test_converted_single_file_has_equal_tensors(models: dict[str, Path], tmp_path: Path) -> None:
    """Rename the tensors of a tiny model to the original layout and load the file with `from_single_file`."""
    pipe = StableDiffusionPipeline.from_pretrained(models["sd1"], local_files_only=True)
    states = {name: getattr(pipe, name).state_dict() for name in ("unet", "vae", "text_encoder")}
    file = tmp_path / "tiny.safetensors"
    save_file(to_original_sd1(**states), file)
    loaded = StableDiffusionPipeline.from_single_file(str(file), config=str(models["sd1"]), local_files_only=True)
    for name, expected in states.items():
        state = getattr(loaded, name).state_dict()
        assert state.keys() == expected.keys()
        for key, tensor in expected.items():
            assert torch.equal(state[key], tensor), f"{name}.{key}"


def test_diffusers_loads_a_single_file_with_the_shipped_configuration(models: dict[str, Path], tmp_path: Path) -> None:
    """Load with artgen's folder for SD 1, with the configurations of three tiny networks."""
    tiny = StableDiffusionPipeline.from_pretrained(models["sd1"], local_files_only=True)
    file = tmp_path / "tiny.safetensors"
    save_file(to_original_sd1(*(getattr(tiny, n).state_dict() for n in ("unet", "vae", "text_encoder"))), file)
    folder = Path(shutil.copytree(build_shipped_folder("sd1"), tmp_path / "config"))
    for component in ("unet", "vae", "text_encoder"):
        shutil.copy(models["sd1"] / component / "config.json", folder / component / "config.json")
    pipe = StableDiffusionPipeline.from_single_file(str(file), config=str(folder), local_files_only=True)
    assert type(pipe.scheduler).__name__ == "PNDMScheduler"
    assert pipe.scheduler.config.beta_schedule == "scaled_linear"
    assert pipe.tokenizer("a photo").input_ids == [49406, 320, 1125, 49407]
    assert pipe.safety_checker is None


Tensors = dict[str, tuple[int, ...]]


@pytest.fixture(scope="module")
def sd1_tensors() -> Tensors:
    """Return the names and shapes of the tensors of a complete Stable Diffusion 1 checkpoint."""
    configs = json.loads((single_file_configs.CONFIGS_FOLDER / "sd1.json").read_text())
    with torch.device("meta"):
        states = [
            module.state_dict()
            for module in (
                diffusers.UNet2DConditionModel.from_config(configs["unet/config.json"]),
                diffusers.AutoencoderKL.from_config(configs["vae/config.json"]),
                transformers.CLIPTextModel(CLIPTextConfig(**configs["text_encoder/config.json"])),
            )
        ]
    return {name: tuple(tensor.shape) for name, tensor in to_original_sd1(*states).items()}


def _without(pattern: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: shape for name, shape in tensors.items() if not re.search(pattern, name)}


def _reshaped(pattern: str, change: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {
        name: change(shape) if re.search(pattern, name) else shape for name, shape in tensors.items()
    }


SINGLE_FILE_FAULTS = [
    (_without(r"diffusion_model\.out\.2\.bias"), "the unet of 'broken.safetensors': it lacks 1 of its tensors, first "),
    (_reshaped(r"encoder\.layers\.0\.self_attn\.q_proj\.weight", lambda s: (s[0], 1)), "has the shape 768x1, and"),
    (_without(r"first_stage_model\.decoder\.up\.1"), "the vae of 'broken.safetensors': it lacks"),
    (_without(r"diffusion_model\.middle_block"), "the unet of 'broken.safetensors'"),
    (_without(r"diffusion_model\.output_blocks\.4\.1\."), "unet of 'broken.safetensors': it lacks 26 of its tensors"),
    (_without(r"input_blocks\.11\.0\.in_layers\.2\.bias"), "lacks 1 of its tensors, first down_blocks.3.resnets.1"),
    (_without(r"first_stage_model\.quant_conv\.weight"), "vae of 'broken.safetensors': it lacks 1 of its tensors"),
    (_without(r"text_model\.encoder\.layers\.7\.mlp"), "text_encoder of 'broken.safetensors': it lacks 4 of its"),
    (_reshaped(r"output_blocks\.3\.0\.in_layers\.2\.bias", lambda s: (s[0] + 1,)), "has the shape 1281"),
    (_reshaped(r"first_stage_model\.encoder\.conv_in", lambda s: (*s, 1)), "the vae of 'broken.safetensors': enc"),
    (_reshaped(r"diffusion_model\.time_embed", lambda s: ()), "the shape a scalar, and its architecture implies"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("break_file", "message"),
    [
        pytest.param(*fault, marks=() if index < 3 else pytest.mark.slow)
        for index, fault in enumerate(SINGLE_FILE_FAULTS)
    ],
)
def test_a_dry_run_refuses_a_broken_single_file_as_a_real_run_does(
    sd1_tensors: Tensors, break_file: Callable[[Tensors], Tensors], message: str
) -> None:
    zero_file(Path("broken.safetensors"), break_file(sd1_tensors))
    arguments = ["txt2img", "x", "-m", "broken.safetensors", "--steps", "1", "--seed", "1"]
    dry, real = CliRunner().invoke(app, [*arguments, "--dry-run"]), CliRunner().invoke(app, arguments)
    assert (dry.exit_code, dry.stderr.splitlines()[-2:]) == (real.exit_code, real.stderr.splitlines()[-2:])
    assert dry.exit_code == 4
    assert message in dry.stderr
    assert not list(Path().glob("*.png"))


def test_a_dry_run_accepts_a_complete_single_file(sd1_tensors: Tensors) -> None:
    zero_file(Path("complete.safetensors"), {**sd1_tensors, "model_ema.decay": (), "other": (3, 4)})
    loader = diffusers.loaders.single_file_model.load_model_dict_into_meta
    pipeline_cache.clear_cache()
    result = CliRunner().invoke(app, ["txt2img", "x", "-m", "complete.safetensors", "--dry-run"])
    assert (result.exit_code, result.exception) == (0, None), result.stderr
    assert diffusers.loaders.single_file_model.load_model_dict_into_meta is loader
    assert not loaded_models.active_values()
