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

CANDIDATES = 200
"""Number of candidates that are aligned at 16 pixels."""

ALIGNED = 40
"""Number of the best of them that are aligned at 32 pixels."""

VERIFIED = 12
"""Number of the best of these that are read again and aligned at 64 pixels."""

VERIFIED_SIDE_PX = 64
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
        """Return the candidates with the highest scores, and their windows."""
        order = np.argsort(-alignment.scores, kind="stable")[:number]
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
        top: number of matches, at most `VERIFIED`.
        contents: similarity of the contents by CLIP, shape (N, Q); None selects candidates without CLIP.
        left_out: returns which training images are not compared with a query, shape (N,); None compares all.
    """
    for start in range(0, len(queries), _QUERIES_PER_CHUNK):
        part = queries[start : start + _QUERIES_PER_CHUNK]
        scores, windows = _compare_edges(images, [each.image for each in part])
        for number, query in enumerate(part):
            columns = slice(2 * number, 2 * number + 2)
            excluded = None if left_out is None else left_out(query)
            content = None if contents is None else contents[:, start + number]
            preferred = _preferred(images, query, content)
            candidates = _select_candidates(scores[:, columns], windows[:, columns], preferred, excluded)
            matches = _align_candidates(images, query, candidates)[:top]
            if content is not None:
                places = {name: index for index, name in enumerate(images.names)}
                matches = [replace(each, clip=float(content[places[each.name]])) for each in matches]
            yield matches


def _compare_edges(images: IndexedImages, queries: Sequence[Image.Image]) -> tuple[Floats, NDArray[np.uint8]]:
    """Return the highest similarity of a crop of each training image, and the crop.

    Returns:
        Two arrays of shape (N, 2 Q); the columns are the queries, each unchanged and mirrored.
    """
    descriptors = np.stack(
        [describe_image(small_copy(each)) for image in queries for each in (image, ImageOps.mirror(image))]
    )
    count, crops = images.edges.shape[:2]
    scores = np.empty((count, len(descriptors)), np.float32)
    windows = np.empty(scores.shape, np.uint8)
    for start in range(0, count, _CHUNK_IMAGES):
        rows = images.edges[start : start + _CHUNK_IMAGES].astype(np.float32)
        similarity = (rows.reshape(-1, rows.shape[2]) @ descriptors.T).reshape(-1, crops, len(descriptors))
        scores[start : start + len(rows)] = similarity.max(1)
        windows[start : start + len(rows)] = similarity.argmax(1)
    return scores, windows


def _preferred(images: IndexedImages, query: Query, content: Floats | None) -> NDArray[np.int64]:
    """Return the indices of the images with a similar pHash, and of the images with the most similar content."""
    bits = images.duplicates.hamming_distances(hash_image(query.image).phash)
    mirrored_bits = images.duplicates.hamming_distances(hash_image(query.image).mirrored_phash)
    nearest = np.minimum(bits, mirrored_bits).astype(int)
    close = np.argsort(nearest, kind="stable")[: CANDIDATES // 4]
    close = close[nearest[close] <= MAX_HASH_BITS]
    if content is not None:
        close = np.concatenate([close, np.argsort(-content)[: CANDIDATES // 4]])
    return close


def _select_candidates(
    scores: Floats,
    windows: NDArray[np.uint8],
    preferred: NDArray[np.int64],
    excluded: NDArray[np.bool_] | None,
) -> _Candidates:
    """Return the preferred images, and the images with the most similar edges."""
    ranked = scores.max(1)
    ranked[np.unique(preferred)] += 1000
    if excluded is not None:
        ranked[excluded] = -np.inf
    number = min(CANDIDATES, len(ranked))
    indices = np.argpartition(-ranked, number - 1)[:number]
    indices = indices[np.isfinite(ranked[indices])]
    mirrored = scores[indices].argmax(1)
    return _Candidates(indices, mirrored.astype(bool), WINDOWS[windows[indices, mirrored]])


def _align_candidates(images: IndexedImages, query: Query, candidates: _Candidates) -> list[Match]:
    if not len(candidates.indices):
        return []
    both = small_copy(query.image), small_copy(ImageOps.mirror(query.image))
    targets = np.stack(both)
    small = images.small[candidates.indices].astype(np.float32)
    alignment = align(_halve(small), _halve(targets)[candidates.mirrored.astype(int)], candidates.windows, _STEPS)
    candidates = candidates.best(alignment, ALIGNED)
    small = images.small[candidates.indices].astype(np.float32)
    alignment = align(small, targets[candidates.mirrored.astype(int)], candidates.windows, _STEPS)
    candidates = candidates.best(alignment, VERIFIED)
    return _verify(images, query, candidates)


def _halve(pixels: Floats) -> Floats:
    half: Floats = pixels.reshape(len(pixels), SIDE_PX // 2, 2, SIDE_PX // 2, 2, 3).mean((2, 4), dtype=np.float32)
    return half


def _verify(images: IndexedImages, query: Query, candidates: _Candidates) -> list[Match]:
    """Read the files of the candidates, align them at a larger size, and rank them by the score."""
    targets = np.stack([small_copy(each, VERIFIED_SIDE_PX) for each in (query.image, ImageOps.mirror(query.image))])
    files = [load_rgb_image(images.folder / images.names[index]).image for index in candidates.indices.tolist()]
    small = np.stack([small_copy(image, VERIFIED_SIDE_PX) for image in files])
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
