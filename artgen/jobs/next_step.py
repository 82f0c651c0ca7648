"""Name the next step of a user who has only the bundled demonstration model: a larger model that fits the machine."""

import os

from artgen import registry
from artgen.errors import ArtgenError
from artgen.jobs.recommend import Machine, Recommendation, recommend, this_machine
from artgen.registry import BUNDLED_MODEL, model_folders
from artgen.registry.default_selection import is_downloaded
from artgen.registry.hub import cache
from artgen.registry.references import parse_reference
from artgen.spec import config
from artgen.system.counts import format_bytes, format_duration

FIRST_MODELS = frozenset({"sd15", "sd-turbo", "sdxl", "sdxl-lightning"})
"""Models of the catalog for all kinds of prompts, with a download of at most 7 GB and without an account."""

MAX_SECONDS = 180.0
"""Time of an image on the CPU above which a quicker model is suggested."""


def next_step(task: str = "txt2img", machine: Machine | None = None) -> str:
    """Return the sentence that names the next step: use a larger model, and download it if none is on the disk.

    Args:
        task: task that the model must support.
        machine: device and memory; None is this machine.
    """
    machine = machine or this_machine()
    models = [each for each in recommend(machine, task) if not each.info.bundled_folder] if machine else []
    name = next((each.info.name for each in models if not each.download_bytes), None) or _own_model()
    if name is not None:
        return (
            f"Next step: add `-m {name}`, a larger model on this computer. `artgen config set model {name}` makes it "
            "the default."
        )
    first_models = [each for each in models if each.info.name in FIRST_MODELS]
    if first_models:
        quick = (each for each in first_models if (each.seconds or 0) <= MAX_SECONDS)
        first = next(quick, min(first_models, key=lambda each: each.seconds or 0))
        return f"Next step: `artgen models pull {first.info.name}` downloads {_describe(first)}"
    options = "" if task == "txt2img" else f" --task {task}"
    return f"Next step: `artgen models recommend{options}` lists larger models for this computer."


def default_next_step(task: str) -> str:
    """Return the next step if the default model is the demonstration model or not on the disk; else empty."""
    try:
        model = configured_model(task)
        if model == BUNDLED_MODEL:
            return next_step(task)
        reference = parse_reference(model)
    except ArtgenError:
        return ""
    if is_downloaded(reference):
        return ""
    size = reference.info.download_size if reference.info else None
    return (
        f"Next step: `artgen models pull {model}` downloads the default model"
        f"{f' ({format_bytes(size)})' if size else ''}. Without a download: `-m {BUNDLED_MODEL}`."
    )


def configured_model(task: str = "txt2img") -> str:
    """Return the model of a task without `--model`: of the environment, of the configuration, or artgen's default.

    Raises:
        ArtgenError: a configuration file is not valid.
    """
    if model := os.environ.get("ARTGEN_MODEL"):
        return model
    configured = config.load_defaults(task)[task].get("model")
    return str(configured) if configured else registry.default_model()


def _describe(recommendation: Recommendation) -> str:
    """Return the size of the download, the expected time, and the options that select the model."""
    seconds = recommendation.seconds
    time = "" if seconds is None else f", about {format_duration(seconds)} per image on this CPU"
    options = recommendation.command.partition(" -m ")[2]
    return f"a larger model ({format_bytes(recommendation.download_bytes)}{time}). Then add `-m {options}`."


def _own_model() -> str | None:
    """Return a model of the hub's cache or of the model folders that is not in the catalog; None if there is none."""
    try:
        for repo in cache.cached_repositories():
            if cache.is_diffusers_model(repo) and registry.find_local_model(repo) is not None:
                return repo
        return next((file.path.stem for file in model_folders.iter_files("model") if not file.is_pickle), None)
    except ArtgenError:
        return None
