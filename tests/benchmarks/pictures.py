"""Rows: one picture in a new process and in a running one, every task, loading."""

from measuring import OUT, Row
from workshop import DENOISER, PROMPT, TINY, Workshop, by_turns, command, library, plain

from artgen.registry import single_file_configs

QUIET = ("-o", f"{OUT}/", "--quiet")


def rows(workshop: Workshop) -> list[Row]:
    return [*_bundled(workshop), *_tiny(workshop), *_full_size(workshop)]


def _bundled(workshop: Workshop) -> list[Row]:
    picture, noisy = workshop.picture(128), workshop.noisy(512)
    common = ("--seed", 0, "--steps", 30, "-g", 3, "-m", "tiny", *QUIET)
    strength = ("--strength", 0.6)
    return [
        Row(
            "new", "One picture in a new process: bundled model, 30 steps, 128x128, fp32",
            (plain("plain diffusers", TINY), command("artgen", "txt2img", PROMPT, *common)),
        ),
        Row(
            "warm", "One picture in a running process: bundled model, 30 steps, 128x128, fp32",
            (by_turns(TINY, 12, dtype="fp32", steps=30, guidance_scale=3.0, width=128, height=128),),
            ("wall", "cpu"), rounds=1,
        ),
        Row(
            "img2img", "`img2img` in a new process: bundled model, 30 steps at strength 0.6, 128x128, fp32",
            (
                plain("plain diffusers", TINY, "--pipeline", "StableDiffusionImg2ImgPipeline", "--image", picture,
                      *strength),
                command("artgen", "img2img", picture, PROMPT, *common, *strength),
            ),
        ),
        Row(
            "denoise", "`denoise` in a new process: bundled denoiser, 1 step, 512x512, sigma 25, fp32",
            (
                plain("plain diffusers", DENOISER, noisy, 25, program="plain_denoise.py"),
                command("artgen", "denoise", noisy, "--sigma", 25, *QUIET),
            ),
        ),
    ]  # fmt: skip


def _tiny(workshop: Workshop) -> list[Row]:
    model = workshop.path("tiny")
    return [
        Row(
            "tiny", "One picture in a new process: a tiny model, 2 steps, 32x32, fp32 (what is not drawing)",
            (
                plain("plain diffusers", model, "--steps", 2, "--size", 32),
                command("artgen", "txt2img", PROMPT, "-m", model, "--seed", 0, "--steps", 2, "-g", 3, *QUIET),
            ),
            needs=("tiny",),
        )
    ]  # fmt: skip


def _full_size(workshop: Workshop) -> list[Row]:
    folder, file = workshop.path("sd15"), workshop.path("sd15.safetensors")
    picture, mask = workshop.picture(256), workshop.mask(256)
    drawn = {"prompt": PROMPT, "seed": 0, "steps": 4, "guidance_scale": 7.5, "width": 256, "height": 256}
    words = ("--steps", 4, "--guidance", 7.5, "--size", 256, "--tell")
    once = ("--steps", 1, "--guidance", 1, "--size", 64)
    ours = (PROMPT, "--seed", 0, "--steps", 1, "-g", 1, "--size", "64x64", "--dtype", "fp32", *QUIET)
    config = single_file_configs.build_config_folder("sd1")
    xl, large = workshop.path("sdxl"), {**drawn, "steps": 2, "guidance_scale": 5.0, "width": 512, "height": 512}
    twice = ("--pipeline", "StableDiffusionXLPipeline", "--steps", 2, "--guidance", 5, "--size", 512, "--tell")
    return [
        Row(
            "sd15", "One picture in a new process: Stable Diffusion 1.5, random weights, 4 steps, 256x256",
            (
                plain("plain diffusers, fp32", folder, *words),
                plain("plain diffusers, bf16", folder, *words, "--dtype", "bfloat16"),
                library("artgen, fp32", folder, dtype="fp32", **drawn),
                library("artgen, bf16", folder, dtype="bf16", **drawn),
                library("artgen, `--dtype auto`", folder, **drawn),
            ),
            ("step", "step_cpu", "wall", "cpu", "peak"), rounds=3, needs=("sd15",),
        ),
        Row(
            "sd15-whole", "One picture in a new process: Stable Diffusion 1.5, random weights, 10 steps, 512x512",
            (
                plain("plain diffusers, fp32", folder, "--steps", 10, "--guidance", 7.5, "--size", 512, "--tell"),
                library("artgen, `--dtype auto`", folder, **{**drawn, "steps": 10, "width": 512, "height": 512}),
            ),
            ("step", "step_cpu", "wall", "cpu", "peak"), rounds=2, needs=("sd15",),
        ),
        Row(
            "sdxl", "One picture in a new process: SDXL, random weights in fp16, 2 steps, 512x512",
            (
                plain("plain diffusers, fp32", xl, *twice),
                plain("plain diffusers, bf16", xl, *twice, "--dtype", "bfloat16"),
                library("artgen, `--dtype auto`", xl, **large),
                library("artgen, `--dtype auto --offload text`", xl, offload="text", **large),
            ),
            ("step", "step_cpu", "wall", "cpu", "peak"), rounds=1, needs=("sdxl",),
        ),
        Row(
            "inpaint", "`inpaint` in a new process: Stable Diffusion 1.5, random weights, 2 steps, 256x256, fp32",
            (
                plain("plain diffusers", folder, "--steps", 2, "--guidance", 7.5, "--strength", 1.0, "--size", 256,
                      "--pipeline", "StableDiffusionInpaintPipeline", "--image", picture, "--mask", mask),
                command("artgen", "inpaint", picture, PROMPT, "--mask", mask, "--seed", 0, "--steps", 2, "-g", 7.5,
                        "--no-keep-original", "--strength", 1.0, "--dtype", "fp32", "-m", folder, *QUIET),
            ),
            rounds=3, needs=("sd15",),
            note="Without putting the protected pixels back, which the plain script does not do either.",
        ),
        Row(
            "folder", "Loading from a folder: Stable Diffusion 1.5, fp32, a new process, 1 step at 64x64",
            (plain("plain diffusers", folder, *once), command("artgen", "txt2img", *ours, "-m", folder)),
            rounds=3, needs=("sd15",),
        ),
        Row(
            "file", "Loading from a single file: Stable Diffusion 1.5, fp32, a new process, 1 step at 64x64",
            (
                plain("plain diffusers", file, *once, "--config", config),
                command("artgen", "txt2img", *ours, "-m", file),
            ),
            rounds=3, needs=("sd15.safetensors",),
        ),
    ]  # fmt: skip
