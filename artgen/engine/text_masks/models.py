"""Load mask models and compute the score of each pixel for a phrase.

CLIPSeg: Lüddecke and Ecker 2022, https://arxiv.org/abs/2112.10003. Grounding DINO: Liu et al. 2023,
https://arxiv.org/abs/2303.05499. OWLv2: Minderer et al. 2023, https://arxiv.org/abs/2306.09683. SAM: Kirillov et al.
2023, https://arxiv.org/abs/2304.02643.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from artgen.engine.loading.transformers_models import ModelSource, ModelWithProcessor, load_model
from artgen.events import Listener
from artgen.registry.mask_models import MaskModel

MIN_BOX_SCORE = 0.02
MAX_BOXES = 16
"""Number of boxes per phrase that SAM segments, the highest scores first."""

SAM_BATCH_SIZE = 4


class Scorer(Protocol):
    """Compute scores of pixels."""

    def scores(self, image: Image.Image, text: str) -> np.ndarray:
        """Return the score of each pixel of an RGB image, float32 of shape (H, W), 0 to 1."""


CLASSES = {
    "clipseg": ("CLIPSegForImageSegmentation", "CLIPSegProcessor"),
    "grounding-dino": ("GroundingDinoForObjectDetection", "GroundingDinoProcessor"),
    "owlv2": ("Owlv2ForObjectDetection", "Owlv2Processor"),
    "sam": ("SamModel", "SamProcessor"),
}
"""Classes of the model and of its processor, by `model_type` of the configuration."""


def load_scorer(model: MaskModel, device: str, listener: Listener) -> Scorer:
    """Load a mask model, or reuse the loaded one.

    Args:
        model: model with all files on the disk.
        device: device name of torch.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the model is damaged.
    """
    loaded = _load(model, device, listener)
    if model.segmenter is None:
        return ClipSegScorer(loaded)
    return BoxScorer(loaded, model.model_type, _load(model.segmenter, device, listener))


@dataclass(frozen=True)
class ClipSegScorer:
    """Compute the scores of CLIPSeg, upscaled from the size of the model."""

    loaded: ModelWithProcessor

    def scores(self, image: Image.Image, text: str) -> np.ndarray:
        """Return the score of each pixel; see `Scorer`."""
        processor, config = self.loaded.processor, self.loaded.model.config
        inputs = processor(
            text=[text],
            images=[image],
            padding=True,
            truncation=True,
            max_length=config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        logits = self.loaded.run(inputs).logits
        scores = torch.sigmoid(logits.float()).reshape(logits.shape[-2:]).cpu().numpy()
        resized = Image.fromarray(scores, "F").resize(image.size, Image.Resampling.BILINEAR)
        clamped: np.ndarray = np.clip(np.asarray(resized), 0, 1)
        return clamped


@dataclass(frozen=True)
class BoxScorer:
    """Compute scores from the boxes of a detector: the pixels that SAM selects in a box have the score of the box."""

    detector: ModelWithProcessor
    model_type: str
    segmenter: ModelWithProcessor

    def scores(self, image: Image.Image, text: str) -> np.ndarray:
        """Return the score of each pixel; see `Scorer`."""
        found = np.zeros((image.height, image.width), np.float32)
        boxes = self._boxes(image, text)
        for start in range(0, len(boxes), SAM_BATCH_SIZE):
            batch = boxes[start : start + SAM_BATCH_SIZE]
            masks = self._segment(image, [box for _, box in batch])
            for (score, _), mask in zip(batch, masks, strict=True):
                found = np.maximum(found, mask * np.float32(score))
        return found

    def _boxes(self, image: Image.Image, text: str) -> list[tuple[float, list[float]]]:
        """Return the scores and the boxes (left, top, right, bottom in pixels), the highest score first."""
        processor = self.detector.processor
        size = [(image.height, image.width)]
        if self.model_type == "grounding-dino":
            inputs = processor(images=[image], text=[f"{text.lower().strip(' .')}."], return_tensors="pt")
            outputs = self.detector.run(inputs)
            results = processor.post_process_grounded_object_detection(
                outputs, inputs["input_ids"], threshold=MIN_BOX_SCORE, target_sizes=size
            )
        else:
            length = self.detector.model.config.text_config.max_position_embeddings
            inputs = processor(
                images=[image], text=[[text]], truncation=True, max_length=length, return_tensors="pt"
            )  # fmt: skip
            outputs = self.detector.run(inputs)
            results = processor.post_process_grounded_object_detection(
                outputs, threshold=MIN_BOX_SCORE, target_sizes=size
            )
        pairs = zip(results[0]["scores"].tolist(), results[0]["boxes"].tolist(), strict=True)
        limits = (image.width, image.height) * 2
        clamped = [
            (score, [min(max(value, 0.0), float(limit)) for value, limit in zip(box, limits, strict=True)])
            for score, box in pairs
        ]
        return sorted(clamped, key=lambda pair: -pair[0])[:MAX_BOXES]

    def _segment(self, image: Image.Image, boxes: list[list[float]]) -> list[np.ndarray]:
        """Return the mask of the object in each box, boolean of shape (H, W)."""
        inputs = self.segmenter.processor(images=[image], input_boxes=[boxes], return_tensors="pt")
        sizes = {name: inputs.pop(name) for name in ("original_sizes", "reshaped_input_sizes")}
        inputs = {name: value.float() for name, value in inputs.items()}
        outputs = self.segmenter.run(inputs, multimask_output=False)
        masks = self.segmenter.processor.image_processor.post_process_masks(
            outputs.pred_masks.cpu(), sizes["original_sizes"], sizes["reshaped_input_sizes"]
        )[0]
        return [mask.numpy() for mask in masks[:, 0]]


def _load(model: MaskModel, device: str, listener: Listener) -> ModelWithProcessor:
    hint = "Use another copy of the model."
    source = ModelSource("mask model", model.name, model.folder, model.files, CLASSES[model.model_type], hint)
    return load_model(source, device, listener)
