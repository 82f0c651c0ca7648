"""Test that a command in a process that ran other commands before gives the result of a process that ran only it."""

import random
from collections.abc import Mapping
from pathlib import Path

import pytest
import sample_images
import single_files
import tiny_denoisers
import tiny_loras
import tiny_models
import torch
from command_sequence import Run, run_commands
from safetensors.torch import save_file

SETTINGS = "--steps 3 --seed 7 -g 4"


@pytest.fixture(scope="module")
def inputs(
    models: dict[str, Path], zoo: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return the paths of models, LoRAs, embeddings, VAEs, images and prompt files."""
    folder = tmp_path_factory.mktemp("inputs")
    sd1, sdxl = models["sd1"], models["sdxl"]
    generator = torch.Generator().manual_seed(1)
    for name, tensors in {
        "word": {"emb_params": torch.randn(2, 32, generator=generator)},
        "other-word": {"emb_params": torch.randn(1, 32, generator=generator)},
        "pair": {name: torch.randn(1, 32, generator=generator) for name in ("clip_l", "clip_g")},
    }.items():
        save_file(tensors, folder / f"{name}.safetensors")
    photo = sample_images.photo(folder / "photo.png", 64, 64)
    (folder / "prompts.txt").write_text("a fox --seed 1\na car --seed 2 --lora lora.safetensors\na house --steps 2\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        single_files.write_single_file("single", single_files.original_state(sd1), sd1)
    return {
        **{name: str(path) for name, path in models.items()},
        "refiner": str(zoo["sdxl-refiner"]),
        "pixel": str(zoo["ddpm"]),
        "flux": str(zoo["flux-dev"]),
        "denoiser": tiny_denoisers.save(folder / "denoiser"),
        "nan": str(tiny_models.without_numbers(folder / "nan", sd1)),
        "vae": str(tiny_models.vae(folder / "vae", seed=9)),
        "single": str(folder / "single.safetensors"),
        "lora": str(tiny_loras.diffusers_lora(folder / "lora.safetensors", sd1, seed=1)),
        "kohya": str(tiny_loras.kohya_lora(folder / "kohya.safetensors", sd1, seed=2, alphas=0.5)),
        "unet-lora": str(tiny_loras.diffusers_lora(folder / "unet.safetensors", sd1, parts={"unet": tiny_loras.UNET})),
        "sdxl-lora": str(tiny_loras.diffusers_lora(folder / "sdxl-lora.safetensors", sdxl, seed=3)),
        "word": str(folder / "word.safetensors"),
        "other-word": str(folder / "other-word.safetensors"),
        "pair": str(folder / "pair.safetensors"),
        "photo": str(photo),
        "mask": str(sample_images.mask(folder / "mask.png", 64, 64)),
        "prompts": str(folder / "prompts.txt"),
        "folder": str(folder),
    }


COMMANDS = """
    txt2img fox -m {sd1} SETTINGS
    txt2img fox -m {sd1} SETTINGS --verbose
    txt2img fox -m {sd1} SETTINGS --dtype bf16
    txt2img fox -m {sd1} SETTINGS --vae-tiling --size 64x128
    txt2img fox -m {sd1} SETTINGS --size 96x64 --count 3 --batch-size 2
    txt2img fox -m {sd1} SETTINGS --lora {lora}
    txt2img fox -m {sd1} SETTINGS --lora {lora}:0.5 --lora {kohya}:-0.3
    txt2img fox -m {sd1} SETTINGS --lora {kohya}:-0.3 --lora {lora}:0.5
    txt2img fox -m {sd1} SETTINGS --lora {lora}:0.5:1.5
    txt2img fox -m {sd1} SETTINGS --lora {unet-lora}:2
    txt2img <lora:kohya:0.7>fox -m {sd1} SETTINGS
    txt2img word -m {sd1} SETTINGS --embedding {word}
    txt2img other-word -m {sd1} SETTINGS --embedding {other-word} --embedding {word}:w2
    txt2img word -m {sd1} SETTINGS --embedding {word} --lora {lora}
    txt2img word -m {sd1} SETTINGS
    txt2img fox -m {sd1} SETTINGS --clip-skip 2
    txt2img (fox:1.4) -m {sd1} SETTINGS -n house
    txt2img [fox:car:0.5] -m {sd1} SETTINGS
    txt2img fox -m {sd1} SETTINGS --vae {vae}
    txt2img fox -m {sd1} SETTINGS --fast cache --steps 6
    txt2img fox -m {sd1} SETTINGS --pag-scale 2
    txt2img fox -m {sd1} SETTINGS --guide apg
    txt2img fox -m {sd1} SETTINGS --guidance-rescale 0.5
    txt2img fox -m {sd3} SETTINGS --guide zero-star
    txt2img fox -m {sd1} SETTINGS --scheduler dpm2-a
    txt2img fox -m {sd1} SETTINGS --scheduler dpm++2m --sigmas karras --frames frames.gif
    txt2img fox -m {sd1} SETTINGS --offload text
    txt2img fox -m {sd1} SETTINGS --offload text --lora {unet-lora}
    txt2img fox -m {sd1} SETTINGS --quantize fp8
    txt2img fox -m {sd1} SETTINGS --memory-budget 700MB
    txt2img fox -m {sd1} SETTINGS --acceleration full
    txt2img fox -m {sd1} SETTINGS --sweep guidance-scale=1,5 -o out/
    txt2img fox -m {single} SETTINGS
    txt2img fox -m {single} SETTINGS --vae-tiling --size 128x64
    txt2img fox -m {sdxl} SETTINGS
    txt2img fox -m {sdxl} SETTINGS --lora {sdxl-lora}
    txt2img pair -m {sdxl} SETTINGS --embedding {pair}
    txt2img fox -m {sdxl} SETTINGS --refiner {refiner}:0.6
    txt2img fox -m {sdxl} SETTINGS --refiner {sdxl}:0.6 --verbose
    txt2img fox -m {sd3} SETTINGS
    txt2img fox -m {sd3} SETTINGS --offload text
    txt2img fox -m {flux} SETTINGS
    txt2img fox -m {nan} SETTINGS
    txt2img fox -m {nan} SETTINGS --pag-scale 2
    txt2img fox -m {sd1} SETTINGS --lora {sdxl-lora}
    txt2img fox -m {sd1} --steps 0
    img2img {photo} fox -m {sd1} SETTINGS --strength 0.7
    img2img {photo} fox -m {refiner} SETTINGS --strength 0.7
    img2img {photo} fox -m {sd1} SETTINGS --lora {lora} --pag-scale 1
    inpaint {photo} fox -m {sd1} SETTINGS --mask {mask}
    inpaint {photo} fox -m {sd1-inpaint} SETTINGS --mask {mask}
    outpaint {photo} fox -m {sd1} SETTINGS --expand 16
    sample -m {pixel} --steps 3 --seed 7 --count 2
    sample -m {pixel} --steps 3 --seed 7 --scheduler ddim
    denoise {photo} --sigma 20 -m {denoiser}
    denoise {photo} --sigma 20 --method latent -m {sd1}
    denoise {photo} --sigma 20 --method latent -m {sd1} --lora {lora}
    denoise {photo} --method tv
    anomaly {photo} -m {denoiser} --json
    anomaly {photo} -m {sd1} --method latent --prompt fox --json
    reconstruct {photo} -m {sd1} --json
    reconstruct {photo} -m {single} --json
    batch {prompts} -m {sd1} SETTINGS -o out/
    batch {prompts} -m {sd1} SETTINGS -o out/ --batch-size auto
"""


FEW = (0, 2, 3, 5, 11, 14, 20, 25, 42, 46, 54, 57)
"""Indices of commands of different kinds, for the test that always runs."""


@pytest.fixture(autouse=True)
def _lora_folder(inputs: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", inputs["folder"])


def commands_of(inputs: dict[str, str]) -> list[list[str]]:
    """Return the arguments of each command."""
    lines = COMMANDS.replace("SETTINGS", SETTINGS).strip().splitlines()
    return [[word.format(**inputs) for word in line.split()] for line in lines]


def check(commands: list[list[str]], folder: Path, max_loaded: int, num_orders: int) -> list[list[Run]]:
    """Compare commands in random orders in one process with each command in a process of its own."""
    alone = [runs[0] for runs in run_commands(commands, folder / "alone", max_loaded=None)]
    orders = [random.Random(seed).sample(range(len(commands)), len(commands)) for seed in range(num_orders)]
    sequences = run_commands(commands, folder / "sequences", max_loaded=max_loaded, orders=orders)
    for order, runs in zip(orders, sequences, strict=True):
        for position, (index, run) in enumerate(zip(order, runs, strict=True)):
            before = [" ".join(commands[each]) for each in order[:position]]
            assert run.output == alone[index].output, "\n".join([*before[-3:], " ".join(commands[index])])
            assert len(run.loaded) <= max_loaded
    return sequences


def test_few_commands_in_one_process(inputs: dict[str, str], tmp_path: Path) -> None:
    commands = commands_of(inputs)
    check([commands[index] for index in FEW], tmp_path, 2, 1)


@pytest.mark.slow
def test_many_commands_in_one_process(inputs: dict[str, str], tmp_path: Path) -> None:
    sequences = check(commands_of(inputs)[::2], tmp_path, 2, 2)
    assert any(len(run.loaded) == 2 for runs in sequences for run in runs)


@pytest.mark.slow
def test_memory_does_not_grow(inputs: dict[str, str], tmp_path: Path) -> None:
    commands = [commands_of(inputs)[index] for index in (0, 2, 5, 11, 20, 33, 37, 42, 46, 52, 54, 56)]
    rounds = 5
    (runs,) = run_commands(commands, tmp_path / "runs", max_loaded=2, orders=[[*range(len(commands))] * rounds])
    peaks = [max(run.rss_bytes for run in runs[start : start + len(commands)]) for start in range(0, len(runs), 12)]
    assert peaks[-1] - peaks[1] < 32 << 20, peaks
