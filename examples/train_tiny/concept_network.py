"""Define the network of the concept classifier, and classify images with it.

The module needs only numpy, torch and safetensors, not the packages that render the training images.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class ConceptClassifier(nn.Module):
    """Classify 64 px images with a residual network. `names` are its classes (icon names)."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 5, 2, 2), nn.BatchNorm2d(32), nn.ReLU()]
        for before, after in ((32, 64), (64, 128), (128, 256)):
            layers += [nn.Conv2d(before, after, 3, 2, 1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, 1, 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(256 * 4, len(names))

    def features(self, images: Tensor) -> Tensor:
        """Return features (n, 1024) for images (n, 3, 64, 64) in [-1, 1]."""
        return functional.adaptive_avg_pool2d(self.layers(images), 2).flatten(1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (n, classes) for images (n, 3, 64, 64) in [-1, 1]."""
        logits: Tensor = self.head(self.features(images))
        return logits


def prepare(images: np.ndarray) -> Tensor:
    """Convert uint8 (n, side, side, 3) to float32 (n, 3, 64, 64) in [-1, 1]."""
    batch = torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1
    if batch.shape[-1] != 64:
        batch = functional.interpolate(batch, (64, 64), mode="area")
    return batch


@torch.no_grad()
def probabilities(classifier: ConceptClassifier, images: np.ndarray) -> Tensor:
    """Return class probabilities, shape (n, classes)."""
    classifier.eval()
    parts = [classifier(prepare(images[i : i + 200])) for i in range(0, len(images), 200)]
    return torch.cat(parts).softmax(1)


def load_classifier(path: Path) -> ConceptClassifier:
    """Load the trained classifier."""
    content = torch.load(path, map_location="cpu", weights_only=False)
    classifier = ConceptClassifier(content["names"])
    classifier.load_state_dict(content["module"])
    return classifier.eval()
