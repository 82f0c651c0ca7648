"""A training from its plan to its result, as a generator: what happens is yielded, and the caller shows it."""

import contextlib
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from artgen.dataset import datasheet
from artgen.engine.loading import pipeline_cache
from artgen.engine.loading.oom import is_oom
from artgen.engine.training import checkpoints, export, samples
from artgen.engine.training import setup as training_setup
from artgen.engine.training.loop import TrainingLoop, TrainStep
from artgen.engine.training.loss_log import LossLog
from artgen.engine.training.setup import TrainingSetup
from artgen.engine.training.tensorboard import TensorBoardLogger
from artgen.errors import MemoryExhaustedError
from artgen.events import Listener, ModelSelected, no_op
from artgen.jobs.training_layout import read_checkpoint_state
from artgen.jobs.training_plan import DEFAULT_NUM_SAMPLES, TrainingPlan

__all__ = [
    "CheckpointSaved",
    "Finished",
    "LatentsCached",
    "SamplesSaved",
    "Started",
    "TrainStep",
    "TrainingEvent",
    "train",
]


@dataclass(frozen=True)
class LatentsCached:
    """So many pictures are ready, of how many."""

    done: int
    total: int


@dataclass(frozen=True)
class Started:
    """The first step is about to be done, after `start_step` of an earlier run."""

    start_step: int
    total_steps: int
    num_parameters: int
    num_processes: int


@dataclass(frozen=True)
class CheckpointSaved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True)
class SamplesSaved:
    """A snapshot was drawn, and the sheet of all."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The result was written."""

    path: Path
    steps: int
    loss: float | None


TrainingEvent = LatentsCached | Started | TrainStep | CheckpointSaved | SamplesSaved | Finished


def never_stop() -> bool:
    """Goes on to the end."""
    return False


def train(
    plan: TrainingPlan, *, listener: Listener = no_op, should_stop: Callable[[], bool] = never_stop
) -> Iterator[TrainingEvent]:
    """Trains, and leaves a result, checkpoints, snapshots, losses and a datasheet where the plan says.

    Args:
        plan: from `artgen.jobs.training_plan.plan`.
        listener: is told of loading.
        should_stop: asked after each step; True saves a checkpoint and raises KeyboardInterrupt.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
        MemoryExhaustedError: out of memory.
        NonFiniteError: the loss became NaN or infinite.
        OutputError: something cannot be written; the checkpoint before stays.
        KeyboardInterrupt: stopped, with a checkpoint.
    """
    try:
        yield from _train(plan, listener, should_stop)
    except (MemoryError, RuntimeError) as error:
        if not is_oom(error):
            raise
        raise MemoryExhaustedError(
            "Out of memory while training.",
            "Use --gradient-checkpointing, a smaller --batch-size with more --gradient-accumulation-steps, or a "
            "smaller --resolution; --resume is for the same settings only.",
        ) from None
    finally:
        pipeline_cache.clear_cache()  # its weights are no longer the model's


def _train(plan: TrainingPlan, listener: Listener, should_stop: Callable[[], bool]) -> Iterator[TrainingEvent]:
    pipeline_cache.clear_cache()
    accelerator = training_setup.create_accelerator(plan)
    if accelerator.is_main_process:
        precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        listener(ModelSelected(plan.model.short_name, str(accelerator.device), precision))
        if not plan.settings.checkpointing.resume:
            shutil.rmtree(plan.paths.training_dir, ignore_errors=True)
    accelerator.wait_for_everyone()
    assembly = training_setup.build_setup(plan, accelerator, listener)
    if accelerator.is_main_process:
        for done, total in assembly.latent_cache.populate():
            yield LatentsCached(done, total)
    accelerator.wait_for_everyone()
    loop = training_setup.build_loop(assembly)
    begun = 0
    if plan.settings.checkpointing.resume and (newest := plan.paths.newest_checkpoint()) is not None:
        checkpoints.restore_checkpoint(newest, loop.train_state)
        begun = int(read_checkpoint_state(newest)["step"])
    yield Started(begun, plan.settings.optimizer.train_steps, sum(p.numel() for p in loop.train_state.parameters.values()),
                accelerator.num_processes)  # fmt: skip
    keeper = _Recorder(assembly, loop, begun)
    try:
        yield from keeper.record_steps(should_stop)
    finally:
        keeper.close()
    accelerator.end_training()


