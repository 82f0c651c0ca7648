"""Load the models of preprocessors."""

from artgen.engine.loading.transformers_models import ModelSource, ModelWithProcessor, load_model
from artgen.events import Listener
from artgen.registry.preprocessors import Preprocessor
from artgen.registry.transformers_models import read_model_type

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


def load_preprocessor(found: Preprocessor, device: str, listener: Listener) -> ModelWithProcessor:
    """Load a preprocessor, or reuse the loaded one.

    Args:
        found: preprocessor with all files on the disk.
        device: device name of torch.
        listener: receives the event of the loading.

    Raises:
        ModelUnavailableError: the model is damaged.
    """
    if found.folder is None:
        raise ValueError("the preprocessor is not downloaded")
    classes = CLASSES[read_model_type(found.folder)]
    name = str(found.folder) if found.is_local else found.entry.source
    hint = "Use another copy of the model." if found.is_local else "Delete its folder in the cache."
    source = ModelSource("preprocessor", name, found.folder, found.files, classes, hint)
    return load_model(source, device, listener)
