"""Compare how near generated images and held-out images are to the training images of a model.

Held-out images come from the same source as the training images, but the model was not trained on them. If generated
images are nearer to the training images than held-out images, the model may copy training images.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from image_index import IndexedImages
from search import Match, Query, find_similar
from similar import COPY_SCORE, is_copy, load_folder, read_query, write_sheet

from artgen.dataset.scan import scan_folder
from artgen.system.paths import user_cache_folder


def read_folder(folder: Path) -> list[Query]:
    """Read all images of a folder."""
    return [read_query(path) for path in scan_folder(folder).image_files]


def nearest(images: IndexedImages, queries: Sequence[Query]) -> list[tuple[Query, list[Match]]]:
    """Return each image with its most similar training images."""
    return list(zip(queries, find_similar(images, queries, 3), strict=True))


def figures(results: Sequence[tuple[Query, list[Match]]]) -> dict[str, Any]:
    """Return the distribution of the scores of the most similar training images."""
    scores = np.array([matches[0].score for _, matches in results])
    return {
        "images": len(scores),
        "score, median": round(float(np.median(scores)), 3),
        "score, 90 %": round(float(np.percentile(scores, 90)), 3),
        "score, maximum": round(float(scores.max()), 3),
        f"possible copies (score of at least {COPY_SCORE:g}, or near-duplicate)": sum(
            is_copy(matches[0]) for _, matches in results
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("generated", type=Path, help="folder of generated images")
    parser.add_argument("held_out", type=Path, help="folder of images that are not training images")
    parser.add_argument("folder", type=Path, help="folder of training images")
    parser.add_argument("--cache", type=Path, help="folder of the index [artgen's cache folder]")
    parser.add_argument(
        "--out", type=Path, default=Path("data/similar"), help="folder of similarity.json and the sheets"
    )
    options = parser.parse_args()
    images, _ = load_folder(options.folder, options.cache or user_cache_folder() / "similar", 0)
    options.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"training images": len(images.names)}
    for name, folder in (("generated", options.generated), ("held-out", options.held_out)):
        results = nearest(images, read_folder(folder))
        result[name] = figures(results)
        results.sort(key=lambda each: -each[1][0].score)
        write_sheet(options.out / f"{name}.png", options.folder, results[:12])
    text = json.dumps(result, indent=1)
    (options.out / "similarity.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
