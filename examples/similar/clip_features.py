"""Compare images by the embeddings of a CLIP model (Radford et al., 2021, arXiv 2103.00020). Optional.

CLIP finds images with the same content. Such images become candidates for the alignment, which decides their rank.
"""

import sqlite3
from collections.abc import Sequence

import numpy as np
import torch
from edge_descriptors import Floats
from image_index import IndexedImages
from PIL import Image
from search import Query

from artgen.dataset.decode import load_rgb_image
from artgen.engine.loading.transformers_models import ModelSource, ModelWithProcessor, load_model
from artgen.events import Listener
from artgen.registry.score_models import ScoreModel, resolve_score_model

BATCH_SIZE = 16
_TABLE = "CREATE TABLE IF NOT EXISTS clip (sha256 TEXT, model TEXT, vector BLOB, PRIMARY KEY (sha256, model))"


def compare_contents(
    database: sqlite3.Connection, images: IndexedImages, queries: Sequence[Query], name: str, listener: Listener
) -> Floats:
    """Return the cosine similarity of each training image and each query, shape (N, Q). Embeddings are stored.

    Args:
        database: index of the folder; receives the embeddings of images that it lacks.
        images: images of the index.
        queries: images.
        name: short name (`clip`), hub id or folder of a CLIP model, which is downloaded.
        listener: receives the events of the download.

    Raises:
        UsageError, ModelUnavailableError: the model is unknown, or is not available offline.
    """
    model = resolve_score_model(name, listener=listener)
    source = ModelSource(
        "CLIP model", model.name, model.folder, model.files, ("CLIPModel", "CLIPProcessor"), "Use another copy."
    )
    loaded = load_model(source, "cuda" if torch.cuda.is_available() else "cpu", listener)
    return _stored_embeddings(database, images, model, loaded) @ _embed(loaded, [each.image for each in queries]).T


def _stored_embeddings(
    database: sqlite3.Connection, images: IndexedImages, model: ScoreModel, loaded: ModelWithProcessor
) -> Floats:
    """Return the embeddings of all training images, shape (N, values), and compute and store the missing ones."""
    database.execute(_TABLE)
    key = model.address if model.revision else str(model.files)
    rows = database.execute("SELECT sha256, vector FROM clip WHERE model = ?", (key,))
    known = {digest: np.frombuffer(vector, np.float32) for digest, vector in rows}
    missing = {digest: name for digest, name in zip(images.sha256, images.names, strict=True) if digest not in known}
    pending = list(missing.items())
    for start in range(0, len(pending), BATCH_SIZE):
        batch = pending[start : start + BATCH_SIZE]
        vectors = _embed(loaded, [load_rgb_image(images.folder / name).image for _, name in batch])
        for (digest, _), vector in zip(batch, vectors, strict=True):
            known[digest] = vector
            database.execute("INSERT OR REPLACE INTO clip VALUES (?, ?, ?)", (digest, key, vector.tobytes()))
        database.commit()
    return np.stack([known[digest] for digest in images.sha256])


@torch.inference_mode()
def _embed(loaded: ModelWithProcessor, images: Sequence[Image.Image]) -> Floats:
    """Return the embeddings of RGB images, shape (B, values), of length 1."""
    found = []
    for start in range(0, len(images), BATCH_SIZE):
        inputs = loaded.processor.image_processor(images=list(images[start : start + BATCH_SIZE]), return_tensors="pt")
        outputs = loaded.model.vision_model(pixel_values=inputs["pixel_values"].to(loaded.device))
        found.append(loaded.model.visual_projection(outputs.pooler_output).float())
    embeddings: Floats = torch.nn.functional.normalize(torch.cat(found), dim=1).cpu().numpy()
    return embeddings
