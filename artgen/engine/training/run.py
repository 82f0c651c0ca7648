"""A training from its plan to its result, as a generator: what happens is yielded, and the caller shows it."""

import contextlib
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.engine import loading
from artgen.engine.memory import is_exhaustion
from artgen.engine.training import assembling, checkpoints, results, snapshots
from artgen.engine.training.assembling import Assembly
from artgen.engine.training.board import Board
from artgen.engine.training.loop import Loop, Step
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, ModelChosen, ignore
from artgen.training import datasheet
from artgen.training.curves import Curves
from artgen.training.plans import SNAPSHOTS, Plan
from artgen.training.results import read_state

__all__ = ["Begun", "Finished", "Happening", "Prepared", "Saved", "Shown", "Step", "train"]


@dataclass(frozen=True)
class Prepared:
    """So many pictures are ready, of how many."""

    done: int
    total: int


@dataclass(frozen=True)
class Begun:
    """The first step is about to be done, after `done` of an earlier run."""

    done: int
    steps: int
    parameters: int
    processes: int


@dataclass(frozen=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class Shown:
    """A snapshot was drawn, and the sheet of all."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The result was written."""

    path: Path
    steps: int
    loss: float | None


Happening = Prepared | Begun | Step | Saved | Shown | Finished


def never() -> bool:
    """Goes on to the end."""
    return False


def train(plan: Plan, *, listener: Listener = ignore, stop: Callable[[], bool] = never) -> Iterator[Happening]:
    """Trains, and leaves a result, checkpoints, snapshots, losses and a datasheet where the plan says.

    Args:
        plan: from `artgen.training.plans.plan`.
        listener: is told of loading.
        stop: asked after each step; True saves a checkpoint and raises KeyboardInterrupt.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
        MemoryExhaustedError: out of memory.
        NonFiniteError: the loss became NaN or infinite.
        OutputError: something cannot be written; the checkpoint before stays.
        KeyboardInterrupt: stopped, with a checkpoint.
    """
    try:
        yield from _train(plan, listener, stop)
    except (MemoryError, RuntimeError) as error:
        if not is_exhaustion(error):
            raise
        raise MemoryExhaustedError(
            "Out of memory while training.",
            "Use --gradient-checkpointing, a smaller --batch-size with more --gradient-accumulation-steps, or a "
            "smaller --resolution; --resume is for the same settings only.",
        ) from None
    finally:
        loading.release()  # its weights are no longer the model's


def _train(plan: Plan, listener: Listener, stop: Callable[[], bool]) -> Iterator[Happening]:
    loading.release()
    accelerator = assembling.start(plan)
    if accelerator.is_main_process:
        precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        listener(ModelChosen(plan.model.label, str(accelerator.device), precision))
        if not plan.settings.progress.resume:
            shutil.rmtree(plan.layout.folder, ignore_errors=True)
    accelerator.wait_for_everyone()
    assembly = assembling.assemble(plan, accelerator, listener)
    if accelerator.is_main_process:
        for done, total in assembly.stock.fill():
            yield Prepared(done, total)
    accelerator.wait_for_everyone()
    loop = assembling.loop(assembly)
    begun = 0
    if plan.settings.progress.resume and (newest := plan.layout.newest()) is not None:
        checkpoints.restore(newest, loop.learner)
        begun = int(read_state(newest)["step"])
    yield Begun(begun, plan.settings.optimisation.train_steps, sum(p.numel() for p in loop.learner.parameters.values()),
                accelerator.num_processes)  # fmt: skip
    keeper = _Keeper(assembly, loop, begun)
    try:
        yield from keeper.steps(stop)
    finally:
        keeper.close()
    accelerator.end_training()


class _Keeper:
    """Keeps what a loop makes: losses, checkpoints, snapshots, the result. Only the first process writes."""

    def __init__(self, assembly: Assembly, loop: Loop, begun: int) -> None:
        self._assembly, self._loop, self._begun = assembly, loop, begun
        self._plan = assembly.plan
        self._writes = loop.accelerator.is_main_process
        self._saved = begun if begun else -1
        self._curves = Curves(self._plan.layout, begun) if self._writes else None
        self._board = Board(self._plan.layout.board, begun) if self._writes else None

    def close(self) -> None:
        """Writes what is still in memory."""
        if self._board:
            self._board.close()

    def steps(self, stop: Callable[[], bool]) -> Iterator[Happening]:
        progress, total = self._plan.settings.progress, self._plan.settings.optimisation.train_steps
        sheet = self._datasheet()
        if not self._begun and progress.snapshot_every:
            yield from self._show(0)
        last: Step | None = None
        for last in self._loop.steps(self._begun):
            step = last.step
            if self._curves:
                self._curves.add(step, last.parts, last.rate, last.seconds)
            if self._board:
                self._board.add(last)
            yield last
            stopped = self._any(stop())
            if stopped or step % progress.checkpoint_every == 0 or step == total:
                yield from self._save(step)
            if stopped:
                raise KeyboardInterrupt
            if progress.snapshot_every and (step % progress.snapshot_every == 0 or step == total):
                yield from self._show(step)
        if self._writes:
            with self._averaged():
                path = results.write(self._assembly, total, sheet)
            yield Finished(path, total, last.loss if last else None)

    def _any(self, stop: bool) -> bool:
        """Whether any process was asked to stop: all stop after the same step."""
        accelerator = self._loop.accelerator
        if accelerator.num_processes == 1:
            return stop
        import torch

        flag = torch.tensor(float(stop), device=accelerator.device)
        torch.distributed.all_reduce(flag)
        answer = bool(flag.item())
        # Gloo's thread lets go of the tensor when it has Python's lock, and the end of a process group waits for that
        # thread with the lock held: were this the last call, the two could wait for each other for ever.
        if flag.device.type == "cpu":
            held, end = weakref.ref(flag), time.monotonic() + 1
            del flag
            while held() is not None and time.monotonic() < end:
                time.sleep(0.001)
        return answer

    def _save(self, step: int) -> Iterator[Happening]:
        self._saved = step
        if self._writes:
            keep = self._plan.settings.progress.keep
            path = checkpoints.save(self._plan.layout, self._loop.learner, step, self._plan.record(), keep)
            if self._curves:
                self._curves.draw()
            yield Saved(step, path)

    def _show(self, step: int) -> Iterator[Happening]:
        if not self._writes:
            return
        names, pictures = self._drawn()
        path = snapshots.keep(self._plan.layout, step, pictures, names, self._plan.layout.result.stem)
        yield Shown(step, path)

    def _drawn(self) -> tuple[Sequence[str], list[Image.Image]]:
        plan = self._plan
        with self._averaged(), self._loop.accelerator.autocast():
            if plan.settings.kind == "autoencoder":
                examples = plan.pictures.examples[:SNAPSHOTS]
                rebuilt = snapshots.rebuild(self._assembly.pipe.vae, examples, plan.resolution)
                return [example.name for example in examples], rebuilt
            prompts = plan.snapshot_prompts
            return prompts, snapshots.draw(self._assembly.pipe, plan.model, prompts, plan.settings.seed)

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        learner = self._loop.learner
        return learner.average.applied(learner.parameters) if learner.average else contextlib.nullcontext()

    def _datasheet(self) -> str:
        if not self._writes:
            return ""
        plan = self._plan
        about = {"model": plan.model.label, "resolution": plan.resolution, "trigger": plan.settings.learning.trigger}
        return datasheet.write(plan.pictures, plan.layout.datasheet, about=about).sha256
