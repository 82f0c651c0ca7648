"""Measure how often `similar.py` ranks the source of a changed copy first, and the scores of unrelated images.

Each selected image of FOLDER is changed by one combination of crop, mirroring, recoloring and noise. The unrelated
scores are the scores of the best other image. `--artworks` names a JSON file with a key for each image: other images
with the key of the source also show its artwork, for example the same icon at another position, and are left out.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from image_index import IndexedImages
from numpy.typing import NDArray
from planted_copies import KINDS, change
from search import NUM_VERIFIED_IMAGES, Match, Query, find_similar
from similar import load_folder

from artgen.dataset.decode import load_rgb_image
from artgen.system.paths import user_cache_folder


def plant(images: IndexedImages, number: int, seed: int) -> list[tuple[int, tuple[str, ...], Query]]:
    """Return changed copies of randomly selected images, with the index of the source and the changes."""
    rng = np.random.default_rng(seed)
    planted = []
    for place, index in enumerate(rng.choice(len(images.names), number, replace=False).tolist()):
        kinds = KINDS[place % len(KINDS)]
        image = change(load_rgb_image(images.folder / images.names[index]).image, kinds, rng)
        planted.append((index, kinds, Query(str(index), image, "")))
    return planted


def measure(
    images: IndexedImages, planted: Sequence[tuple[int, tuple[str, ...], Query]], artworks: NDArray[np.str_]
) -> list[dict[str, Any]]:
    """Return for each copy the rank of its source, its score, and the score of the best other image."""

    def same_artwork(query: Query) -> NDArray[np.bool_]:
        source = int(query.name)
        same: NDArray[np.bool_] = artworks == artworks[source]
        same[source] = False
        return same

    results = []
    found = find_similar(images, [query for _, _, query in planted], NUM_VERIFIED_IMAGES, same_artwork)
    for (index, kinds, _), matches in zip(planted, found, strict=True):
        results.append(
            {"source": images.names[index], "changes": "+".join(kinds)} | _ranked(images.names[index], matches)
        )
    return results


def _ranked(name: str, matches: Sequence[Match]) -> dict[str, Any]:
    names = [each.name for each in matches]
    others = [each for each in matches if each.name != name]
    return {
        "rank": names.index(name) + 1 if name in names else None,
        "score": matches[names.index(name)].score if name in names else None,
        "best_other": others[0].score if others else None,
        "best_other_name": others[0].name if others else None,
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Return the results as a Markdown table."""
    groups = defaultdict(list)
    for each in results:
        groups[each["changes"]].append(each)
    lines = [
        "| changes | copies | first | score, median | score, 5 % | best other, 95 % |",
        "|---|---|---|---|---|---|",
    ]
    for name, group in [*groups.items(), ("all", list(results))]:
        first = np.mean([each["rank"] == 1 for each in group])
        scores = [each["score"] for each in group if each["score"] is not None] or [np.nan]
        others = [each["best_other"] for each in group if each["best_other"] is not None] or [np.nan]
        lines.append(
            f"| {name} | {len(group)} | {first:.1%} | {np.median(scores):.3f} | {np.percentile(scores, 5):.3f} "
            f"| {np.percentile(others, 95):.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--copies", type=int, default=200, help="number of copies [200]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--artworks", type=Path, help="JSON object: image name -> key of its artwork")
    parser.add_argument("--cache", type=Path, help="folder of the index [artgen's cache folder]")
    parser.add_argument("--out", type=Path, default=Path("data/similar/measurements.json"), help="results as JSON")
    options = parser.parse_args()
    images, _ = load_folder(options.folder, options.cache or user_cache_folder() / "similar", 0)
    keys = json.loads(options.artworks.read_text()) if options.artworks else {}
    artworks = np.array([keys.get(name, name) for name in images.names])
    start = time.process_time()
    planted = plant(images, min(options.copies, len(images.names)), options.seed)
    results = measure(images, planted, artworks)
    print(table(results))
    print(f"\n{len(images.names):,} images; {(time.process_time() - start) / len(results):.2f} s of CPU time per copy")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
