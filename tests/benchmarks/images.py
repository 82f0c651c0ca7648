"""Define the rows for single images: new and running processes, tasks, and loading."""

from harness import OUT, Row
from workspace import (
    DENOISER,
    PROMPT,
    TINY,
    Workspace,
    artgen_command,
    artgen_library,
    plain_diffusers,
    running_process,
)

from artgen.registry import single_file_configs

QUIET = ("-o", f"{OUT}/", "--quiet")


def rows(workspace: Workspace) -> list[Row]:
    return [*_bundled(workspace), *_tiny(workspace), *_full_size(workspace)]


def _bundled(workspace: Workspace) -> list[Row]:
    image, noisy = workspace.image(128), workspace.noisy_image(512)
    common = ("--seed", 0, "--steps", 30, "-g", 3, "-m", "tiny", *QUIET)
    strength = ("--strength", 0.6)
    return [
        Row(
            "new", "One image in a new process: bundled model, 30 steps, 128x128, fp32",
            (plain_diffusers("plain diffusers", TINY), artgen_command("artgen", "txt2img", PROMPT, *common)),
        ),
        Row(
            "running", "One image in a running process: bundled model, 30 steps, 128x128, fp32",
            (running_process(TINY, 12, dtype="fp32", steps=30, guidance_scale=3.0, width=128, height=128),),
            ("wall", "cpu"), rounds=1,
        ),
        Row(
            "img2img", "`img2img` in a new process: bundled model, 30 steps at strength 0.6, 128x128, fp32",
            (
                plain_diffusers(
                    "plain diffusers", TINY, "--pipeline", "StableDiffusionImg2ImgPipeline", "--image", image,
                      *strength),
                artgen_command("artgen", "img2img", image, PROMPT, *common, *strength),
            ),
        ),
        Row(
            "denoise", "`denoise` in a new process: bundled denoiser, 1 step, 512x512, sigma 25, fp32",
            (
                plain_diffusers("plain diffusers", DENOISER, noisy, 25, program="diffusers_denoise.py"),
                artgen_command("artgen", "denoise", noisy, "--sigma", 25, *QUIET),
            ),
        ),
    ]  # fmt: skip


def _tiny(workspace: Workspace) -> list[Row]:
    model = workspace.path("tiny")
    return [
        Row(
            "tiny", "One image in a new process: a tiny model, 2 steps, 32x32, fp32 (overhead)",
            (
                plain_diffusers("plain diffusers", model, "--steps", 2, "--size", 32),
                artgen_command("artgen", "txt2img", PROMPT, "-m", model, "--seed", 0, "--steps", 2, "-g", 3, *QUIET),
            ),
            needs=("tiny",),
        )
    ]  # fmt: skip


def _full_size(workspace: Workspace) -> list[Row]:
    return [*_full_size_images(workspace), *_inpaint_and_loading(workspace)]


def _full_size_images(workspace: Workspace) -> list[Row]:
    model, sdxl = workspace.path("sd15"), workspace.path("sdxl")
    settings = {"prompt": PROMPT, "seed": 0, "steps": 4, "guidance_scale": 7.5, "width": 256, "height": 256}
    args = ("--steps", 4, "--guidance", 7.5, "--size", 256, "--report")
    args_512 = ("--steps", 10, "--guidance", 7.5, "--size", 512, "--report")
    settings_512 = {**settings, "steps": 10, "width": 512, "height": 512}
    sdxl_settings = {**settings, "steps": 2, "guidance_scale": 5.0, "width": 512, "height": 512}
    sdxl_args = ("--pipeline", "StableDiffusionXLPipeline", "--steps", 2, "--guidance", 5, "--size", 512, "--report")
    columns = ("step", "step_cpu", "wall", "cpu", "peak")
    return [
        Row(
            "sd15", "One image in a new process: Stable Diffusion 1.5, random weights, 4 steps, 256x256",
            (
                plain_diffusers("plain diffusers, fp32", model, *args),
                plain_diffusers("plain diffusers, bf16", model, *args, "--dtype", "bfloat16"),
                artgen_library("artgen, fp32", model, dtype="fp32", **settings),
                artgen_library("artgen, bf16", model, dtype="bf16", **settings),
                artgen_library("artgen, `--dtype auto`", model, **settings),
            ),
            columns, rounds=3, needs=("sd15",),
        ),
        Row(
            "sd15-512", "One image in a new process: Stable Diffusion 1.5, random weights, 10 steps, 512x512",
            (
                plain_diffusers("plain diffusers, fp32", model, *args_512),
                artgen_library("artgen, `--dtype auto`", model, **settings_512),
            ),
            columns, rounds=2, needs=("sd15",),
        ),
        Row(
            "sdxl", "One image in a new process: SDXL, random weights in fp16, 2 steps, 512x512",
            (
                plain_diffusers("plain diffusers, fp32", sdxl, *sdxl_args),
                plain_diffusers("plain diffusers, bf16", sdxl, *sdxl_args, "--dtype", "bfloat16"),
                artgen_library("artgen, `--dtype auto`", sdxl, **sdxl_settings),
                artgen_library("artgen, `--dtype auto --offload text`", sdxl, offload="text", **sdxl_settings),
            ),
            columns, rounds=1, needs=("sdxl",),
        ),
    ]  # fmt: skip


def _inpaint_and_loading(workspace: Workspace) -> list[Row]:
    folder, file = workspace.path("sd15"), workspace.path("sd15.safetensors")
    image, mask = workspace.image(256), workspace.mask(256)
    inpaint_args = (
        "--steps", 2, "--guidance", 7.5, "--strength", 1.0, "--size", 256, "--pipeline",
        "StableDiffusionInpaintPipeline", "--image", image, "--mask", mask,
    )  # fmt: skip
    inpaint_command = (
        "inpaint", image, PROMPT, "--mask", mask, "--seed", 0, "--steps", 2, "-g", 7.5, "--no-keep-original",
        "--strength", 1.0, "--dtype", "fp32", "-m", folder, *QUIET,
    )  # fmt: skip
    args = ("--steps", 1, "--guidance", 1, "--size", 64)
    command = (
        "txt2img", PROMPT, "--seed", 0, "--steps", 1, "-g", 1, "--size", "64x64", "--dtype", "fp32", *QUIET,
    )  # fmt: skip
    config = single_file_configs.build_config_folder("sd1", single_file_configs.shipped_config("sd1"))
    return [
        Row(
            "inpaint", "`inpaint` in a new process: Stable Diffusion 1.5, random weights, 2 steps, 256x256, fp32",
            (plain_diffusers("plain diffusers", folder, *inpaint_args), artgen_command("artgen", *inpaint_command)),
            rounds=3, needs=("sd15",), note="Both do not restore the protected pixels.",
        ),
        Row(
            "folder", "Loading from a folder: Stable Diffusion 1.5, fp32, a new process, 1 step at 64x64",
            (plain_diffusers("plain diffusers", folder, *args), artgen_command("artgen", *command, "-m", folder)),
            rounds=3, needs=("sd15",),
        ),
        Row(
            "file", "Loading from a single file: Stable Diffusion 1.5, fp32, a new process, 1 step at 64x64",
            (
                plain_diffusers("plain diffusers", file, *args, "--config", config),
                artgen_command("artgen", *command, "-m", file),
            ),
            rounds=3, needs=("sd15.safetensors",),
        ),
    ]  # fmt: skip
