"""Build the models of preprocessors at tiny sizes: real classes of transformers with random weights."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

_STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _depth_anything() -> tuple[Any, Any]:
    backbone = transformers.Dinov2Config(
        patch_size=14, image_size=56, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, mlp_ratio=2,
        reshape_hidden_states=False, out_features=_STAGES, apply_layernorm=True,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    size = {"height": 56, "width": 56}
    processor = transformers.DPTImageProcessorPil(size=size, keep_aspect_ratio=True, ensure_multiple_of=14)
    return transformers.DepthAnythingForDepthEstimation(config), processor


def _dpt() -> tuple[Any, Any]:
    config = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
        initializer_range=0.5,
    )  # fmt: skip
    processor = transformers.DPTImageProcessorPil(size={"height": 64, "width": 64})
    return transformers.DPTForDepthEstimation(config), processor


def _segformer() -> tuple[Any, Any]:
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], decoder_hidden_size=8, num_labels=150
    )
    processor = transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64})
    return transformers.SegformerForSemanticSegmentation(config), processor


def _upernet() -> tuple[Any, Any]:
    backbone = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], out_features=_STAGES)
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=8, auxiliary_in_channels=8, auxiliary_channels=8, num_labels=150
    )
    processor = transformers.SegformerImageProcessorPil(size={"height": 64, "width": 64})
    return transformers.UperNetForSemanticSegmentation(config), processor


def _mask2former() -> tuple[Any, Any]:
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2, out_features=_STAGES
    )
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=32,
        dim_feedforward=32, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=5, num_labels=150,
    )  # fmt: skip
    processor = transformers.Mask2FormerImageProcessorPil(size={"height": 64, "width": 64})
    model = transformers.Mask2FormerForUniversalSegmentation(config)
    torch.nn.init.normal_(model.class_predictor.weight, std=8.0)  # the queries select several classes
    for layer in model.model.transformer_module.decoder.mask_predictor.mask_embedder.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=1.0)
    return model, processor


def _rt_detr() -> tuple[Any, Any]:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 8, 8, 8],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = transformers.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=16,
        encoder_in_channels=[8, 8, 8],
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        d_model=16,
        decoder_in_channels=[16, 16, 16],
        decoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        num_queries=5,
        num_denoising=0,
        id2label={0: "person"},
        label2id={"person": 0},
    )
    model = transformers.RTDetrForObjectDetection(config)
    for head in [*model.model.decoder.class_embed, model.model.enc_score_head]:
        torch.nn.init.constant_(head.bias, 2.0)  # each query is a person
    return model, transformers.RTDetrImageProcessorPil(size={"height": 64, "width": 64})


def _vitpose() -> tuple[Any, Any]:
    backbone = transformers.VitPoseBackboneConfig(
        image_size=[64, 48], patch_size=[16, 16], hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        out_indices=[2], mlp_ratio=2,
    )  # fmt: skip
    config = transformers.VitPoseConfig(backbone_config=backbone, num_labels=17, scale_factor=4)
    model = transformers.VitPoseForPoseEstimation(config)
    torch.nn.init.constant_(model.head.conv.bias, 1.0)  # each point has a score above the threshold
    return model, transformers.VitPoseImageProcessorPil(size={"height": 64, "width": 48})


BUILDERS: Mapping[str, Callable[[], tuple[Any, Any]]] = {
    "depth_anything": _depth_anything,
    "dpt": _dpt,
    "mask2former": _mask2former,
    "rt_detr": _rt_detr,
    "segformer": _segformer,
    "upernet": _upernet,
    "vitpose": _vitpose,
}
"""Functions that return a model and its processor, by `model_type` of the configuration."""


def save(model_type: str, folder: Path) -> Path:
    """Save a model with random weights in a folder, with the name of the processor that repositories on the hub have.

    Args:
        model_type: key of `BUILDERS`.
        folder: new folder.
    """
    torch.manual_seed(0)
    for part in BUILDERS[model_type]():
        part.save_pretrained(folder)
    file = folder / "preprocessor_config.json"
    config = json.loads(file.read_text())
    config["image_processor_type"] = config["image_processor_type"].removesuffix("Pil")
    file.write_text(json.dumps(config))
    return folder
