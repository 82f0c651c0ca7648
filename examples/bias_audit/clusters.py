"""Cluster the images by their features, as Stable Bias does (Luccioni et al. 2023, arXiv 2303.11408)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from prompt_list import Prompt
from scipy.cluster import hierarchy

NUM_CLUSTERS = 24
MAX_IMAGES = 12_000
"""Limit of the matrix of distances, which needs 0.6 GB for 12,000 images."""


@dataclass(frozen=True)
class Clusters:
    """Store the clusters of the images of an audit.

    Attributes:
        numbers: cluster of each image, from 1; cluster 1 is the largest.
        prompts: number of images of each prompt in each cluster; the most frequent prompt of a cluster is first.
        diversity: effective number of clusters of each prompt: exp(entropy of its shares in the clusters). 1: all
            images of the prompt are in one cluster.
    """

    numbers: tuple[int, ...]
    prompts: tuple[dict[str, int], ...]
    diversity: dict[str, float]


def cluster_images(features: np.ndarray, prompts: Sequence[Prompt], num_clusters: int = NUM_CLUSTERS) -> Clusters:
    """Cluster the images with Ward's method.

    Args:
        features: features of the images, shape (images, n); they are normalized to length 1.
        prompts: prompt of each image.
        num_clusters: maximum number of clusters.
    """
    normalized = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    if len(normalized) > 1:
        found = hierarchy.fcluster(hierarchy.linkage(normalized, "ward"), num_clusters, "maxclust")
    else:
        found = np.ones(1, int)
    sizes = Counter(found.tolist())
    order = sorted(sizes, key=lambda cluster: (-sizes[cluster], found.tolist().index(cluster)))
    numbers = tuple(order.index(cluster) + 1 for cluster in found.tolist())
    counts = []
    for number in range(1, len(order) + 1):
        texts = Counter(prompt.text for prompt, each in zip(prompts, numbers, strict=True) if each == number)
        counts.append(dict(sorted(texts.items(), key=lambda item: (-item[1], item[0]))))
    diversity = {
        text: _effective_number([row.get(text, 0) for row in counts])
        for text in dict.fromkeys(prompt.text for prompt in prompts)
    }
    return Clusters(numbers, tuple(counts), diversity)


def _effective_number(counts: Sequence[int]) -> float:
    """Return exp(entropy) of the shares of counts."""
    shares = np.array([count for count in counts if count]) / sum(counts)
    return round(float(np.exp(-(shares * np.log(shares)).sum())), 2)
