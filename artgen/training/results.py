"""Where a training leaves what it makes."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artgen.errors import InputFileError, OutputError, UsageError

SUFFIX = ".safetensors"
STATE = "state.json"


@dataclass(frozen=True)
class Layout:
    """The files of one training.

    Attributes:
        result: what it is for: `NAME.safetensors` for a LoRA, a folder in diffusers' layout for whole weights.
    """

    result: Path

    @property
    def folder(self) -> Path:
        """`NAME-training`, beside the result: everything else."""
        name = self.result.name.removesuffix(SUFFIX)
        return self.result.with_name(f"{name}-training")

    @property
    def checkpoints(self) -> Path:
        """A folder for each checkpoint, `step-0000100`."""
        return self.folder / "checkpoints"

    @property
    def latents(self) -> Path:
        """The pictures as the encoder sees them; can be made again."""
        return self.folder / "latents"

    @property
    def samples(self) -> Path:
        """A folder for the pictures of each snapshot."""
        return self.folder / "samples"

    @property
    def sheet(self) -> Path:
        """All snapshots on one sheet, a row for each."""
        return self.folder / "samples.png"

    @property
    def losses(self) -> Path:
        """A line for each step."""
        return self.folder / "loss.csv"

    @property
    def curve(self) -> Path:
        """The lines of `losses` as a picture."""
        return self.folder / "loss.png"

    @property
    def board(self) -> Path:
        """The same for TensorBoard, where it is installed."""
        return self.folder / "tensorboard"

    @property
    def datasheet(self) -> Path:
        """What was learnt from."""
        return self.folder / "datasheet.md"

    def checkpoint(self, step: int) -> Path:
        """The folder of the checkpoint after `step` steps."""
        return self.checkpoints / f"step-{step:07d}"

    def newest(self) -> Path | None:
        """The last whole checkpoint; None when there is none."""
        found = sorted(path.parent for path in self.checkpoints.glob(f"step-*/{STATE}"))
        return found[-1] if found else None


def layout(output: str | None, *, whole: bool) -> Layout:
    """Where `--output` asks the result to go.

    Args:
        output: as typed; a suffix `.safetensors` is added for a LoRA.
        whole: the result is a model folder, not a LoRA.

    Raises:
        UsageError: nothing is named, or a name that does not fit what is made.
    """
    example = "-o my-model/" if whole else f"-o my-style{SUFFIX}"
    if not output or not output.strip() or not Path(output).name.removesuffix(SUFFIX):
        raise UsageError("train needs to know where its result goes.", example)
    path = Path(output)
    if whole:
        if path.suffix == SUFFIX:
            raise UsageError(f"The result is a model folder, not the file '{output}'.", example)
        return Layout(path)
    if output.endswith("/") or path.is_dir():
        raise UsageError(f"A LoRA is one file, and '{output}' names a folder.", example)
    return Layout(path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX))


def check_free(found: Layout, *, resume: bool, overwrite: bool) -> None:
    """Refuses, before anything slow, a place that is taken or cannot be written.

    Raises:
        OutputError: the result or traces of its training are there, or the folder cannot be written.
        InputFileError: there is nothing to resume.
    """
    if resume:
        if found.newest() is None:
            raise InputFileError(
                f"'{found.checkpoints}' has no checkpoint to go on from.", "Leave --resume out to begin."
            )
    elif not overwrite:
        for path in (found.result, found.folder):
            if path.exists():
                hint = "Add --resume to go on, --overwrite to begin again, or choose another --output."
                raise OutputError(f"'{path}' exists already.", hint)
    _check_writable(found.result.parent)


def _check_writable(folder: Path) -> None:
    from artgen.outputs.writing import probe

    existing = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        probe(existing)
    except OSError as error:
        raise OutputError(
            f"'{folder}' cannot be written: {error.strerror or error}.", "Choose another --output."
        ) from None


def read_state(checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        InputFileError: it cannot be read.
    """
    try:
        found = json.loads((checkpoint / STATE).read_text("utf-8"))
        return dict(found, step=int(found["step"]), settings=dict(found["settings"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputFileError(
            f"The checkpoint '{checkpoint}' cannot be read: {error}.", "Remove it to go on from the one before."
        ) from error
