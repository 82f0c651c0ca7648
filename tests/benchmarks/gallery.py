"""Measure the gallery: time to write it, and time until a page of many images is interactive in Chromium.

    python tests/benchmarks/gallery.py [--images N] [--page FILE]

The page is opened several times in a browser with an empty cache. The values of the section `gallery` of `RESULTS.md`
are medians. "Interactive" is the mark that the page sets when the first images are shown and the search works.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

import results
from browser import chromium
from gallery_images import save_image

import artgen

TITLE = "## `gallery.py`: the gallery with many images"
WORDS = (
    "fox",
    "snow",
    "castle",
    "lighthouse",
    "oil",
    "painting",
    "portrait",
    "forest",
    "river",
    "night",
    "city",
    "winter",
)
CONCLUSION = """
Other processes used the machine during the measurement (load 10 on 2 cores), so all wall times are upper limits. Only
the visible thumbnails are in the document, so scrolling does not depend on the number of images.
"""
PROMPT_WORDS = 25
OPENINGS = 5
SCROLL = """
const done = arguments[0];
const times = [];
const height = document.documentElement.scrollHeight - innerHeight;
let frame = 0;
const step = (now) => {
  times.push(now);
  if (++frame > 120) return done(times.slice(1).map((time, index) => time - times[index]));
  scrollTo(0, Math.min(height, frame * 400));
  requestAnimationFrame(step);
};
requestAnimationFrame(step);
"""
SEARCH = """
const input = document.getElementById("search");
const start = performance.now();
input.value = arguments[0];
input.dispatchEvent(new Event("input"));
document.body.offsetHeight;
return performance.now() - start;
"""


def write_images(folder: Path, count: int) -> None:
    """Write small images with records. The prompts have `PROMPT_WORDS` words."""
    for number in range(count):
        words = [WORDS[(number * 7 + index * (1 + number % 5)) % len(WORDS)] for index in range(PROMPT_WORDS)]
        size = ((96, 64), (64, 64), (64, 96))[number % 3]
        save_image(
            folder / f"{number // 500}/{number:05}.png",
            " ".join([str(number), *words]),
            time=number * 60,
            size=size,
            seed=number,
            negative_prompt="blurry, dark, text",
            model=f"model {number % 9}",
        )


def seconds_of(call: Any) -> tuple[float, float]:
    """Return wall time and CPU time of a call in seconds."""
    start, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu


def measure_page(page: Path) -> dict[str, float]:
    """Return the times of the page in ms."""
    found: dict[str, list[float]] = {}
    with chromium() as driver:
        for _ in range(OPENINGS):
            driver.get("about:blank")
            driver.get(page.as_uri())
            marks: dict[str, float] = {}
            while "complete" not in marks:
                time.sleep(0.05)
                marks = driver.execute_script(
                    "return Object.fromEntries(performance.getEntriesByType('mark').map((m) => [m.name, m.startTime]))"
                )
            for name, value in marks.items():
                found.setdefault(name, []).append(value)
            for text in ("f", "fo", "fox", "fox winter", ""):
                found.setdefault("search", []).append(driver.execute_script(SEARCH, text))
        frames = driver.execute_async_script(SCROLL)
        found["cells"] = [driver.execute_script("return document.querySelectorAll('.cell').length")]
    values = {name: statistics.median(each) for name, each in found.items()}
    return values | {"frame": statistics.median(frames), "slowest frame": max(frames)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--page", type=Path, default=results.PAGE)
    arguments = parser.parse_args()
    count = arguments.images
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        write_images(Path("in"), count)
        new_wall, new_cpu = seconds_of(lambda: artgen.gallery("in", "site"))
        again_wall, again_cpu = seconds_of(lambda: artgen.gallery("in", "site"))
        data_bytes = sum(path.stat().st_size for path in Path("site/gallery/data").iterdir())
        times = measure_page(Path("site/index.html").absolute())
    rows = [
        ("write a new gallery, per image", f"{new_wall / count * 1000:.1f} ms ({new_cpu / count * 1000:.1f} ms CPU)"),
        ("update without changes, all images", f"{again_wall:.1f} s ({again_cpu:.1f} s CPU)"),
        ("data of the page", f"{data_bytes / 1e6:.1f} MB"),
        ("page is interactive", f"{times['interactive']:.0f} ms"),
        ("all entries are loaded", f"{times['complete']:.0f} ms"),
        ("one key of the search", f"{times['search']:.0f} ms"),
        ("frame while scrolling, median", f"{times['frame']:.0f} ms"),
        ("frame while scrolling, slowest", f"{times['slowest frame']:.0f} ms"),
        ("thumbnails in the document", f"{times['cells']:.0f}"),
    ]
    table = "\n".join(["| measurement | value |", "|---|---|", *(f"| {label} | {value} |" for label, value in rows)])
    images = f"{count:,} images of 64 to 96 pixels, prompts of {PROMPT_WORDS} words"
    text = (
        f"{TITLE}\n\n{results.today()}, {images}. {results.machine()}. Chromium without a GPU.\n{CONCLUSION}\n{table}"
    )
    print(text)
    results.write("gallery", text, dict(rows), arguments.page)


if __name__ == "__main__":
    main()
