"""Build mask models at tiny sizes: real classes of transformers with random weights."""

import json
from pathlib import Path

import torch
from helpers.tiny_models import VOCABULARY, tokenizer
from transformers import (
    BertConfig,
    BertTokenizer,
    CLIPSegConfig,
    CLIPSegForImageSegmentation,
    CLIPSegProcessor,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2Processor,
    SamConfig,
    SamModel,
    SamProcessor,
    SwinConfig,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

_LAYERS = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}


def _text(tokens: CLIPTokenizer, **changes: int) -> dict[str, int]:
    special = {"bos_token_id": tokens.bos_token_id, "eos_token_id": tokens.eos_token_id}
    return {**_LAYERS, "vocab_size": len(tokens), "num_hidden_layers": 3, "pad_token_id": 1, **special, **changes}


def clipseg(folder: Path, *, scale: float = 0.1) -> Path:
    """Save a CLIPSeg with 3 layers; `scale` multiplies its logits, so that they differ between pixels."""
    tokens = tokenizer(folder)
    torch.manual_seed(0)
    config = CLIPSegConfig(
        text_config=_text(tokens),
        vision_config={**_LAYERS, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8},
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=16,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
        initializer_factor=4.0,
    )
    model = CLIPSegForImageSegmentation(config).eval()
    with torch.no_grad():
        model.decoder.transposed_convolution.weight *= scale
    model.save_pretrained(folder)
    CLIPSegProcessor(ViTImageProcessorPil(size={"height": 32, "width": 32}), tokens).save_pretrained(folder)
    return folder


def owlv2(folder: Path) -> Path:
    """Save an OWLv2."""
    tokens = tokenizer(folder)
    torch.manual_seed(0)
    config = Owlv2Config(
        text_config=_text(tokens, max_position_embeddings=16),
        vision_config={**_LAYERS, "num_hidden_layers": 2, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    Owlv2ForObjectDetection(config).eval().save_pretrained(folder)
    tokens.model_max_length = 16
    Owlv2Processor(Owlv2ImageProcessorPil(size={"height": 32, "width": 32}), tokens).save_pretrained(folder)
    return folder


def grounding_dino(folder: Path) -> Path:
    """Save a Grounding DINO. transformers cannot save one with a single decoder layer: two tensors share memory."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", *VOCABULARY]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokens = BertTokenizer(str(folder / "vocab.txt"))
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config=SwinConfig(
            image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=BertConfig(vocab_size=len(words), num_hidden_layers=1, max_position_embeddings=64, **_LAYERS),
        d_model=32, num_queries=6, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_n_points=2, decoder_n_points=2,
        max_text_len=32,
    )  # fmt: skip
    GroundingDinoForObjectDetection(config).eval().save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    GroundingDinoProcessor(GroundingDinoImageProcessorPil(size=size), tokens).save_pretrained(folder)
    return folder


def sam(folder: Path) -> Path:
    """Save a SAM (version 1)."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={
            "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 64, "patch_size": 8, "window_size": 4, "global_attn_indexes": [0], "num_pos_feats": 8,
            "mlp_dim": 16, "initializer_range": 0.1,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "iou_head_hidden_dim": 16, "iou_head_depth": 2,
        },
    )  # fmt: skip
    SamModel(config).eval().save_pretrained(folder)
    sizes = {"longest_edge": 64}, {"height": 64, "width": 64}
    processor = SamImageProcessorPil(size=sizes[0], pad_size=sizes[1], mask_size={"longest_edge": 16})
    SamProcessor(processor).save_pretrained(folder)
    return folder


def use_hub_layout(folder: Path) -> Path:
    """Replace `processor_config.json` of transformers 5 by the file of older repositories, with their class names."""
    processor = json.loads((folder / "processor_config.json").read_text())
    config = {**processor["image_processor"], "processor_class": processor["processor_class"]}
    config["image_processor_type"] = config["image_processor_type"].removesuffix("Pil")
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    (folder / "processor_config.json").unlink()
    return folder
