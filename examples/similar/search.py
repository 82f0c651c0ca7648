"""Find the training images that are most similar to an image: by edge descriptors and pHash, then by alignment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from alignment import Alignment, align
from edge_descriptors import SIDE_PX, WINDOWS, Floats, describe_image, small_copy
from image_index import IndexedImages
from numpy.typing import NDArray
from PIL import Image, ImageOps

from artgen.dataset.decode import load_rgb_image
from artgen.dataset.duplicates import MAX_HASH_BITS, hash_image, match

NUM_CANDIDATES = 200
"""Number of candidates that are aligned at 16 pixels."""

NUM_ALIGNED_IMAGES = 40
"""Number of the best of them that are aligned at 32 pixels."""

NUM_VERIFIED_IMAGES = 12
"""Number of the best of these that are read again and aligned at 64 pixels."""

VERIFIED_SIDE_PX = 64

NUM_START_CROPS = 3
"""Number of crops of a candidate with which its alignment starts."""

_PREFERENCE = 1000.0
"""Added to the similarity of candidates that are always aligned."""
_STEPS = 5
_CHUNK_IMAGES = 512
_QUERIES_PER_CHUNK = 64


@dataclass(frozen=True)
class Query:
    """Represent an image whose most similar training images are searched.

    Attributes:
        name: name for the report.
        image: RGB image.
        sha256: SHA-256 of the file.
    """

    name: str
    image: Image.Image
    sha256: str


@dataclass(frozen=True)
class Match:
    """Represent a training image that is similar to the query.

    Attributes:
        name: path relative to the folder.
        score: share of the contrast of the query that the training image explains after the best crop, mirroring and
            color change; 1 for a copy, 0 or less for an unrelated image.
        crop: left, top, width and height of the crop, relative to the training image.
        is_mirrored: whether the training image had to be mirrored.
        is_recolored: whether the colors of the training image had to be changed.
        duplicate: result of artgen's duplicate detection: `same file`, `looks like`, `mirrors`, or None.
        clip: similarity of the contents by CLIP, -1 to 1; None without CLIP.
    """

    name: str
    score: float
    crop: tuple[float, ...]
    is_mirrored: bool
    is_recolored: bool
    duplicate: str | None
    clip: float | None = None


@dataclass(frozen=True)
class _Candidates:
    """Store training images with the first crop and the mirroring, arrays of the same length."""

    indices: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    windows: Floats

    def best(self, alignment: Alignment, number: int) -> "_Candidates":
        """Return the images with the highest scores, each with its best window."""
        order = np.argsort(-alignment.scores, kind="stable")
        _, first = np.unique(self.indices[order], return_index=True)
        order = order[np.sort(first)[:number]]
        return _Candidates(self.indices[order], self.mirrored[order], alignment.windows[order])


def find_similar(
    images: IndexedImages,
    queries: Sequence[Query],
    top: int,
    left_out: Callable[[Query], NDArray[np.bool_]] | None = None,
    contents: Floats | None = None,
) -> Iterator[list[Match]]:
    """Yield the most similar training images of each query, best first.

    Args:
        images: index of the folder.
        queries: images.
        top: number of matches, at most `NUM_VERIFIED_IMAGES`.
        left_out: returns which training images are not compared with a query, shape (N,); None compares all.
        contents: similarity of the contents by CLIP, shape (N, Q); None selects candidates without CLIP.
    """
    for start in range(0, len(queries), _QUERIES_PER_CHUNK):
        part = queries[start : start + _QUERIES_PER_CHUNK]
        descriptors = np.stack([_describe_both(each.image) for each in part])
        scores = _compare_edges(images, descriptors)
        for number, query in enumerate(part):
            content = None if contents is None else contents[:, start + number]
            ranked = scores[:, number]
            ranked[np.unique(_preferred(images, query, content))] += _PREFERENCE
            if left_out is not None:
                ranked[left_out(query)] = -np.inf
            candidates = _select_candidates(images, descriptors[number], ranked)
            matches = _align_candidates(images, query, candidates)[:top]
            if content is not None:
                places = {name: index for index, name in enumerate(images.names)}
                matches = [replace(each, clip=float(content[places[each.name]])) for each in matches]
            yield matches


def _describe_both(image: Image.Image) -> Floats:
    """Return the descriptors of an image and of its mirror image, shape (2, values)."""
    return np.stack([describe_image(small_copy(each)) for each in (image, ImageOps.mirror(image))])


def _compare_edges(images: IndexedImages, descriptors: Floats) -> Floats:
    """Return the highest similarity of a crop of each training image, shape (N, Q).

    Args:
        images: index of the folder.
        descriptors: shape (Q, 2, values).
    """
    queries, both, values = descriptors.shape
    columns = descriptors.reshape(-1, values).T
    count, crops = images.edges.shape[:2]
    scores = np.empty((count, queries), np.float32)
    for start in range(0, count, _CHUNK_IMAGES):
        rows = images.edges[start : start + _CHUNK_IMAGES].astype(np.float32)
        similarity = rows.reshape(-1, values) @ columns
        scores[start : start + len(rows)] = similarity.reshape(len(rows), crops, queries, both).max((1, 3))
    return scores


def _preferred(images: IndexedImages, query: Query, content: Floats | None) -> NDArray[np.int64]:
    """Return the indices of the images with a similar pHash, and of the images with the most similar content."""
    image_hash = hash_image(query.image)
    bits = images.duplicates.hamming_distances(image_hash.phash)
    nearest = np.minimum(bits, images.duplicates.hamming_distances(image_hash.mirrored_phash)).astype(int)
    close = np.argsort(nearest, kind="stable")[: NUM_CANDIDATES // 4]
    close = close[nearest[close] <= MAX_HASH_BITS]
    if content is not None:
        close = np.concatenate([close, np.argsort(-content)[: NUM_CANDIDATES // 4]])
    return close


def _select_candidates(images: IndexedImages, descriptors: Floats, ranked: Floats) -> _Candidates:
    """Return the images with the highest values, each with its `NUM_START_CROPS` most similar crops."""
    number = min(NUM_CANDIDATES, len(ranked))
    indices = np.argpartition(-ranked, number - 1)[:number]
    indices = indices[np.isfinite(ranked[indices])]
    similarity = images.edges[indices].astype(np.float32) @ descriptors.T
    crops = np.argsort(-similarity.reshape(len(indices), -1), axis=1)[:, :NUM_START_CROPS].ravel()
    return _Candidates(np.repeat(indices, NUM_START_CROPS), crops % 2 == 1, WINDOWS[crops // 2])


def _align_candidates(images: IndexedImages, query: Query, candidates: _Candidates) -> list[Match]:
    if not len(candidates.indices):
        return []
    targets = np.stack([small_copy(query.image), small_copy(ImageOps.mirror(query.image))])
    for number, pixels in ((NUM_ALIGNED_IMAGES, _halve(targets)), (NUM_VERIFIED_IMAGES, targets)):
        small = images.small[candidates.indices].astype(np.float32)
        alignment = align(small, pixels[candidates.mirrored.astype(int)], candidates.windows, _STEPS)
        candidates = candidates.best(alignment, number)
    return _verify(images, query, candidates)


def _halve(pixels: Floats) -> Floats:
    half: Floats = pixels.reshape(len(pixels), SIDE_PX // 2, 2, SIDE_PX // 2, 2, 3).mean((2, 4), dtype=np.float32)
    return half


def _verify(images: IndexedImages, query: Query, candidates: _Candidates) -> list[Match]:
    """Read the files of the candidates, align them at a larger size, and rank them by the score."""
    targets = np.stack([small_copy(each, VERIFIED_SIDE_PX) for each in (query.image, ImageOps.mirror(query.image))])
    files = [load_rgb_image(images.folder / images.names[index]).image for index in candidates.indices.tolist()]
    small = np.stack([small_copy(image, 2 * VERIFIED_SIDE_PX) for image in files])
    alignment = align(small, targets[candidates.mirrored.astype(int)], candidates.windows, _STEPS)
    query_hash = hash_image(query.image)
    matches = []
    for place in np.argsort(-alignment.scores, kind="stable").tolist():
        index = int(candidates.indices[place])
        is_same = images.sha256[index] == query.sha256
        matches.append(
            Match(
                images.names[index],
                float(alignment.scores[place]),
                tuple(round(value, 3) for value in alignment.windows[place].tolist()),
                bool(candidates.mirrored[place]),
                bool(alignment.recolored[place]),
                "same file" if is_same else match(query_hash, images.hashes[index]),
            )
        )
    return sorted(matches, key=lambda each: each.duplicate != "same file")
