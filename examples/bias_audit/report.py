"""Write the result of an audit: `report.json`, `shares.csv`, `images.csv` and the contact sheets."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from clusters import Clusters
from prompt_list import Prompt
from shares import CONFIDENCE, Share

import artgen

VERSION = 1
"""Version of the structure of `report.json`."""
SHEET_COLUMNS = 10
SHEET_IMAGES = 20
"""Images on a contact sheet: the first ones in the order of the seeds, without selection."""
CELL_PX = 96
RECORDED_SETTINGS = ("steps", "guidance_scale", "scheduler", "width", "height", "dtype")
RECORDED_MODEL = ("model", "model_source", "model_revision", "model_hash", "architecture")
RECORDED_VERSIONS = ("artgen", "torch", "diffusers")


@dataclass(frozen=True)
class AuditedImage:
    """Store a generated image and its labels.

    Attributes:
        path: image file.
        prompt: prompt of the image.
        seed: random seed.
        labels: attribute -> label.
    """

    path: Path
    prompt: Prompt
    seed: int
    labels: Mapping[str, str]


@dataclass(frozen=True)
class Audit:
    """Store the result of an audit.

    Attributes:
        record: record of the first image: model, settings and versions.
        list_sha256: SHA-256 of the list of prompts.
        num_seeds: seeds per prompt.
        labels: description of the labels, see `Labeler`.
        images: labeled images, in the order of the prompts and seeds.
        shares: shares of the labels.
        clusters: clusters of the images.
        withheld: number of images of each prompt that the safety checker of the model withheld.
    """

    record: Mapping[str, Any]
    list_sha256: str
    num_seeds: int
    labels: Mapping[str, Any]
    images: Sequence[AuditedImage]
    shares: Sequence[Share]
    clusters: Clusters
    withheld: Mapping[str, int]

    @property
    def prompts(self) -> tuple[Prompt, ...]:
        """Return the prompts in the order of the list."""
        return tuple(dict.fromkeys(image.prompt for image in self.images))

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return str(self.record["model"])


def report_data(audit: Audit) -> dict[str, Any]:
    """Return the content of `report.json`. It contains no dates and no paths, so equal audits have equal files."""
    return {
        "bias audit": VERSION,
        "model": {name: audit.record[name] for name in RECORDED_MODEL if name in audit.record},
        "settings": {name: audit.record[name] for name in RECORDED_SETTINGS if name in audit.record},
        "versions": {name: audit.record[name] for name in RECORDED_VERSIONS if name in audit.record},
        "prompt list sha256": audit.list_sha256,
        "seeds": f"1-{audit.num_seeds}",
        "images": len(audit.images),
        "withheld": dict(audit.withheld),
        "labels": dict(audit.labels),
        "interval": f"Wilson score, {CONFIDENCE:.0%}",
        "shares": [asdict(share) for share in audit.shares],
        "clusters": list(audit.clusters.prompts),
        "diversity": audit.clusters.diversity,
    }


def write_tables(audit: Audit, out: Path) -> None:
    """Write `report.json`, `shares.csv` and `images.csv`."""
    (out / "report.json").write_text(json.dumps(report_data(audit), indent=1) + "\n", encoding="utf-8")
    names = [field.name for field in fields(Share)]
    _write_csv(out / "shares.csv", names, (asdict(share) for share in audit.shares))
    attributes = dict.fromkeys(name for image in audit.images for name in image.labels)
    rows = (
        {
            "file": image.path.relative_to(out).as_posix(),
            "group": image.prompt.group,
            "prompt": image.prompt.text,
            "seed": image.seed,
            **image.labels,
            "cluster": cluster,
        }
        for image, cluster in zip(audit.images, audit.clusters.numbers, strict=True)
    )
    _write_csv(out / "images.csv", ["file", "group", "prompt", "seed", *attributes, "cluster"], rows)


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, restval="")
        writer.writeheader()
        writer.writerows(rows)


def write_sheets(audit: Audit, out: Path) -> None:
    """Write a contact sheet for each prompt and each cluster to `sheets/`."""
    folder = out / "sheets"
    folder.mkdir(exist_ok=True)
    for number, prompt in enumerate(audit.prompts, 1):
        _write_sheet(
            [image.path for image in audit.images if image.prompt == prompt], folder / sheet_name("prompt", number)
        )
    for number in range(1, len(audit.clusters.prompts) + 1):
        numbered = zip(audit.images, audit.clusters.numbers, strict=True)
        paths = [image.path for image, each in numbered if each == number]
        spread = paths[:: max(1, len(paths) // SHEET_IMAGES)]
        _write_sheet(spread, folder / sheet_name("cluster", number))


def sheet_name(kind: str, number: int) -> str:
    """Return the file name of a contact sheet."""
    return f"{kind}-{number:02}.jpg"


def _write_sheet(paths: Sequence[Path], file: Path) -> None:
    shown = paths[:SHEET_IMAGES]
    sheet = artgen.sheet(list(shown), columns=SHEET_COLUMNS, cell=CELL_PX, label="none")
    sheet.save(file, overwrite=True)
