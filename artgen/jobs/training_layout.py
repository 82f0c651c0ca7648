"""Define and check the output paths of a training."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, OutputError, UsageError
from artgen.outputs import is_folder_name, sanitize_component
from artgen.system.external_data import parse_json, read_optional
from artgen.system.files import nearest_existing, wrap_write_errors
from artgen.system.temporary import check_writable

LORA_SUFFIX = ".safetensors"
STATE_FILE = "state.json"
MAX_STATE_BYTES = 1 << 24
MAX_STEPS = 10**9


@dataclass(frozen=True)
class TrainingPaths:
    """Represent the output paths of one training.

    Attributes:
        result: `NAME.safetensors` for a LoRA, a folder in diffusers' layout for a complete model.
    """

    result: Path

    @property
    def training_dir(self) -> Path:
        """Return `NAME-training`, the folder next to the result for all other files."""
        name = self.result.name.removesuffix(LORA_SUFFIX)
        return self.result.with_name(f"{name}-training")

    @property
    def checkpoints_dir(self) -> Path:
        """Return the folder of the checkpoints. Each checkpoint is a folder `step-0000100`."""
        return self.training_dir / "checkpoints"

    @property
    def latents_dir(self) -> Path:
        """Return the folder of the cached latents. The files can be deleted."""
        return self.training_dir / "latents"

    @property
    def samples_dir(self) -> Path:
        """Return the folder of the sample images, with one folder per step."""
        return self.training_dir / "samples"

    @property
    def samples_sheet(self) -> Path:
        """Return the contact sheet of the sample images, with one row per step."""
        return self.training_dir / "samples.png"

    @property
    def loss_csv(self) -> Path:
        """Return the CSV file of the losses, with one line per step."""
        return self.training_dir / "loss.csv"

    @property
    def tensorboard_dir(self) -> Path:
        """Return the folder of the TensorBoard files. It exists only if TensorBoard is installed."""
        return self.training_dir / "tensorboard"

    @property
    def datasheet(self) -> Path:
        """Return the datasheet of the data set."""
        return self.training_dir / "datasheet.md"

    def checkpoint_dir(self, step: int) -> Path:
        """Return the folder of the checkpoint after `step` steps."""
        return self.checkpoints_dir / f"step-{step:07d}"

    def newest_checkpoint(self) -> Path | None:
        """Return the newest complete checkpoint, or None."""
        checkpoints = sorted(path.parent for path in self.checkpoints_dir.glob(f"step-*/{STATE_FILE}"))
        return checkpoints[-1] if checkpoints else None


def resolve_training_paths(output: str | None, images: Path | None, *, is_lora: bool) -> TrainingPaths:
    """Return the output paths for the value of `--output`.

    Args:
        output: value of the option. For a LoRA, the suffix `.safetensors` is added if it is missing. In a folder (ends
            with `/` or exists), a LoRA has the name of the folder of training images.
        images: folder of training images.
        is_lora: the result is a LoRA, not a model folder.

    Raises:
        UsageError: no output is given, or the output does not match the kind of result.
    """
    example = f"-o my-style{LORA_SUFFIX}" if is_lora else "-o my-model/"
    if not output or not output.strip():
        raise UsageError("Cannot train without an output: --output is missing.", example)
    path, is_folder = Path(output), is_folder_name(output)
    if is_lora and is_folder:
        path /= sanitize_component((images or path).resolve().name)
    elif path.suffix == LORA_SUFFIX and not is_lora and not is_folder:
        raise UsageError(f"Cannot write the result to the file '{output}': it is a model folder.", example)
    if not path.name.removesuffix(LORA_SUFFIX):
        raise UsageError(f"Cannot write the result to '{output}': it has no name.", example)
    if not is_lora:
        return TrainingPaths(path)
    return TrainingPaths(path if path.suffix == LORA_SUFFIX else path.with_name(path.name + LORA_SUFFIX))


def check_training_paths(paths: TrainingPaths, *, resume: bool, overwrite: bool) -> None:
    """Check that the output paths are free and writable.

    Raises:
        OutputError: the result or the training folder exists, or the parent folder is not writable.
        InputFileError: `resume` is set and no checkpoint exists.
    """
    if resume:
        if paths.newest_checkpoint() is None:
            raise InputFileError(
                f"Cannot resume: '{paths.checkpoints_dir}' contains no checkpoint.",
                "Start a new training: remove --resume.",
            )
    elif not overwrite:
        for path in (paths.result, paths.training_dir):
            if path.exists():
                hint = "Use --resume to continue, --overwrite to start again, or another --output."
                raise OutputError(f"'{path}' exists already.", hint)
    _check_writable(paths.result.parent)


def _check_writable(folder: Path) -> None:
    with wrap_write_errors(folder, "Choose another --output."):
        check_writable(nearest_existing(folder))


def read_checkpoint_state(checkpoint: Path) -> dict[str, Any]:
    """Return the step and the settings of a checkpoint.

    Raises:
        InputFileError: the checkpoint cannot be read.
    """
    try:
        data = read_optional(checkpoint / STATE_FILE, MAX_STATE_BYTES)
        if data is None:
            raise ValueError(f"'{STATE_FILE}' cannot be read")
        state = parse_json(data)
        step, settings = state["step"], state["settings"]
        if type(step) is not int or not 0 <= step < MAX_STEPS or not isinstance(settings, dict):
            raise ValueError("the step or the settings are not valid")
        return {**state, "step": step, "settings": settings}
    except (ValueError, KeyError, TypeError) as error:
        reason = error if isinstance(error, ValueError) else f"'{STATE_FILE}' has other contents than expected"
        raise InputFileError(
            f"Cannot read the checkpoint '{checkpoint}': {reason}.",
            "Delete it; --resume then continues from the previous checkpoint.",
        ) from error
