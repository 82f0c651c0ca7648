"""Measure the history: time of an entry, of a thumbnail, of searches, of the start, and the size of the file.

Run: python tests/benchmarks/history.py [--entries 100000]. It writes about 6 kB per entry into a temporary folder.
"""

import argparse
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from skimage import data

from artgen.image_history.connection import ENTRY_BUSY_SECONDS
from artgen.image_history.database import History, open_history
from artgen.image_history.entry import HistoryEntry, utc_text
from artgen.image_history.query import HistoryQuery
from artgen.image_history.recording import SavedFile, enter_image, take_note
from artgen.images.thumbnails import encode_thumbnail

WORDS = [
    *("fox", "snow", "castle", "river", "forest", "sunset", "portrait", "cat", "dog", "mountain", "city", "night"),
    *("rain", "neon", "oil", "painting", "watercolor", "cinematic", "lighting", "detailed", "soft", "focus", "market"),
    *("vintage", "poster", "robot", "dragon", "flower", "garden", "ocean", "boat", "bridge"),
]
MODELS = ("sdxl", "sd15", "tiny", "flux", "sd-turbo", "my-model.safetensors")
LORAS = ("ink.safetensors", "pixel-art.safetensors", "film.safetensors")


def random_entry(number: int, rng: random.Random) -> HistoryEntry:
    """Return an entry with a prompt of 12 words and a record of the usual size."""
    prompt = " ".join(rng.choices(WORDS, k=12)) + f" {number}"
    model, seed = rng.choice(MODELS), rng.getrandbits(32)
    record = {
        "task": "txt2img", "prompt": prompt, "negative_prompt": "blurry, low quality, watermark", "model": model,
        "model_hash": hashlib.sha256(model.encode()).hexdigest(), "seed": seed, "steps": 30, "guidance_scale": 7.0,
        "scheduler": "dpm++2m", "width": 1024, "height": 1024, "lora": [f"{rng.choice(LORAS)}:0.8"],
        "device": "cuda", "dtype": "fp16", "artgen": "0.1.0", "schema": 1, "torch": "2.13.0", "diffusers": "0.42.1",
        "transformers": "5.23.0", "batch_size": 4, "architecture": "sdxl", "model_source": "hub/model",
    }  # fmt: skip
    return HistoryEntry(
        0,
        hashlib.sha256(str(number).encode()).hexdigest(),
        Path(f"/home/user/outputs/{number // 1000:03}/{number:05}-{seed}.png"),
        utc_text(1_700_000_000_000_000_000 + number * 60_000_000_000),
        "txt2img",
        prompt,
        str(record["negative_prompt"]),
        model,
        str(record["model_hash"]),
        seed,
        1024,
        1024,
        4.2,
        record,
    )


