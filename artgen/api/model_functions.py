"""Define the functions for models: list, recommend, show, download, verify, convert and remove them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from artgen import registry
from artgen.api import model_downloads, model_lists, model_operations
from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.keyword_types import ConvertModelKeywords, PullModelKeywords, VerifyModelKeywords
from artgen.api.model_downloads import PulledFile
from artgen.api.model_lists import ModelDetails
from artgen.api.model_operations import ModelCard
from artgen.errors import UsageError
from artgen.registry import FileCheck
from artgen.spec.fields import describe_value
from artgen.spec.python_text import for_python
from artgen.spec.python_values import path_text
from artgen.spec.value_checks import check_choice, check_range

if TYPE_CHECKING:
    from artgen.jobs.model_recommendation import ModelRecommendation


@for_python()
def list_models(*, family: str | None = None, task: str | None = None) -> list[ModelDetails]:
    """Return the models that have an alias, and the downloaded models.

    Args:
        family: return only a family, such as `flux`, `sdxl` or `qwen-image`.
        task: return only models that support txt2img, img2img, inpaint, outpaint, edit or sample.

    Raises:
        UsageError: the family or the task is unknown.
        InputFileError: the file of the aliases is not valid.
    """
    return model_lists.select_models(family=family, task=task)


@for_python()
def recommend_models(
    *, memory: str | int | None = None, device: str = "auto", task: str = "txt2img", limit: int = 10
) -> "list[ModelRecommendation]":
    """Return the models of the catalog that fit a machine, best first.

    Newer and larger models come first. Offloading, or a long computation on the CPU, lowers the rank. The memory is an
    estimate from the number of parameters. Nothing is downloaded.

    Args:
        memory: memory of another machine, such as `24GiB`, or a number of bytes. None: this machine.
        device: auto, cuda, mps or cpu. With `memory`, auto is cuda.
        task: txt2img, img2img, inpaint, outpaint, edit or sample.
        limit: maximum number of models, 1 to 1,000.

    Raises:
        UsageError: a value is not valid, or the memory of this machine is unknown.
    """
    from artgen.jobs.model_recommendation import describe
    from artgen.jobs.recommend import recommend

    check_choice("task", task, model_lists.TASKS)
    check_range("limit", limit, 1, 1000)
    machine = model_lists.find_machine(memory, device, "memory")
    return [describe(each, machine) for each in recommend(machine, task)[:limit]]


@for_python()
def show_model(name: str) -> ModelCard:
    """Return the details of a model: default settings, license, path and README.

    Args:
        name: alias, OWNER/NAME[@REVISION], folder or file.

    Raises:
        UsageError, ModelUnavailableError, RefusedError, InputFileError: the model is unknown or damaged.
    """
    return model_operations.describe_model(_text(name))


@api_function("pull_model")
def pull_model(name: str, **settings: Unpack[PullModelKeywords]) -> PulledFile:
    """Download a model, a LoRA or another file, and return its path. An interrupted download is resumed.

    Args:
        name: alias, OWNER/NAME[@REVISION], civitai:MODEL[@VERSION], or address of a page or a file. A model that is
            bundled or local is not downloaded.

    Raises:
        ModelUnavailableError: the model is unknown, gated or offline, or its files are not valid.
        RefusedError: a file is a pickle, or its hash is wrong.
        UsageError: the name is not valid.
        OutputError: the disk is full or the folder cannot be written.
    """
    with start_call("pull_model", settings) as call:
        pulled = model_downloads.pull_source(
            model_downloads.parse_pull_source(_text(name)), call.values.get("force", False), call.listener
        )
        return pulled or model_downloads.local_file(name)


@api_function("verify_model")
def verify_model(*names: str, **settings: Unpack[VerifyModelKeywords]) -> list[FileCheck]:
    """Verify model files against their SHA-256. Each result has the attributes model, file, ok and detail.

    Args:
        names: names of models. Without names, all downloaded models are verified.

    Raises:
        UsageError, ModelUnavailableError: a model is unknown or not downloaded.
    """
    with start_call("verify_model", settings) as call:
        selected = names or model_operations.downloaded_models()
        return [check for name in selected for check in model_operations.verify_files(_text(name), call.listener)]


@api_function("convert_model")
def convert_model(file: str | os.PathLike[str], **settings: Unpack[ConvertModelKeywords]) -> list[Path]:
    """Convert a pickled checkpoint or embedding to a safetensors file, and return the paths of the new files.

    Another process reads the pickle, with limits of memory and time. It creates only tensors and runs no code of the
    file.

    Args:
        file: `.ckpt`, `.pt`, `.pth` or `.bin`; or a model folder, whose components are converted beside the pickles.

    Raises:
        InputFileError, RefusedError: the file is not a pickled checkpoint, or is not safe.
        UsageError: `output` is set for a folder, or is not a path.
        OutputError: the file exists already, or cannot be written.
    """
    with start_call("convert_model", settings) as call:
        output = call.values.get("output")
        output_text = None if output is None else path_text(output, "output", "model.safetensors")
        overwrite = call.values.get("overwrite", False)
        return list(
            model_operations.iter_conversions(
                Path(path_text(file, "file", "model.ckpt")), output_text, overwrite, call.listener
            )
        )


@for_python()
def remove_model(name: str) -> int:
    """Delete a downloaded model, without confirmation. Return the number of freed bytes.

    A model of the hub is deleted from the cache, which is shared with other tools.

    Raises:
        UsageError: artgen did not download the model.
        ModelUnavailableError: the model is unknown or not downloaded.
        OutputError: the files cannot be deleted.
    """
    return model_operations.find_removal(_text(name)).run()


@for_python()
def model_path(name: str) -> Path:
    """Return the absolute path of a local model: a folder or a file.

    Raises:
        ModelUnavailableError: the model is unknown or not downloaded.
    """
    return model_operations.local_path(_text(name))


@for_python()
def set_alias(name: str, target: str | os.PathLike[str]) -> None:
    """Save an alias of a model, for Python and the command line.

    Args:
        name: the alias.
        target: alias, hub id, folder or file. A relative path is saved as an absolute path.

    Raises:
        UsageError, ModelUnavailableError, RefusedError: the alias or the target is not valid.
        OutputError: the file of the aliases cannot be written.
    """
    registry.set_alias(_text(name), _text(target, "target"))


@for_python()
def remove_alias(name: str) -> None:
    """Delete an alias. The model is not deleted.

    Raises:
        UsageError: the alias does not exist, or is built in.
        OutputError: the file of the aliases cannot be written.
    """
    registry.remove_alias(_text(name))


def _text(value: object, name: str = "name") -> str:
    """Return a name or a path as text.

    Raises:
        UsageError: the value has another type.
    """
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{name} must be text, not {describe_value(value)}.", "`artgen models list` shows the names.")
    return os.fsdecode(value)
