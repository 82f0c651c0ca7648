"""Fill in the recorded prompts of the input images of a batch, for lines without a prompt."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from artgen.events import Listener
from artgen.jobs.recorded_prompt import RecordedPrompt, recorded_prompt
from artgen.queue.job_identities import JobIdentities
from artgen.queue.job_templates import JobTemplates
from artgen.queue.plan import BatchPlan
from artgen.registry import default_model
from artgen.spec.base_requests import PromptedImageRequest
from artgen.spec.requests import TASKS
from artgen.spec.settings import PromptSettings, SeriesSettings, settings_of

PROMPT_NAMES = (*(name for name, setting in settings_of(PromptSettings).items() if setting.per_image), "style")

PROMPT_STATE = ("combinatorial", "chosen_prompts", "expansion")
"""Values of an entry that determine the expansion of its prompts: all combinations; the chosen `ChosenPrompts`; the
`PromptExpansion` of a record, whose prompts are final."""

FORMER_JOBS_NOTE = (
    "The ledger contains jobs without a prompt, so the recorded prompts of these images are not used. To use them, "
    "choose another --output."
)


class RecordedPrompts:
    """Read the recorded prompts of input images. Each image is read once.

    Attributes:
        used: path of the image -> recorded prompt, of all lines that use one.
    """

    def __init__(self, templates: JobTemplates, identities: JobIdentities, listener: Listener) -> None:
        self._templates = templates
        self._identities = identities
        self.used: dict[str, RecordedPrompt] = {}
        self._found: dict[tuple[Any, ...], RecordedPrompt | None] = {}
        self._listener = listener

    def settings_for(
        self, plan: BatchPlan, values: Mapping[str, Any], series: SeriesSettings, dropped: Collection[str]
    ) -> Mapping[str, Any]:
        """Return the recorded settings of a line; empty if there are none, or if the ledger has its jobs without them.

        Args:
            plan: receives a note about jobs of the ledger.
            values: settings of the line and defaults.
            series: seeds and number of images of the line.
            dropped: recorded settings that are not used.
        """
        found = self._find(values, dropped)
        if found is None:
            return {}
        prompts = {name: values[name] for name in PROMPT_NAMES if name in values}
        rest = {name: value for name, value in values.items() if name not in (*PROMPT_NAMES, *PROMPT_STATE)}
        if self._identities.is_known(lambda: self._templates.find(rest), prompts, series):
            plan.add_note(FORMER_JOBS_NOTE)
            return {}
        self.used.setdefault(str(values["image"]), found)
        return found.settings

    def _find(self, values: Mapping[str, Any], dropped: Collection[str]) -> RecordedPrompt | None:
        """Return the recorded prompt for a line; None for a line with a prompt, a style, or without an image."""
        task, image = TASKS.get(str(values.get("task"))), values.get("image")
        is_final = values.get("expansion") is not None or values.get("strength") == 0
        if task is None or not issubclass(task.request_class, PromptedImageRequest) or is_final:
            return None
        if "prompt" in values or values.get("style") or not isinstance(image, str | Path):
            return None
        given = frozenset((*values, *dropped))
        model = values.get("model") or default_model(offline=bool(values.get("offline")))
        key = (str(image), model, given)
        if key not in self._found:
            self._found[key] = recorded_prompt(Path(image), given, str(model), self._listener)
        return self._found[key]
