"""Train a classifier that names the kind of a landscape, for the evaluation. The generator never uses it.

The training images and the test images are renders of landscapes of two other seeds, 40 % of them with an object.
Writes `scene_classifier.pt`.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from concept_classifier import save_classifier, train_classifier
from concepts import read_concepts
from landscape_kinds import KINDS
from render import load_sprites
from scenes import render_scene
from stages import StageGenerator
from torch import Tensor

OBJECT_FRACTION = 0.4


def render_landscapes(generator: StageGenerator, count: int) -> tuple[np.ndarray, Tensor]:
    """Return new renders of landscapes, 64 px, and the indices of their kinds in `KINDS`."""
    generator.kinds = {"landscape": 1 - OBJECT_FRACTION, "stage": OBJECT_FRACTION}
    scenes = [generator.scene() for _ in range(count)]
    kinds = list(KINDS)
    labels = [kinds.index(scene.background.split(",")[0]) for scene in scenes]
    return np.stack([render_scene(scene, generator.sprites, 64) for scene in scenes]), torch.tensor(labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--images", type=int, default=12_000)
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    concepts, sprites = read_concepts(options.data, options.work), load_sprites(options.work)
    images, labels = render_landscapes(StageGenerator(concepts, sprites, 9001), options.images)
    classifier = train_classifier(list(KINDS), images, labels, options.passes)
    test_images, truth = render_landscapes(StageGenerator(concepts, sprites, 4243), max(1, options.images // 8))
    save_classifier(classifier, test_images, truth, options.work / "scene_classifier.pt")


if __name__ == "__main__":
    main()
