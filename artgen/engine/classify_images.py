"""Classify images with an image classifier of transformers, for output filters."""

import math

import torch
from PIL import Image

from artgen.engine.loading.device import resolve_device
from artgen.engine.loading.transformers_models import ModelSource, load_model
from artgen.events import Listener
from artgen.registry.filter_models import FilterModel

CLASSES = ("AutoModelForImageClassification", "AutoImageProcessor")


@torch.inference_mode()
def label_probability(model: FilterModel, image: Image.Image, device: str, listener: Listener) -> float:
    """Return the probability that an image has one of the labels of a policy, 0 to 1; 1 if it is not finite.

    The probabilities of exclusive labels are added. Of labels that do not exclude each other, the highest counts.

    Args:
        model: classifier with all files on the disk.
        image: RGB image of any size. The processor of the model scales and crops it.
        device: device name of artgen.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the classifier is damaged.
    """
    name = model.policy.filter_model or ""
    source = ModelSource("image classifier", name, model.folder, model.files, CLASSES, "Use another filter_model.")
    loaded = load_model(source, resolve_device(device, "fp32").device, listener)
    logits = loaded.run(loaded.processor(images=[image], return_tensors="pt")).logits[0].float()
    probabilities = logits.sigmoid() if model.is_multi_label else logits.softmax(0)
    numbers = [int(number) for number, label in loaded.model.config.id2label.items() if label in model.labels]
    found = probabilities[numbers]
    probability = float(found.max() if model.is_multi_label else found.sum())
    return 1.0 if math.isnan(probability) else min(probability, 1.0)
