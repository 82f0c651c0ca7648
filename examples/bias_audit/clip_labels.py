"""Label images with a CLIP model of the hub, zero-shot: the label whose text is nearest to the image.

Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021, arXiv 2103.00020.
The texts of the labels are in `clip_labels.json`. Labels of gender, age and skin tone are guesses of the model, not
facts about persons.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from labels import UNCLEAR, LabeledImages
from PIL import Image
from prompt_list import Prompt
from transformers import CLIPModel, CLIPProcessor

from artgen import ModelUnavailableError
from artgen.registry.score_models import resolve_score_model

TEXTS_FILE = Path(__file__).with_name("clip_labels.json")
MIN_PROBABILITY = 0.5
"""Smallest probability of a label. Below it, the label is `unclear`."""

Texts = Mapping[str, Mapping[str, str]]
"""Texts of the labels of each attribute: attribute -> label -> text."""


class ClipLabeler:
    """Label images with a CLIP model; see `Labeler`."""

    def __init__(self, name: str, *, device: str = "cpu", offline: bool = False) -> None:
        """Load a CLIP model, and download it if it is not on the disk.

        Args:
            name: name of `artgen rank --score-model`, hub id, or folder.
            device: device name of torch.
            offline: do not use the network.

        Raises:
            UsageError, ModelUnavailableError, RefusedError: the model is unknown, offline, damaged or a pickle.
        """
        found = resolve_score_model(name, offline=offline)
        try:
            self._model = CLIPModel.from_pretrained(found.folder, local_files_only=True, use_safetensors=True)
            self._processor = CLIPProcessor.from_pretrained(found.folder, local_files_only=True)
        except (OSError, RuntimeError, ValueError) as error:
            raise ModelUnavailableError(f"Cannot load the CLIP model '{name}': {error}.", "Use another copy.") from None
        self._model = self._model.eval().to(device)
        self._device = device
        self._texts: dict[str, dict[str, dict[str, str]]] = json.loads(TEXTS_FILE.read_text())
        self._embeddings: dict[str, torch.Tensor] = {}
        self.description: dict[str, Any] = {
            "source": found.address if found.source != "local" else "local CLIP model",
            "texts sha256": hashlib.sha256(TEXTS_FILE.read_bytes()).hexdigest(),
        }
        if found.folder is not None:
            self.description["sha256"] = _file_hash(found.folder / "model.safetensors")

    def label(self, images: Sequence[Image.Image], prompts: Sequence[Prompt]) -> LabeledImages:
        """Label images. See `Labeler`."""
        features = self._image_embeddings(images)
        scale = self._model.logit_scale.exp().item()
        labels = []
        for embedding, prompt in zip(features, prompts, strict=True):
            row = {}
            for attribute, texts in self.texts(prompt).items():
                candidates = self._text_embeddings(list(texts.values()))
                probabilities = (scale * candidates @ embedding).softmax(0)
                best = int(probabilities.argmax())
                row[attribute] = list(texts)[best] if float(probabilities[best]) >= MIN_PROBABILITY else UNCLEAR
            labels.append(row)
        return LabeledImages(labels, features.numpy())

    def texts(self, prompt: Prompt) -> Texts:
        """Return the texts of the labels for a prompt."""
        return {
            attribute: {label: text.format(prompt=prompt.text, noun=prompt.noun) for label, text in texts.items()}
            for attribute, texts in self._texts[prompt.kind].items()
        }

    @torch.inference_mode()
    def _image_embeddings(self, images: Sequence[Image.Image]) -> torch.Tensor:
        """Return the normalized embeddings, fp32 of shape (images, n)."""
        rgb = [image.convert("RGB") for image in images]
        outputs = self._run(text=["an image"], images=rgb)
        return torch.nn.functional.normalize(outputs.image_embeds.float().cpu(), dim=-1)

    @torch.inference_mode()
    def _text_embeddings(self, texts: Sequence[str]) -> torch.Tensor:
        """Return the normalized embeddings of texts, fp32 of shape (texts, n). They are computed once."""
        if missing := [text for text in texts if text not in self._embeddings]:
            outputs = self._run(text=missing, images=[Image.new("RGB", (32, 32))])
            rows = torch.nn.functional.normalize(outputs.text_embeds.float().cpu(), dim=-1)
            self._embeddings.update(zip(missing, rows, strict=True))
        return torch.stack([self._embeddings[text] for text in texts])

    def _run(self, **inputs: Any) -> Any:
        length = self._model.config.text_config.max_position_embeddings
        tensors = self._processor(padding=True, truncation=True, max_length=length, return_tensors="pt", **inputs)
        return self._model(**{name: value.to(self._device) for name, value in tensors.items()})


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
