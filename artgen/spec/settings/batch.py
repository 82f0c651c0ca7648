"""Declare the settings of runs that generate several images."""

from dataclasses import dataclass
from functools import partial

from artgen.spec.fields import option as any_option

TASK_NAMES = ("txt2img", "img2img", "inpaint", "outpaint", "edit", "denoise", "sample", "upscale")

MAX_BATCH_SIZE = 256
"""Most images in one forward pass."""

option = partial(any_option, sweepable=False, in_prompt_file=False, affects=())


@dataclass(frozen=True, kw_only=True)
class SeriesSettings:
    """Store the number of images and their seeds. Each image becomes one request with one seed.

    Seeds that differ by a multiple of 2**32 generate the same image: torch's CPU generator, which generates all noise,
    uses the low 32 bits.
    """

    seed: str | None = any_option(
        None,
        "Random seed: `7`, a list `1,2,5-8`, or -1 for a random seed. [random]",
        brief="Random seed: 7, or a list such as 1,2,5-8.",
        flags=("-s", "--seed"),
        metavar="SEED",
        per_call=True,
        per_image=True,
    )
    count: int = option(
        1,
        "Number of images. The seed increases by 1 from image to image.",
        flags=("-c", "--count"),
        aliases=("--num-images", "--batch-count", "--n-iter"),
        minimum=1,
        maximum=100_000,
        in_prompt_file=True,
    )
    batch_size: str | None = option(
        None,
        "Images per forward pass. auto: measure several sizes and use the fastest. [depends on model, size and device]",
        brief="Images per forward pass.",
        metavar="N|auto",
    )


@dataclass(frozen=True, kw_only=True)
class CombinationSettings:
    """Store whether a prompt becomes one image or one image for each combination of its wildcards and variants."""

    combinatorial: bool = option(
        False,
        "Generate an image for each combination of the wildcards and variants in the prompts, instead of one choice.",
        flags=("--combinatorial",),
        in_prompt_file=True,
        per_call=True,
    )


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Store the selection of jobs and the processes of a batch run."""

    limit: int | None = option(
        None, "Maximum number of images to generate in this run.", minimum=1, maximum=10_000_000, per_call=True
    )
    shuffle: bool = option(
        False, "Generate in random order. The images do not change.", flags=("--shuffle",), per_call=True
    )
    shard: str | None = option(
        None,
        "Generate only part i of n, for n machines that share a batch. The first part is 0.",
        metavar="i/n",
        per_call=True,
    )
    keep_going: bool = option(
        False,
        "Skip invalid lines and input images, and generate the others. The exit code is then 7.",
        brief="Skip invalid lines and input images.",
        flags=("--keep-going",),
        per_call=True,
    )
    retry_failed: bool = option(False, "Retry the jobs that failed before.", flags=("--retry-failed",), per_call=True)
    workers: int = option(
        1,
        "Worker processes on this machine: one for each GPU or group of CPU cores.",
        brief="Worker processes on this machine.",
        minimum=1,
        maximum=256,
        in_config=False,
    )
    ray: str | None = option(
        None,
        "Run on a Ray cluster: an address, `auto` (the running cluster) or `local` (start a cluster on this machine).",
        metavar="ADDRESS",
        in_config=False,
    )


@dataclass(frozen=True, kw_only=True)
class SweepSettings(RunSettings):
    """Store the settings whose values a sweep combines, and the settings of folder runs."""

    sweep: tuple[str, ...] = option(
        (),
        "Generate an image for each value: steps=10,20,30 or guidance=3:9:2. Repeat the option to combine settings. "
        "The command also writes labeled contact sheets.",
        brief="Generate an image for each value: steps=10,20,30.",
        metavar="NAME=VALUES",
        per_call=True,
        values="assignments",
    )


@dataclass(frozen=True, kw_only=True)
class BatchRunSettings(RunSettings):
    """Store the settings of `artgen batch`."""

    task: str | None = option(
        None,
        f"Task of lines that do not set a task: {', '.join(TASK_NAMES)}. [txt2img]",
        brief=f"Task: {', '.join(TASK_NAMES)}.",
        metavar="TASK",
        choices=TASK_NAMES,
        per_call=True,
    )
    ignore_columns: str | None = option(
        None,
        "Columns of .csv and .tsv files, and keys of JSON and YAML jobs, to ignore: names with commas, or all for all "
        "unknown columns.",
        metavar="NAMES|all",
        per_call=True,
    )
