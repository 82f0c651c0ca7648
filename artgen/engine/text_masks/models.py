"""Load mask models and compute the score of each pixel for a phrase.

CLIPSeg: Lüddecke and Ecker 2022, https://arxiv.org/abs/2112.10003. Grounding DINO: Liu et al. 2023,
https://arxiv.org/abs/2303.05499. OWLv2: Minderer et al. 2023, https://arxiv.org/abs/2306.09683. SAM: Kirillov et al.
2023, https://arxiv.org/abs/2304.02643.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import transformers
from PIL import Image
from safetensors import SafetensorError

from artgen.engine.loading import free_memory, loaded_models, pipeline_cache
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.registry.mask_models import MaskModel

MIN_BOX_SCORE = 0.02
MAX_BOXES = 16
"""Number of boxes per phrase that SAM segments, the highest scores first."""

SAM_BATCH_SIZE = 4


class Scorer(Protocol):
    """Compute scores of pixels."""

    def scores(self, image: Image.Image, text: str) -> np.ndarray:
        """Return the score of each pixel of an RGB image, float32 of shape (H, W), 0 to 1."""


@dataclass(frozen=True)
class _Loaded:
    """Store a model of transformers with its processor.

    Attributes:
        model: module in evaluation mode, fp32.
        processor: processor of transformers without torchvision.
        device: device name of torch.
    """

    model: Any
    processor: Any
    device: str

    @property
    def components(self) -> dict[str, Any]:
        """Return the modules, for the count of memory."""
        return {"model": self.model}

    def run(self, inputs: Any) -> Any:
        """Return the outputs of the model for the tensors of a processor."""
        with torch.inference_mode():
            return self.model(**{name: value.to(self.device) for name, value in inputs.items()})


_CLASSES: dict[str, tuple[str, str]] = {
    "clipseg": ("CLIPSegForImageSegmentation", "CLIPSegProcessor"),
    "grounding-dino": ("GroundingDinoForObjectDetection", "GroundingDinoProcessor"),
    "owlv2": ("Owlv2ForObjectDetection", "Owlv2Processor"),
    "sam": ("SamModel", "SamProcessor"),
}


def load_scorer(model: MaskModel, device: str, listener: Listener) -> Scorer:
    """Load a mask model, or reuse the loaded one.

    Args:
        model: model with all files on the disk.
        device: device name of torch.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the model is damaged.
    """
    loaded = _load_cached(model, device, listener)
    if model.segmenter is None:
        return ClipSegScorer(loaded)
    return BoxScorer(loaded, model.model_type, _load_cached(model.segmenter, device, listener))


@dataclass(frozen=True)
class ClipSegScorer:
    """Compute the scores of CLIPSeg, upscaled from the size of the model."""

    loaded: _Loaded

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

    detector: _Loaded
    model_type: str
    segmenter: _Loaded

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
        with torch.inference_mode():
            outputs = self.segmenter.model(
                **{name: value.to(self.segmenter.device) for name, value in inputs.items()}, multimask_output=False
            )
        masks = self.segmenter.processor.image_processor.post_process_masks(
            outputs.pred_masks.cpu(), sizes["original_sizes"], sizes["reshaped_input_sizes"]
        )[0]
        return [mask.numpy() for mask in masks[:, 0]]


def _load_cached(model: MaskModel, device: str, listener: Listener) -> _Loaded:
    key = ("mask model", model.model_type, device)
    entry = loaded_models.find(model, key)
    if entry is None:
        loaded_models.reserve_part()
        listener(Loading("mask model"))
        loaded = _Loaded(*_load(model), device)
        loaded.model.to(device)
        device_bytes = free_memory.count_bytes(loaded.model)
        description = loaded_models.LoadedModel(model.name, device, "fp32", sum(device_bytes.values()))
        hashes = loaded_models.file_hashes(model.files)
        entry = loaded_models.Entry(key, model.files, description, loaded, device_bytes, hashes=hashes, is_part=True)
        loaded_models.add(entry)
    entry.active, entry.used = False, True
    loaded_value: _Loaded = entry.value
    return loaded_value


def _load(model: MaskModel) -> tuple[Any, Any]:
    """Return the model and its processor.

    Raises:
        ModelUnavailableError: the files are damaged or do not fit each other.
    """
    names = _CLASSES[model.model_type]
    load_model: Callable[..., Any] = getattr(transformers, names[0]).from_pretrained
    load_processor: Callable[..., Any] = getattr(transformers, names[1]).from_pretrained
    try:
        with pipeline_cache.silence_libraries():
            options = {"local_files_only": True, "trust_remote_code": False}
            module, report = load_model(
                model.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
            processor = load_processor(model.folder, **options)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _load_error(model, first_line(error).rstrip(".")) from error
    if missing := sorted(report["missing_keys"]):
        raise _load_error(model, f"its weights lack the tensor {missing[0]}")
    return module.eval(), processor


def _load_error(model: MaskModel, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot load the mask model '{model.name}': {reason}.", "Use another copy of the model."
    )