class _Recorder:
    """Keeps what a loop makes: losses, checkpoints, snapshots, the result. Only the first process writes."""

    def __init__(self, setup: TrainingSetup, loop: TrainingLoop, start_step: int) -> None:
        self._setup, self._loop, self._start_step = setup, loop, start_step
        self._plan = setup.plan
        self._is_main_process = loop.accelerator.is_main_process
        self._last_saved_step = start_step if start_step else -1
        self._loss_log = LossLog(self._plan.paths, start_step) if self._is_main_process else None
        self._tensorboard = (
            TensorBoardLogger(self._plan.paths.tensorboard_dir, start_step) if self._is_main_process else None
        )

    def close(self) -> None:
        """Writes what is still in memory."""
        if self._tensorboard:
            self._tensorboard.close()

    def record_steps(self, should_stop: Callable[[], bool]) -> Iterator[TrainingEvent]:
        progress, total = self._plan.settings.checkpointing, self._plan.settings.optimizer.train_steps
        sheet = self._write_datasheet()
        if not self._start_step and progress.snapshot_every:
            yield from self._save_samples(0)
        last: TrainStep | None = None
        for last in self._loop.steps(self._start_step):
            step = last.step
            if self._loss_log:
                self._loss_log.log_step(step, last.losses, last.learning_rate, last.seconds)
            if self._tensorboard:
                self._tensorboard.log_step(last)
            yield last
            stopped = self._any_process_stops(should_stop())
            if stopped or step % progress.checkpoint_every == 0 or step == total:
                yield from self._save_checkpoint(step)
            if stopped:
                raise KeyboardInterrupt
            if progress.snapshot_every and (step % progress.snapshot_every == 0 or step == total):
                yield from self._save_samples(step)
        if self._is_main_process:
            with self._ema_weights():
                path = export.export_result(self._setup, total, sheet)
            yield Finished(path, total, last.loss if last else None)

    def _any_process_stops(self, stop_requested: bool) -> bool:
        """Whether any process was asked to stop: all stop after the same step."""
        accelerator = self._loop.accelerator
        if accelerator.num_processes == 1:
            return stop_requested
        import torch

        flag = torch.tensor(float(stop_requested), device=accelerator.device)
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

    def _save_checkpoint(self, step: int) -> Iterator[TrainingEvent]:
        self._last_saved_step = step
        if self._is_main_process:
            keep = self._plan.settings.checkpointing.keep_checkpoints
            path = checkpoints.save_checkpoint(
                self._plan.paths, self._loop.train_state, step, self._plan.settings_record(), keep
            )
            if self._loss_log:
                self._loss_log.save_plot()
            yield CheckpointSaved(step, path)

    def _save_samples(self, step: int) -> Iterator[TrainingEvent]:
        if not self._is_main_process:
            return
        names, pictures = self._create_samples()
        path = samples.save_samples(self._plan.paths, step, pictures, names, self._plan.paths.result.stem)
        yield SamplesSaved(step, path)

    def _create_samples(self) -> tuple[Sequence[str], list[Image.Image]]:
        plan = self._plan
        with self._ema_weights(), self._loop.accelerator.autocast():
            if plan.settings.mode == "vae":
                examples = plan.dataset.images[:DEFAULT_NUM_SAMPLES]
                rebuilt = samples.reconstruct_images(self._setup.pipe.vae, examples, plan.resolution)
                return [example.name for example in examples], rebuilt
            prompts = plan.sample_prompts
            return prompts, samples.sample_images(self._setup.pipe, plan.model, prompts, plan.settings.seed)

    def _ema_weights(self) -> contextlib.AbstractContextManager[None]:
        learner = self._loop.train_state
        return learner.ema.swap_in(learner.parameters) if learner.ema else contextlib.nullcontext()

    def _write_datasheet(self) -> str:
        if not self._is_main_process:
            return ""
        plan = self._plan
        about = {
            "model": plan.model.short_name,
            "resolution": plan.resolution,
            "trigger": plan.settings.training.trigger,
        }
        return datasheet.write_datasheet(plan.dataset, plan.paths.datasheet, run_info=about).sha256
