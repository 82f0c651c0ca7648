"""Find the parameters text of AUTOMATIC1111 in texts that can also be other prompts."""

import re

# Each pattern has a bounded number of attempts at each position, so that the time is linear.
_PARAMETERS_PATTERN = re.compile(r"\s{0,100}Steps:\s{0,10}\d{1,6}\s{0,10},\s{0,10}\w")
_PASTED_PATTERN = re.compile(r"\sSteps:\s{0,10}\d{1,6}\s{0,10},\s{0,10}\w[\w ]{0,40}:")
_TEMPLATE_PATTERN = re.compile(r"\s{0,100}(?:Negative )?Template:")


def is_parameters_line(line: str) -> bool:
    """Return whether a line begins with `Steps: 20, NAME`."""
    return _PARAMETERS_PATTERN.match(line) is not None


def is_template_line(line: str) -> bool:
    """Return whether a line begins with `Template:` or `Negative Template:`, which follow the parameters."""
    return _TEMPLATE_PATTERN.match(line) is not None


def has_pasted_parameters(line: str) -> bool:
    """Return whether a line contains a prompt and parameters, as pasted without line breaks."""
    return _PASTED_PATTERN.search(line) is not None


def has_parameters(text: str) -> bool:
    """Return whether a text contains the parameters of AUTOMATIC1111."""
    return any(is_parameters_line(line) or has_pasted_parameters(line) for line in text.splitlines())
