"""Define the function `explain_prompt`."""

from typing import Unpack

from artgen.api.arguments import api_function
from artgen.api.call import start_call
from artgen.api.keyword_types import ExplainPromptKeywords
from artgen.api.prompt_report import report_prompt
from artgen.jobs.prompt_explanation import PromptReport
from artgen.spec.requests import Txt2Img


@api_function("explain_prompt")
def explain_prompt(prompt: str, **settings: Unpack[ExplainPromptKeywords]) -> PromptReport:
    """Return how a prompt is read: choices of wildcards, LoRAs, weights, and tokens in each range of steps.

    No image is generated, and models are not downloaded.

    Args:
        prompt: Text prompt.

    Raises:
        UsageError, InputFileError, RefusedError: The prompt is missing, or a value is invalid.
    """
    with start_call("explain_prompt", settings) as call:
        return report_prompt(Txt2Img(prompt=prompt, **call.values), call.listener)
