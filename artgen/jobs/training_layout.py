"""Where a training leaves what it makes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, OutputError, UsageError

LORA_SUFFIX = ".safetensors"
STATE_FILE = "state.json"


@dataclass(frozen=True)
class TrainingPaths:
    """The files of one training.

    Attributes:
        result: what it is for: `NAME.safetensors` for a LoRA, a folder in diffusers' layout for whole weights.
    """

    result: Path

    @property
    def training_dir(self) -> Path:
        """`NAME-training`, beside the result: everything else."""
        name = self.result.name.removesuffix(LORA_SUFFIX)
        return self.result.with_name(f"{name}-training")

    @property
    def checkpoints_dir(self) -> Path:
        """A folder for each checkpoint, `step-0000100`."""
        return self.training_dir / "checkpoints"

    @property
    def latents_dir(self) -> Path:
        """The pictures as the encoder sees them; can be made again."""
        return self.training_dir / "latents"

    @property
    def samples_dir(self) -> Path:
        """A folder for the pictures of each snapshot."""
        return self.training_dir / "samples"

    @property
    def samples_sheet(self) -> Path:
        """All snapshots on one sheet, a row for each."""
        return self.training_dir / "samples.png"

    @property
    def loss_csv(self) -> Path:
        """A line for each step."""
        return self.training_dir / "loss.csv"

    @property
    def loss_png(self) -> Path:
        """The lines of `losses` as a picture."""
        return self.training_dir / "loss.png"

    @property
    def tensorboard_dir(self) -> Path:
        """The same for TensorBoard, where it is installed."""
        return self.training_dir / "tensorboard"

    @property
    def datasheet(self) -> Path:
        """What was learnt from."""
        return self.training_dir / "datasheet.md"

    def checkpoint_dir(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps."""
        return self.checkpoints_dir / f"step-{step:07d}"

    def newest_checkpoint(self) -> Path | None:
        """The last whole checkpoint; None when there is none."""
        found = sorted(path.parent for path in self.checkpoints_dir.glob(f"step-*/{STATE_FILE}"))
        return found[-1] if found else None


def resolve_training_paths(output: str | None, *, is_model_folder: bool) -> TrainingPaths:
    """Where `--output` asks the result to go.

    Args:
        output: as typed; a suffix `.safetensors` is added for a LoRA.
        is_model_folder: the result is a model folder, not a LoRA.

    Raises:
        UsageError: nothing is named, or a name that does not fit what is made.
    """
    example = "-o my-model/" if is_model_folder else f"-o my-style{LORA_SUFFIX}"
    if not output or not output.strip() or not Path(output).name.removesuffix(LORA_SUFFIX):
        raise UsageError("train needs to know where its result goes.", example)
    path = Path(output)
    if is_model_folder:
        if path.suffix == LORA_SUFFIX:
            raise UsageError(f"The result is a model folder, not the file '{output}'.", example)
        return TrainingPaths(path)
    if output.endswith("/") or path.is_dir():
        raise UsageError(f"A LoRA is one file, and '{output}' names a folder.", example)
    return TrainingPaths(path if path.suffix == LORA_SUFFIX else path.with_name(path.name + LORA_SUFFIX))


def check_training_paths(paths: TrainingPaths, *, resume: bool, overwrite: bool) -> None:
    """Refuses, before anything slow, a place that is taken or cannot be written.

    Raises:
        OutputError: the result or traces of its training are there, or the folder cannot be written.
        InputFileError: there is nothing to resume.
    """
    if resume:
        if paths.newest_checkpoint() is None:
            raise InputFileError(
                f"'{paths.checkpoints_dir}' has no checkpoint to go on from.", "Leave --resume out to begin."
            )
    elif not overwrite:
        for path in (paths.result, paths.training_dir):
            if path.exists():
                hint = "Add --resume to go on, --overwrite to begin again, or choose another --output."
                raise OutputError(f"'{path}' exists already.", hint)
    _check_writable(paths.result.parent)


def _check_writable(folder: Path) -> None:
    from artgen.outputs.writing import check_writable

    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        check_writable(existing)
    except OSError as error:
        raise OutputError(
            f"'{folder}' cannot be written: {error.strerror or error}.", "Choose another --output."
        ) from None


def read_checkpoint_state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        InputFileError: it cannot be read.
    """
    try:
        found = json.loads((checkpoint / STATE_FILE).read_text("utf-8"))
        return dict(found, step=int(found["step"]), settings=dict(found["settings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(
            f"The checkpoint '{checkpoint}' cannot be read: {error}.", "Remove it to go on from the one before."
        ) from error
