"""Load the models of preprocessors with the processors of transformers that use Pillow, and cache them."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from safetensors import SafetensorError

from artgen.engine.loading import free_memory, loaded_models, pipeline_cache
from artgen.engine.loading.oom import first_line, is_device_lost, is_oom
from artgen.errors import ModelUnavailableError
from artgen.events import Listener, Loading
from artgen.registry.model_configs import read_config
from artgen.registry.preprocessors import Preprocessor

CLASSES = {
    "depth_anything": ("DepthAnythingForDepthEstimation", "DPTImageProcessorPil"),
    "dpt": ("DPTForDepthEstimation", "DPTImageProcessorPil"),
    "rt_detr": ("RTDetrForObjectDetection", "RTDetrImageProcessorPil"),
    "vitpose": ("VitPoseForPoseEstimation", "VitPoseImageProcessorPil"),
    "upernet": ("UperNetForSemanticSegmentation", "SegformerImageProcessorPil"),
    "segformer": ("SegformerForSemanticSegmentation", "SegformerImageProcessorPil"),
    "mask2former": ("Mask2FormerForUniversalSegmentation", "Mask2FormerImageProcessorPil"),
}
"""Classes of the model and of its processor, by `model_type` of the configuration."""


@dataclass(frozen=True)
class LoadedPreprocessor:
    """Store a model of transformers with its processor.

    Attributes:
        model: module in evaluation mode, fp32.
        processor: image processor that uses Pillow.
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
        """Return the outputs of the model for the tensors of a processor, on the CPU's or the model's device."""
        with torch.inference_mode():
            return self.model(**{name: value.to(self.device) for name, value in inputs.items()})


def load_preprocessor(found: Preprocessor, device: str, listener: Listener) -> LoadedPreprocessor:
    """Load a preprocessor, or reuse the loaded one.

    Args:
        found: preprocessor with all files on the disk.
        device: device name of torch.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the model is damaged.
    """
    key = ("preprocessor", found.name, device)
    entry = loaded_models.find(found, key)
    if entry is None:
        loaded_models.reserve_part()
        listener(Loading("preprocessor"))
        loaded = _load(found, device)
        device_bytes = free_memory.count_bytes(loaded.model)
        description = loaded_models.LoadedModel(found.name, device, "fp32", sum(device_bytes.values()))
        hashes = loaded_models.file_hashes(found.files)
        entry = loaded_models.Entry(key, found.files, description, loaded, device_bytes, hashes=hashes, is_part=True)
        loaded_models.add(entry)
    entry.active, entry.used = False, True
    value: LoadedPreprocessor = entry.value
    return value


def _load(found: Preprocessor, device: str) -> LoadedPreprocessor:
    if found.folder is None:
        raise ValueError("the preprocessor is not downloaded")
    names = CLASSES[read_config(found.folder / "config.json")["model_type"]]
    options = {"local_files_only": True}
    try:
        with pipeline_cache.silence_libraries():
            module, report = getattr(transformers, names[0]).from_pretrained(
                found.folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
            processor = getattr(transformers, names[1]).from_pretrained(found.folder, **options)
    except (SafetensorError, OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        if is_oom(error) or is_device_lost(error):
            raise
        raise _load_error(found, first_line(error).rstrip(".")) from error
    if missing := sorted(report["missing_keys"]):
        raise _load_error(found, f"its weights lack the tensor {missing[0]}")
    return LoadedPreprocessor(module.eval().to(device), processor, device)


def _load_error(found: Preprocessor, reason: str) -> ModelUnavailableError:
    return ModelUnavailableError(
        f"Cannot load the preprocessor '{found.entry.source}': {reason}.", "Delete its folder in the cache."
    )
