"""Score images with CLIP: the cosine similarity of the embeddings of the image and of the prompt.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, arXiv 2103.00020.
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image

from artgen.engine.loading.transformers_models import ModelSource, load_model
from artgen.events import Listener
from artgen.registry.score_models import ScoreModel

CLASSES = ("CLIPModel", "CLIPProcessor")


@torch.inference_mode()
def clip_scores(
    model: ScoreModel,
    images: Sequence[Image.Image],
    prompt: str,
    device: str,
    listener: Listener,
    on_model_call: Callable[[], object],
) -> list[float]:
    """Return the score of each image, -1 to 1.

    Args:
        model: model with all files on the disk.
        images: images of any size. The processor of the model scales and crops them.
        prompt: text without weights. CLIP reads its first 77 tokens.
        device: device name of torch.
        listener: receives the event of the loading.
        on_model_call: called after each image.

    Raises:
        ModelUnavailableError: the model is damaged.
    """
    source = ModelSource("CLIP model", model.name, model.folder, model.files, CLASSES, "Use another copy of the model.")
    loaded = load_model(source, device, listener)
    length = loaded.model.config.text_config.max_position_embeddings
    scores = []
    for image in images:
        inputs = loaded.processor(
            text=[prompt],
            images=[image.convert("RGB")],
            padding=True,
            truncation=True,
            max_length=length,
            return_tensors="pt",
        )
        outputs = loaded.run(inputs)
        pair = outputs.image_embeds.float(), outputs.text_embeds.float()
        scores.append(float(torch.nn.functional.cosine_similarity(*pair)[0]))
        on_model_call()
    return scores
