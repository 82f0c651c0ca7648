"""Score image files for the prompts of a ranking."""

from pathlib import Path

from artgen.engine.image_scores.model_score import NOISE_LEVELS
from artgen.engine.image_scores.score_images import score_with_clip, score_with_model
from artgen.engine.loading.device import resolve_device
from artgen.events import Listener, ModelSelected, Notice, StepEvent
from artgen.images import load_image
from artgen.jobs.image_ranking import RankPlan, ScoredPrompt


class FileScorer:
    """Score files one after another, and report the progress."""

    def __init__(self, plan: RankPlan, num_files: int, listener: Listener) -> None:
        """Create a scorer.

        Args:
            plan: validated request whose weights are on the disk.
            num_files: number of files, for the progress.
            listener: receives the progress.
        """
        self._plan = plan
        self._num_files = num_files
        self._listener = listener
        self._device_config = resolve_device(plan.request.device, "fp32" if plan.score_model else plan.request.dtype)
        listener(ModelSelected(plan.model_name or "", self._device_config.device, self._device_config.dtype))

    def score(self, path: Path, prompt: ScoredPrompt, number: int) -> float:
        """Return the score of an image file; higher is better.

        Args:
            path: image file.
            prompt: prompt of the plan.
            number: number of the file, from 1.

        Raises:
            InputFileError: the file cannot be read.
            MemoryExhaustedError, ModelUnavailableError, NonFiniteError: see `score_results`.
        """
        loaded = load_image(path)
        for note in loaded.notes:
            self._listener(Notice(note))
        total, completed = (1 if self._plan.score_model else len(NOISE_LEVELS)), 0

        def on_call() -> None:
            nonlocal completed
            completed += 1
            self._listener(StepEvent(min(completed, total), total, number, 1, self._num_files))

        self._listener(StepEvent(0, total, number, 1, self._num_files))
        images = [loaded.image]
        if self._plan.score_model is not None:
            device = self._device_config.device
            return score_with_clip(self._plan.score_model, images, prompt.plain, device, self._listener, on_call)[0]
        return score_with_model(self._plan.jobs[prompt], images, self._listener, on_call)[0]
