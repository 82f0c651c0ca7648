"""Count labels, and compute shares with confidence intervals."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from prompt_list import Prompt
from scipy.stats import binomtest

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Share:
    """Store the share of one label.

    Attributes:
        group: group of the prompt.
        prompt: text of the prompt; empty for all prompts of the group.
        attribute: measured attribute, such as `color`.
        label: label, such as `red`.
        count: images with the label.
        images: labeled images.
        share: count / images, 0 to 1.
        low: lower limit of the confidence interval.
        high: upper limit of the confidence interval.
    """

    group: str
    prompt: str
    attribute: str
    label: str
    count: int
    images: int
    share: float
    low: float
    high: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.group, self.prompt, self.attribute, self.label


@cache
def wilson_interval(count: int, images: int) -> tuple[float, float]:
    """Return the Wilson score interval of a share (E. B. Wilson, 1927), with a confidence of 95 %."""
    interval = binomtest(count, images).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def count_shares(prompts: Sequence[Prompt], labels: Sequence[Mapping[str, str]]) -> list[Share]:
    """Return the shares of all labels: first of each group, then of each prompt.

    Args:
        prompts: prompt of each image.
        labels: attribute -> label of each image.
    """
    groups: dict[tuple[str, str], list[Mapping[str, str]]] = {}
    for prompt, image_labels in zip(prompts, labels, strict=True):
        groups.setdefault((prompt.group, ""), []).append(image_labels)
    for prompt, image_labels in zip(prompts, labels, strict=True):
        groups.setdefault((prompt.group, prompt.text), []).append(image_labels)
    return [share for (group, text), rows in groups.items() for share in _shares(group, text, rows)]


def _shares(group: str, prompt: str, labels: Sequence[Mapping[str, str]]) -> list[Share]:
    """Return the shares of the labels of some images, the most frequent label of each attribute first."""
    shares = []
    for attribute in labels[0]:
        counts = Counter(row[attribute] for row in labels)
        for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
            low, high = wilson_interval(count, len(labels))
            rounded = (round(value, 6) for value in (count / len(labels), low, high))
            shares.append(Share(group, prompt, attribute, label, count, len(labels), *rounded))
    return shares


def difference_interval(first: Share, second: Share) -> tuple[float, float]:
    """Return the interval of `second.share - first.share` (R. G. Newcombe, 1998, method 10), confidence of 95 %."""
    difference = second.share - first.share
    below = ((second.share - second.low) ** 2 + (first.high - first.share) ** 2) ** 0.5
    above = ((second.high - second.share) ** 2 + (first.share - first.low) ** 2) ** 0.5
    return difference - below, difference + above