def milliseconds(run: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Return the median CPU time and the median wall time of a function."""
    cpu_times, wall_times = [], []
    for _ in range(repeats):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        run()
        cpu_times.append((time.process_time() - cpu_start) * 1000)
        wall_times.append((time.perf_counter() - wall_start) * 1000)
    return statistics.median(cpu_times), statistics.median(wall_times)


def sample_image(side: int) -> Image.Image:
    """Return a photograph of scikit-image."""
    return Image.fromarray(data.astronaut()).resize((side, side), Image.Resampling.LANCZOS)


def fill(history: History, count: int) -> float:
    """Add entries in one transaction, and return the seconds."""
    rng = random.Random(0)
    thumbnails = [encode_thumbnail(sample_image(512)) for _ in range(20)]
    start_time = time.process_time()
    with history._transaction():
        for number in range(count):
            entry_id = history.add(random_entry(number, rng), 1_500_000, thumbnails[number % 20])
            if number % 50 == 0:
                history.set_rating([entry_id], 1 + number // 50 % 5)
                history.add_tags([entry_id], ["best"])
    return time.process_time() - start_time


def report(name: str, times: tuple[float, float]) -> None:
    print(f"| {name} | {times[0]:.2f} | {times[1]:.2f} |")


def measure_entries(folder: Path, history: History, count: int) -> None:
    """Measure entries in a history that has many entries already."""
    rng = random.Random(1)
    numbers = iter(range(count, count + 10_000))
    thumbnail = encode_thumbnail(sample_image(512))
    report("entry with thumbnail, thumbnail given", milliseconds(
        lambda: history.add(random_entry(next(numbers), rng), 1_500_000, thumbnail), 500))  # fmt: skip
    for side in (512, 1024):
        image = sample_image(side)
        report(f"thumbnail of {side}x{side}", milliseconds(lambda image=image: encode_thumbnail(image), 50))
        content = os.urandom(3 * side * side // 2)
        path = folder / f"{side}.png"
        path.write_bytes(content)

        def enter(image: Image.Image = image, path: Path = path, content: bytes = content) -> None:
            record = random_entry(next(numbers), rng).record
            changed = content + str(next(numbers)).encode()
            enter_image(SavedFile(path, changed, image, record, 4.2))

        enter()
        report(f"all work after saving a {side}x{side} PNG, {len(content) / 1e6:.1f} MB", milliseconds(enter, 50))
        assert not take_note()


def measure_searches(history: History) -> None:
    queries = {
        "latest 20 entries": HistoryQuery(limit=20),
        "fox snow, 20 entries": HistoryQuery(text="fox snow", limit=20),
        "fox snow, all entries": HistoryQuery(text="fox snow"),
        "fox, 20 entries": HistoryQuery(text="fox", limit=20),
        "word that occurs once": HistoryQuery(text="777", limit=20),
        "model sdxl, 20 entries": HistoryQuery(model="sdxl", limit=20),
        "fox snow, model sdxl, since, rating 4": HistoryQuery(
            text="fox snow", model="sdxl", since="2023-12-01T00:00:00", rating=4, limit=20
        ),
        "lora ink": HistoryQuery(lora="ink", limit=20),
        "lora that does not exist": HistoryQuery(lora="missing", limit=20),
        "tag best": HistoryQuery(tags=("best",), limit=20),
        "rating 5": HistoryQuery(rating=5, limit=20),
    }
    for name, query in queries.items():
        found = len(history.search(query))
        report(f"search: {name} ({found:,} found)", milliseconds(lambda query=query: history.search(query), 5))


def measure_start() -> None:
    """Measure the first entry of a command: import of sqlite3, opening of the file."""
    program = (
        "import time, artgen.outputs, artgen.spec.config\n"
        "times = [time.process_time(), time.perf_counter()]\n"
        "from artgen.image_history.database import open_history\n"
        "times += [time.process_time(), time.perf_counter()]\n"
        "open_history().close()\n"
        "times += [time.process_time(), time.perf_counter()]\n"
        "print(*times)"
    )
    rows = []
    for _ in range(7):
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        rows.append([float(text) * 1000 for text in output.split()])
    for index, name in enumerate(("import sqlite3 and the modules", "open and close the file")):
        cpu, wall = (
            statistics.median(row[2 * index + 2 + kind] - row[2 * index + kind] for row in rows) for kind in (0, 1)
        )
        report(f"first entry of a process: {name}", (cpu, wall))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    count = parser.parse_args().entries
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "history.db"
        os.environ["ARTGEN_HISTORY_FILE"] = str(path)
        with open_history(busy_seconds=ENTRY_BUSY_SECONDS) as history:
            seconds = fill(history, count)
            print(f"{count:,} entries in one transaction: {seconds:.1f} s of CPU time")
            thumbnail_bytes = history._fetch("SELECT sum(length(data)) FROM thumbnail")[0][0]
            size = path.stat().st_size
            print(f"file: {size / 1e6:.0f} MB, of which thumbnails {thumbnail_bytes / 1e6:.0f} MB")
            print("\n| operation | CPU time in ms | wall time in ms |\n|---|---|---|")
            measure_searches(history)
            measure_entries(folder, history, count)
        measure_start()


if __name__ == "__main__":
    main()
