"""Test the bias audit of the examples: resuming, labels, shares, and the page of the report."""

import csv
import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import numpy as np
import pytest
import tiny_clip
import torch
from browser import CHROMIUM, chromium, console_messages, requested_addresses
from hub_models import folder_files
from PIL import Image, ImageDraw
from transformers import CLIPModel, CLIPProcessor

from artgen.registry.hub import client

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = (
    "audit", "bias_section", "clip_labels", "clusters", "compare_audits", "concept_network", "judge_labels", "labels",
    "named_colors", "page", "pixel_labels", "prompt_adherence", "prompt_list", "report", "shares",
)  # fmt: skip
PROMPTS = {
    "occupations": {"shows": "people", "prompts": ["a doctor"]},
    "things": {"shows": "things", "prompts": ["an apple"]},
}


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the modules of the example importable during a test."""
    monkeypatch.setattr(sys, "path", [str(EXAMPLES / "bias_audit"), *sys.path])
    yield
    for name in NAMES:
        sys.modules.pop(name, None)


@pytest.fixture
def prompts() -> Path:
    path = Path("prompts.json")
    path.write_text(json.dumps(PROMPTS))
    return path


def run_script(name: str, *arguments: object) -> int:
    """Run the main function of a script, and return its exit code."""
    module = __import__(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        try:
            module.main()
        except SystemExit as error:
            return int(error.code or 0)
    return 0


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def check_page(out: Path) -> None:
    """Check that the page loads all images, and nothing from other hosts."""
    page = (out / "report.html").read_text()
    sources = re.findall(r'src="([^"]+)"', page)
    assert "sheets/prompt-01.jpg" in sources
    assert all((out / source).is_file() for source in sources)
    assert not re.findall(r"https?:|<script|url\(", page)
    if CHROMIUM:
        with chromium() as driver:
            driver.get((out / "report.html").absolute().as_uri())
            driver.execute_script("for (const image of document.images) image.loading = 'eager'")
            widths = driver.execute_async_script(
                "const done = arguments[0]; Promise.all([...document.images].map((image) => image.decode()))"
                ".then(() => done([...document.images].map((image) => image.naturalWidth)), () => done([]))"
            )
            assert len(widths) == len(sources)
            assert all(width > 0 for width in widths)
            assert console_messages(driver) == []
            assert {address.partition(":")[0] for address in requested_addresses(driver)} <= {"file", "data"}


def test_audit_continues_and_a_second_audit_has_the_same_counts(prompts: Path) -> None:
    options = ("--prompts", prompts, "--steps", 2)
    assert run_script("audit", *options, "--seeds", 1, "-o", "first") == 0
    assert json.loads(Path("first/report.json").read_text())["images"] == 2
    before = {path.name: path.stat().st_mtime_ns for path in Path("first/images").glob("*.png")}
    assert run_script("audit", *options, "--seeds", 3, "-o", "first") == 0
    after = {path.name: path.stat().st_mtime_ns for path in Path("first/images").glob("*.png")}
    assert len(after) == 6
    assert before.items() <= after.items()
    assert run_script("audit", *options, "--seeds", 3, "-o", "second") == 0
    assert Path("first/report.json").read_bytes() == Path("second/report.json").read_bytes()

    report = json.loads(Path("first/report.json").read_text())
    doctor = [share for share in report["shares"] if (share["prompt"], share["attribute"]) == ("a doctor", "person")]
    assert sum(share["count"] for share in doctor) == 3
    assert all(share["low"] <= share["share"] <= share["high"] for share in report["shares"])
    assert {share["attribute"] for share in report["shares"] if share["group"] == "things"} == {
        "shows", "color", "count", "background",
    }  # fmt: skip
    assert sum(sum(counts.values()) for counts in report["clusters"]) == 6
    rows = read_rows(Path("first/images.csv"))
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (text, str(seed)) for text in ("a doctor", "an apple") for seed in (1, 2, 3)
    ]
    assert all(Path("first", row["file"]).is_file() for row in rows)
    check_page(Path("first"))

    from bias_section import bias_section

    assert re.search(
        r"^\| a doctor \|( \d+ % \(\d+ to \d+\) \|){4}$", bias_section(Path("first/report.json")), re.MULTILINE
    )
    assert bias_section(Path("first/missing.json")) == ""


def test_judge_names_the_objects_of_the_contact_sheet_of_the_bundled_model() -> None:
    from judge_labels import JUDGE_FOLDER, JudgeLabeler
    from prompt_list import Prompt

    provenance = json.loads((JUDGE_FOLDER / "provenance.json").read_text())
    weights = JUDGE_FOLDER / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == provenance["sha256"]
    sheet = Image.open(EXAMPLES.parent / "artgen" / "assets" / "tiny" / "contact_sheet.png").convert("RGB")
    side = sheet.width // 8
    images = [sheet.crop((x * side, y * side, (x + 1) * side, (y + 1) * side)) for y, x in np.ndindex(4, 8)]
    labels = JudgeLabeler().label(images, [Prompt("a thing", "things", "things")] * len(images)).labels
    expected = {
        0: "fox", 1: "cat", 2: "dog", 3: "elephant", 4: "penguin", 6: "owl", 7: "butterfly", 11: "dragon",
        12: "red apple", 14: "pizza", 16: "strawberry", 20: "banana", 24: "automobile", 26: "rocket", 28: "bicycle",
    }  # fmt: skip
    assert {i: labels[i]["shows"] for i in expected} == expected
    colors = {12: "red", 13: "purple", 20: "yellow", 25: "blue"}  # 13 and 25: a purple apple, a blue car
    assert {i: labels[i]["color"] for i in colors} == colors


def draw(background: tuple[int, int, int], *circles: tuple[int, int, int]) -> np.ndarray:
    """Return an image with circles of these colors beside each other."""
    image = Image.new("RGB", (128, 128), background)
    for index, color in enumerate(circles):
        ImageDraw.Draw(image).ellipse((12 + 38 * index, 48, 42 + 38 * index, 78), color)
    return np.asarray(image)


def test_pixel_labels_of_drawings() -> None:
    from pixel_labels import pixel_labels
    from prompt_list import Prompt

    thing, person = Prompt("a ball", "things", "things"), Prompt("a nurse", "occupations", "people")
    red, gray, white, blue = (224, 48, 48), (90, 90, 90), (255, 255, 255), (36, 104, 224)
    ramp = np.repeat(np.linspace(0, 255, 128)[:, None, None], 128, 1).repeat(3, 2).astype(np.uint8)
    for image, expected in (
        (draw(white, red), ("red", "1", "plain white")),
        (draw(blue, red, red), ("red", "2", "plain blue")),
        (draw(white, gray, gray, gray), ("no hue", "3", "plain white")),
        (draw(white), ("unclear", "0", "plain white")),
        (ramp, ("unclear", "unclear", "scene or gradient")),
    ):
        labels = pixel_labels(image, thing)
        assert (labels["color"], labels["count"], labels["background"]) == expected
        assert pixel_labels(image, person) == {"background": expected[2]}


def test_intervals_equal_published_values() -> None:
    from prompt_list import Prompt
    from shares import Share, count_shares, difference_interval, wilson_interval

    assert wilson_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, "Two-sided ..."
    # Newcombe 1998, "Interval estimation for the difference ...", table II, contrast a, method 10: 56/70 - 48/80
    first, second = (
        Share("g", "p", "a", "l", n, of, n / of, *wilson_interval(n, of)) for n, of in ((48, 80), (56, 70))
    )
    assert difference_interval(first, second) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    prompts = [Prompt(text, "things", "things") for text in ("a cat", "a cat", "a car")]
    shares = count_shares(prompts, [{"color": "red"}, {"color": "blue"}, {"color": "red"}])
    assert [(share.prompt, share.label, share.count, share.images) for share in shares] == [
        ("", "red", 2, 3), ("", "blue", 1, 3), ("a cat", "blue", 1, 2), ("a cat", "red", 1, 2), ("a car", "red", 1, 1),
    ]  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[hub_server.Hub]:
    """Run a hub with a tiny CLIP model."""
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    clip = tiny_clip.clip(tmp_path / "clip")
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.files = folder_files(clip)
        yield running


def test_clip_labels_equal_plain_transformers(
    hub: hub_server.Hub, tmp_path: Path, prompts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--prompts", prompts, "--steps", 1, "--seeds", 2, "-o", "out")
    assert run_script("audit", *options, "--labels", "owner/tiny", "--offline") == 4
    assert "network is disabled" in capsys.readouterr().err
    assert not Path("out").exists()
    assert run_script("audit", *options, "--labels", "owner/tiny") == 0
    report = json.loads(Path("out/report.json").read_text())
    assert report["labels"]["source"].startswith("owner/tiny@")
    rows = read_rows(Path("out/images.csv"))
    assert {"gender", "age", "skin tone", "background", "color", "count"} <= rows[0].keys()

    from clip_labels import MIN_PROBABILITY, ClipLabeler
    from prompt_list import Prompt

    model = CLIPModel.from_pretrained(tmp_path / "clip").eval()
    processor = CLIPProcessor.from_pretrained(tmp_path / "clip")
    texts = ClipLabeler(str(tmp_path / "clip")).texts(Prompt("an apple", "things", "things"))
    assert texts["color"]["red"] == "a photo of a red apple"
    for row in rows[2:]:
        image = Image.open(Path("out", row["file"])).convert("RGB")
        for attribute, candidates in texts.items():
            with torch.no_grad():
                inputs = processor(text=[*candidates.values()], images=[image], padding=True, return_tensors="pt")
                probabilities = model(**inputs).logits_per_image.softmax(1)[0]
            best = [*candidates][int(probabilities.argmax())] if probabilities.max() >= MIN_PROBABILITY else "unclear"
            assert row[attribute] == best


def report(shares: list[tuple[str, str, int]], **changes: Any) -> dict[str, Any]:
    """Return the content of a report with shares of 50 images: prompt, label, count."""
    from shares import wilson_interval

    rows = [
        {"group": "things", "prompt": prompt, "attribute": "color", "label": label, "count": count, "images": 50,
         "share": count / 50, **dict(zip(("low", "high"), wilson_interval(count, 50), strict=True))}
        for prompt, label, count in shares
    ]  # fmt: skip
    labels = {"source": "judge", "sha256": "1"}
    return {
        "bias audit": 1,
        "model": {"model": "a"},
        "prompt list sha256": "2",
        "labels": labels,
        "shares": rows,
        **changes,
    }


def test_compare_reports_clear_differences_and_refuses_other_labels(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.json").write_text(json.dumps(report([("a car", "red", 50), ("a cat", "gray", 26), ("a cat", "red", 24)])))
    second = [
        ("a car", "blue", 30),
        ("a car", "red", 20),
        ("a cat", "gray", 25),
        ("a cat", "red", 25),
        ("a dog", "red", 50),
    ]
    Path("b.json").write_text(json.dumps(report(second)))
    assert run_script("compare_audits", "a.json", "b.json", "--csv", "all.csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("a car: color blue: 0% -> 60% (+60, +44 to +72)")
    assert lines[2].startswith("a car: color red: 100% -> 40% (-60, ")
    assert lines[3].startswith("2 of 4 intervals do not contain 0.")
    assert len(Path("all.csv").read_text().splitlines()) == 5
    changes: dict[str, Any] = {"prompt list sha256": "3"}
    Path("b.json").write_text(json.dumps(report([*second, ("", "red", 50)], **changes)))
    Path("a.json").write_text(json.dumps(report([("a car", "red", 50), ("", "red", 1)])))
    assert run_script("compare_audits", "a.json", "b.json") == 0
    output = capsys.readouterr()
    assert "Only the common prompts are compared." in output.err
    assert "all things" not in output.out
    Path("b.json").write_text(json.dumps(report(second, labels={"source": "clip"})))
    assert run_script("compare_audits", "a.json", "b.json") == 2
    assert "Cannot compare labels of judge with labels of clip." in capsys.readouterr().err
    Path("b.json").write_text("[]")
    assert run_script("compare_audits", "a.json", "b.json") == 3


@pytest.mark.parametrize(
    ("content", "arguments", "code", "message"),
    [
        ("{", (), 3, "it is not a list of prompts"),
        ('{"a": {"shows": "dreams", "prompts": ["x"]}}', (), 3, "'shows' is 'dreams'"),
        ('{"a": {"shows": "people", "prompts": ["x", "x"]}}', (), 3, "repeated prompt"),
        (None, (), 3, "Cannot read"),
        (json.dumps(PROMPTS), ("--seeds", 0), 2, "at least 1"),
        (json.dumps(PROMPTS), ("--seeds", 20_000), 2, "the limit is 12,000"),
        (json.dumps(PROMPTS), ("-o", "list.json/out"), 74, "Not a directory"),
        (json.dumps(PROMPTS), ("--labels", "no such model"), 2, "Unknown CLIP model"),
        (json.dumps(PROMPTS), ("-m", "no-such-model", "--labels", "judge", "--offline"), 4, "no-such-model"),
    ],
)
def test_invalid_input_is_rejected_before_images_are_generated(
    content: str | None, arguments: tuple[object, ...], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        Path("list.json").write_text(content)
    assert run_script("audit", "--prompts", "list.json", "-o", "out", *arguments) == code
    assert message in capsys.readouterr().err
    assert not list(Path().glob("out/**/*.png"))
