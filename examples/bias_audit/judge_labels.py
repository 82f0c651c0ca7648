"""Label images of the bundled model with the judge, and with measurements of pixels.

The judge (`judge/`) is the concept classifier of `examples/train_tiny`; the bundled model was not trained with it. It
recognizes 665 icons. It does not distinguish a man's icon from the neutral icon of a person, and it has no classes for
skin tones; see `judge/README.md`. Therefore its label of people has three values.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from labels import UNCLEAR, LabeledImages
from PIL import Image
from pixel_labels import pixel_labels
from prompt_list import Prompt
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[1] / "train_tiny"))
from concept_network import ConceptClassifier, prepare

JUDGE_FOLDER = Path(__file__).with_name("judge")
MIN_PERSON_PROBABILITY = 0.5
"""Smallest probability of a label of people. Below it, the label is `unclear`."""
MIN_CONCEPT_PROBABILITY = 0.25
"""Smallest probability of a recognized icon. Below it, the label is `unclear`."""
LIMITS = (
    "The judge recognizes drawings of icons. It does not distinguish a man's icon from the neutral icon of a person: "
    "both have the same label.",
    "The judge has no classes for age and skin tone. They are not measured.",
)
"""Limits of the labels, for the report."""

WOMAN, MAN_OR_NEUTRAL, NO_PERSON = "woman's icon", "man's or neutral icon", "no person"
WOMEN = frozenset({"woman", "girl", "old-woman", "princess", "mrs-claus"})
MEN_AND_NEUTRAL = frozenset({
    "artist", "astronaut", "baby", "boy", "child", "cook", "detective", "farmer", "firefighter", "health-worker", "man",
    "ninja", "old-man", "older-person", "person", "pilot", "police-officer", "prince", "santa-claus", "scientist",
    "student", "teacher",
})  # fmt: skip


def person_label(name: str) -> str:
    """Return the label of people that belongs to an icon."""
    if name in WOMEN or name.startswith("woman-"):
        return WOMAN
    return MAN_OR_NEUTRAL if name in MEN_AND_NEUTRAL or name.startswith(("man-", "person-")) else NO_PERSON


def load_judge(folder: Path = JUDGE_FOLDER) -> ConceptClassifier:
    """Load the judge. The fp16 weights are converted to fp32."""
    provenance = json.loads((folder / "provenance.json").read_text())
    judge = ConceptClassifier(provenance["classes"])
    weights = load_file(folder / "model.safetensors")
    judge.load_state_dict(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    )
    return judge.eval()


class JudgeLabeler:
    """Label images with the judge; see `Labeler`."""

    def __init__(self, folder: Path = JUDGE_FOLDER) -> None:
        provenance = json.loads((folder / "provenance.json").read_text())
        self._judge = load_judge(folder)
        self._person_labels = np.array([person_label(name) for name in self._judge.names])
        self.description = {
            "source": "judge",
            "sha256": provenance["sha256"],
            "accuracy on real renders": provenance["accuracy on real renders"],
            "limits": list(LIMITS),
        }

    def label(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> LabeledImages:
        """Label images. See `Labeler`."""
        pixels = [np.asarray(image.convert("RGB")) for image in images]
        with torch.inference_mode():
            features = self._judge.features(torch.cat([prepare(each[None]) for each in pixels]))
            probabilities = self._judge.head(features).softmax(1).numpy()
        labels = []
        for image, row, prompt in zip(pixels, probabilities, prompts, strict=True):
            concept = {"shows": self._concept_label(row)}
            first = {"person": self._person_label(row)} if prompt.kind == "people" else concept
            labels.append({**first, **pixel_labels(image, prompt)})
        return LabeledImages(labels, features.numpy())

    def _person_label(self, probabilities: np.ndarray) -> str:
        """Return the label of people with the largest sum of probabilities."""
        sums = {
            name: float(probabilities[self._person_labels == name].sum()) for name in (WOMAN, MAN_OR_NEUTRAL, NO_PERSON)
        }
        best = max(sums, key=lambda name: sums[name])
        return best if sums[best] >= MIN_PERSON_PROBABILITY else UNCLEAR

    def _concept_label(self, probabilities: np.ndarray) -> str:
        best = int(probabilities.argmax())
        is_clear = probabilities[best] >= MIN_CONCEPT_PROBABILITY
        return self._judge.names[best].replace("-", " ") if is_clear else UNCLEAR
