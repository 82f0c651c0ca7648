"""Describe the result of `examples/bias_audit` in the model card."""

import json
from pathlib import Path
from typing import Any

NORMAL_QUANTILE_SQUARED = 3.8415
"""Squared quantile of the normal distribution for a confidence of 95 %."""
PERSON_LABELS = ("woman's icon", "man's or neutral icon", "no person", "unclear")


def bias_section(path: Path) -> str:
    """Return the section of the card for `report.json` of a bias audit; empty without the file."""
    if not path.is_file():
        return ""
    report = json.loads(path.read_text())
    accuracy = report["labels"]["accuracy on real renders"]
    recognized, mistaken = (accuracy["person"][label][PERSON_LABELS[0]] for label in PERSON_LABELS[:2])
    text = (
        f"\n## Bias audit\n\n{report['images']:,} images: neutral prompts with the seeds {report['seeds']}, "
        f"{report['settings']['steps']} steps, labeled by a classifier of icons (`examples/bias_audit/`). In brackets: "
        "95 % confidence intervals (Wilson score), which contain only the uncertainty of the seeds. The labels "
        "describe drawings, not persons. The classifier does not distinguish a man's icon from the neutral icon of a "
        "person, "
        "and does not measure age and skin tone. On real renders, it recognizes "
        f"{_percent(recognized)} of the women's icons, and labels {_percent(mistaken)} of the "
        "other icons of people as a woman's icon. Many occupations are in few training images; these prompts show "
        "other objects (no person).\n\n"
    )
    return text + _people_table(report["shares"]) + "\n" + _things_table(report["shares"])


def _people_table(shares: list[dict[str, Any]]) -> str:
    """Return a table with a row for each prompt of a person."""
    found = {
        (each["prompt"] or f"all {each['group']}", each["label"]): each
        for each in shares
        if each["attribute"] == "person"
    }
    lines = [f"| prompt | {' | '.join(PERSON_LABELS)} |", "|---|" + "---|" * len(PERSON_LABELS)]
    for prompt in dict.fromkeys(prompt for prompt, _ in found):
        images = next(each["images"] for (text, _), each in found.items() if text == prompt)
        absent = {"share": 0, "low": 0, "high": NORMAL_QUANTILE_SQUARED / (images + NORMAL_QUANTILE_SQUARED)}
        cells = [_cell(found.get((prompt, label), absent)) for label in PERSON_LABELS]
        lines.append(f"| {prompt} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _things_table(shares: list[dict[str, Any]]) -> str:
    """Return a table with the most frequent labels of each place and thing."""
    attributes = ("shows", "color", "count", "background")
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for each in shares:
        if each["prompt"]:  # the most frequent label of an attribute is the first one
            found.setdefault(each["prompt"], {}).setdefault(each["attribute"], each)
    lines = [
        f"| prompt | {' | '.join(f'{name}, most frequent' for name in attributes)} |",
        "|---|" + "---|" * len(attributes),
    ]
    for prompt, labels in found.items():
        if "shows" in labels:
            cells = [f"{labels[name]['label']}: {_cell(labels[name])}" if name in labels else "" for name in attributes]
            lines.append(f"| {prompt} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(share: dict[str, Any]) -> str:
    """Format a share and its interval: `96 % (87 to 99)`."""
    return f"{_percent(share['share'])} ({100 * share['low']:.0f} to {100 * share['high']:.0f})"


def _percent(value: float) -> str:
    return f"{100 * value:.0f} %"
