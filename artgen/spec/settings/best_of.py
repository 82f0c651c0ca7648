"""Declare the settings of the selection of the best of several images."""

from dataclasses import dataclass

from artgen.spec.fields import option

IMAGE_SCORES = ("model", "clip")
MAX_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Store the kind of the scores of images, and the CLIP model."""

    score: str | None = option(
        None,
        "Score of an image for its prompt. model: how much lower the denoising error of the model is with the prompt "
        "than without it. clip: similarity of a CLIP model. [model]",
        brief="Score of an image for its prompt: model or clip.",
        choices=IMAGE_SCORES,
        in_config=False,
    )
    score_model: str | None = option(
        None,
        "CLIP model of --score clip: clip, clip-large, a hub id, or a folder. [clip]",
        brief="CLIP model of --score clip.",
        metavar="ID|FOLDER",
        values="folders",
        is_path=True,
        in_config=False,
    )


@dataclass(frozen=True, kw_only=True)
class RankSettings(ScoreSettings):
    """Store the text with which images are compared."""

    prompt: str | None = option(
        None,
        "Text with which the images are compared. [the recorded prompt of each image]",
        flags=("-p", "--prompt"),
        per_call=True,
        in_config=False,
        in_prompt_file=False,
        affects=(),
    )


@dataclass(frozen=True, kw_only=True)
class RankRunSettings:
    """Store the selection of images and the processes of `artgen rank`."""

    shard: str | None = option(
        None,
        "Score only part i of n, for n machines that share a folder. The first part is 0. With --csv, the part that is "
        "finished last writes the table of all images.",
        brief="Score only part i of n.",
        metavar="i/n",
        sweepable=False,
        in_prompt_file=False,
        affects=(),
        per_call=True,
    )
    workers: int = option(
        1,
        "Worker processes on this machine: one for each GPU or group of CPU cores.",
        brief="Worker processes on this machine.",
        minimum=1,
        maximum=256,
        sweepable=False,
        in_prompt_file=False,
        affects=(),
        in_config=False,
    )
    ray: str | None = option(
        None,
        "Run on a Ray cluster: an address, `auto` (the running cluster) or `local` (start a cluster on this machine).",
        metavar="ADDRESS",
        sweepable=False,
        in_prompt_file=False,
        affects=(),
        in_config=False,
    )


@dataclass(frozen=True, kw_only=True)
class BestOfSettings(ScoreSettings):
    """Store the number of images that are generated for each result."""

    best_of: int | None = option(
        None,
        "Generate this number of images, each with the next seed, and keep the one with the highest score. The record "
        "contains the seeds and the scores of all images. [1]",
        brief="Generate several images and keep the one with the highest score.",
        metavar="N",
        minimum=1,
        maximum=MAX_CANDIDATES,
        neutral_values=(1,),
    )
