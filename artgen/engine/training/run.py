"""Run a training from its plan to its result, as a generator of events."""

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
    """Report the number of cached images and their total."""

    done: int
    total: int


@dataclass(frozen=True)
class Started:
    """Report the start of the first step. `start_step` is the number of steps of the resumed run, else 0."""

    start_step: int
    num_parameters: int
    num_processes: int


@dataclass(frozen=True)
class CheckpointSaved:
    """Report a new checkpoint."""

    step: int
    path: Path


@dataclass(frozen=True)
class SamplesSaved:
    """Report new sample images. `path` is the contact sheet of all steps."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """Report the path of the result. `loss` is None if no step was necessary."""

    path: Path
    steps: int
    loss: float | None


TrainingEvent = LatentsCached | Started | TrainStep | CheckpointSaved | SamplesSaved | Finished


def train(
    plan: TrainingPlan, *, listener: Listener = no_op, should_stop: Callable[[], bool] = lambda: False
) -> Iterator[TrainingEvent]:
    """Train a model. Write the result, checkpoints, sample images, losses and a datasheet to the paths of the plan.

    Args:
        plan: return value of `artgen.jobs.training_plan.create_training_plan`.
        listener: receives the events of model loading.
        should_stop: called after each step. If it returns True, `train` saves a checkpoint and raises
            KeyboardInterrupt.

    Raises:
        ModelUnavailableError: weights are missing or damaged.
        MemoryExhaustedError: out of memory.
        NonFiniteError: the loss is NaN or infinite.
        OutputError: a file cannot be written. Existing checkpoints are unchanged.
        KeyboardInterrupt: `should_stop` returned True. A checkpoint is saved.
    """
    try:
        yield from _train(plan, listener, should_stop)
    except (MemoryError, RuntimeError) as error:
        if not is_oom(error):
            raise
        raise MemoryExhaustedError(
            "Cannot train: out of memory.",
            "Use --gradient-checkpointing, a smaller --batch-size with more --gradient-accumulation-steps, or a "
            "smaller --resolution. Start a new training: --resume requires the same settings.",
        ) from None
    finally:
        pipeline_cache.clear_cache()  # the weights of the cached pipeline have changed


def _train(plan: TrainingPlan, listener: Listener, should_stop: Callable[[], bool]) -> Iterator[TrainingEvent]:
    pipeline_cache.clear_cache()
    accelerator = training_setup.create_accelerator(plan)
    if accelerator.is_main_process:
        precision = {"no": "fp32"}.get(accelerator.mixed_precision, accelerator.mixed_precision)
        listener(ModelSelected(plan.model_name, str(accelerator.device), precision))
        if not plan.settings.checkpointing.resume:
            shutil.rmtree(plan.paths.training_dir, ignore_errors=True)
    accelerator.wait_for_everyone()
    setup = training_setup.build_setup(plan, accelerator, listener)
    if accelerator.is_main_process:
        for done, total in setup.latent_cache.populate():
            yield LatentsCached(done, total)
    accelerator.wait_for_everyone()
    loop = training_setup.build_loop(setup)
    start_step = 0
    if plan.settings.checkpointing.resume and (newest := plan.paths.newest_checkpoint()) is not None:
        checkpoints.restore_checkpoint(newest, loop.train_state)
        start_step = int(read_checkpoint_state(newest)["step"])
    num_parameters = sum(parameter.numel() for parameter in loop.train_state.parameters.values())
    yield Started(start_step, num_parameters, accelerator.num_processes)
    recorder = _Recorder(setup, loop, start_step)
    try:
        yield from recorder.record_steps(should_stop)
    finally:
        recorder.close()
    accelerator.end_training()


class _Recorder:
    """Write losses, checkpoints, sample images and the result. Only the main process writes."""

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
        """Write buffered values and close the files."""
        if self._tensorboard:
            self._tensorboard.close()

    def record_steps(self, should_stop: Callable[[], bool]) -> Iterator[TrainingEvent]:
        """Run the loop to its end and yield the events of each step. Raise KeyboardInterrupt if a process stops."""
        settings, total = self._plan.settings.checkpointing, self._plan.num_steps
        datasheet_sha256 = self._write_datasheet()
        if not self._start_step and settings.snapshot_every:
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
            if stopped or step % settings.checkpoint_every == 0 or step == total:
                yield from self._save_checkpoint(step)
            if stopped:
                raise KeyboardInterrupt
            if settings.snapshot_every and (step % settings.snapshot_every == 0 or step == total):
                yield from self._save_samples(step)
        if self._is_main_process:
            with self._ema_weights():
                path = export.export_result(self._setup, total, datasheet_sha256)
            yield Finished(path, total, last.loss if last else None)

    def _any_process_stops(self, stop_requested: bool) -> bool:
        """Return whether any process was asked to stop, so that all processes stop after the same step."""
        accelerator = self._loop.accelerator
        if accelerator.num_processes == 1:
            return stop_requested
        import torch

        flag = torch.tensor(float(stop_requested), device=accelerator.device)
        torch.distributed.all_reduce(flag)
        stops = bool(flag.item())
        # Gloo's thread needs the GIL to release the tensor. The destruction of a process group waits for this thread
        # while it holds the GIL. Without this wait, both can deadlock after the last call.
        if flag.device.type == "cpu":
            reference, end = weakref.ref(flag), time.monotonic() + 1
            del flag
            while reference() is not None and time.monotonic() < end:
                time.sleep(0.001)
        return stops

    def _save_checkpoint(self, step: int) -> Iterator[TrainingEvent]:
        self._last_saved_step = step
        if self._is_main_process:
            keep = self._plan.settings.checkpointing.keep_checkpoints
            path = checkpoints.save_checkpoint(
                self._plan.paths, self._loop.train_state, step, self._plan.settings_record(), keep
            )
            yield CheckpointSaved(step, path)

    def _save_samples(self, step: int) -> Iterator[TrainingEvent]:
        if not self._is_main_process:
            return
        labels, images = self._create_samples()
        path = samples.save_samples(self._plan.paths, step, images, labels, self._plan.paths.result.stem)
        yield SamplesSaved(step, path)

    def _create_samples(self) -> tuple[Sequence[str], list[Image.Image]]:
        plan = self._plan
        with self._ema_weights(), self._loop.accelerator.autocast():
            if plan.settings.mode == "vae":
                originals = plan.dataset.images[:DEFAULT_NUM_SAMPLES]
                reconstructions = samples.reconstruct_images(self._setup.pipe.vae, originals, plan.resolution)
                return [original.name for original in originals], reconstructions
            if plan.base_model is None:
                images = samples.sample_unconditional(self._setup.pipe, DEFAULT_NUM_SAMPLES, plan.settings.seed)
                return [f"seed {plan.settings.seed + number}" for number in range(len(images))], images
            prompts = plan.sample_prompts
            return prompts, samples.sample_images(self._setup.pipe, plan.model, prompts, plan.settings.seed)

    def _ema_weights(self) -> contextlib.AbstractContextManager[None]:
        state = self._loop.train_state
        return state.ema.swap_in(state.parameters) if state.ema else contextlib.nullcontext()

    def _write_datasheet(self) -> str:
        if not self._is_main_process:
            return ""
        plan = self._plan
        run_info = {
            "model": plan.model_name,
            "resolution": plan.resolution,
            "trigger": plan.settings.training.trigger,
        }
        return datasheet.write_datasheet(plan.dataset, plan.paths.datasheet, run_info=run_info).sha256
