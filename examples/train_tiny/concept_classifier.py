"""Train a classifier that names the concept in an image, for the evaluation. The generator never uses it.

The training images are renders of single objects with random shifts, scales, blur, noise and color casts. The test
images are renders with backgrounds, places and sizes of another seed. Writes `concept_classifier.pt`.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from concept_network import ConceptClassifier, prepare, probabilities
from concepts import read_concepts
from render import load_sprites
from scene_generator import SceneGenerator
from scenes import Scene, Thing, render_scene
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import convert_conv2d_weight_memory_format


def augment(batch: Tensor) -> Tensor:
    """Apply a random scale and shift per image, blur to half of the images, noise, and a slight color cast."""
    count = len(batch)
    scale = torch.empty(count).uniform_(0.85, 1.2)
    grid = torch.zeros(count, 2, 3)
    grid[:, 0, 0] = grid[:, 1, 1] = scale
    grid[:, :, 2] = torch.empty(count, 2).uniform_(-0.12, 0.12)
    field = functional.affine_grid(grid, list(batch.shape), align_corners=False)
    batch = functional.grid_sample(batch, field, padding_mode="border", align_corners=False)
    half = count // 2
    small = functional.interpolate(batch[:half], scale_factor=0.5, mode="area")
    blurred = functional.interpolate(small, scale_factor=2, mode="bilinear")
    batch = torch.cat([blurred, batch[half:]])
    batch = batch + 0.06 * torch.randn_like(batch) + 0.05 * torch.randn(count, 3, 1, 1)
    return batch * torch.empty(count, 1, 1, 1).uniform_(0.85, 1.1)


def render_objects(generator: SceneGenerator, names: list[str], count: int, plain: bool) -> tuple[np.ndarray, Tensor]:
    """Return new renders of single objects: images and class indices."""
    images, labels = [], []
    for _ in range(count):
        i = int(generator.random.integers(len(names)))
        thing = generator.one(names[i])
        size = generator.random.uniform(0.6, 0.95)
        x, y = 0.5 + generator.random.uniform(-0.06, 0.06, 2)
        thing = Thing(thing.concept, thing.style, x, y, size)
        scene = Scene("one", (thing,), generator.background(1.0 if plain else 0.6))
        images.append(render_scene(scene, generator.sprites, 64))
        labels.append(i)
    return np.stack(images), torch.tensor(labels)


def train_classifier(names: list[str], images: np.ndarray, labels: Tensor, passes: int) -> ConceptClassifier:
    """Train a classifier.

    Args:
        names: classes.
        images: uint8 of shape (n, 64, 64, 3).
        labels: class indices, int64 of shape (n,).
        passes: number of passes through all images.
    """
    classifier = convert_conv2d_weight_memory_format(ConceptClassifier(names), torch.channels_last)
    steps = passes * (len(images) // 64)
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3, weight_decay=0.02)
    lr_scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    start_time = time.monotonic()
    for step in range(steps):
        rows = torch.randint(0, len(labels), (64,))
        batch = augment(prepare(images[rows.numpy()]))
        with torch.autocast("cpu", torch.bfloat16):
            logits = classifier(batch.contiguous(memory_format=torch.channels_last))
        loss = functional.cross_entropy(logits.float(), labels[rows], label_smoothing=0.05)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        lr_scheduler.step()
        if step % 200 == 0:
            print(step, round(float(loss.detach()), 3), round(time.monotonic() - start_time), flush=True)
    return classifier


def save_classifier(classifier: ConceptClassifier, images: np.ndarray, truth: Tensor, path: Path) -> None:
    """Measure the accuracy on real renders, and write the classifier and its figures to a file."""
    correct = probabilities(classifier, images).topk(5).indices == truth[:, None]
    figures = {
        "classes": len(classifier.names),
        "real renders": len(truth),
        "top 1": round(float(correct[:, 0].float().mean()), 4),
        "top 5": round(float(correct.any(1).float().mean()), 4),
    }
    print(json.dumps(figures))
    torch.save({"module": classifier.state_dict(), "names": classifier.names, "figures": figures}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/train_tiny/raw"))
    parser.add_argument("--work", type=Path, default=Path("data/train_tiny"))
    parser.add_argument("--images", "--pictures", type=int, default=16_000)
    parser.add_argument("--passes", type=int, default=6)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    concepts = read_concepts(options.data, options.work)
    generator = SceneGenerator(concepts, load_sprites(options.work), 777)
    images, labels = render_objects(generator, generator.core, options.images, plain=False)
    classifier = train_classifier(generator.core, images, labels, options.passes)
    test_images, truth = render_objects(
        SceneGenerator(concepts, generator.sprites, 4242), generator.core, max(1, options.images // 8), plain=False
    )
    save_classifier(classifier, test_images, truth, options.work / "concept_classifier.pt")


if __name__ == "__main__":
    main()
