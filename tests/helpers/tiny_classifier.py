"""Build an image classifier at a tiny size: the real class of transformers. It finds images with a dark mean color."""

from pathlib import Path

import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

LABELS = ("normal", "dark")


def classifier(folder: Path, labels: tuple[str, ...] = LABELS, **config: object) -> Path:
    """Save a ResNet with 1 stage whose logits are the mean of the pixels, for the first label, and its negative.

    The probability of the second label is below 0.5 for bright images and above 0.5 for dark images.
    """
    torch.manual_seed(0)
    model = ResNetForImageClassification(
        ResNetConfig(
            embedding_size=8,
            hidden_sizes=[8],
            depths=[1],
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            **config,
        )
    ).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "normalization" not in name:
                value.fill_(0.0)
        embedder = model.resnet.embedder.embedder.convolution
        embedder.weight[:, :, 3, 3] = 1 / 3  # the mean of the channels, in the center of the kernel
        head = model.classifier[1]
        head.weight[0], head.weight[1] = 1.0, -1.0
        head.bias[:] = torch.tensor([-4.0, 4.0])
    model.save_pretrained(folder)
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32}, image_mean=[0.0] * 3, image_std=[1.0] * 3)
    processor.save_pretrained(folder)
    return folder
