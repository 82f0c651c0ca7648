"""Test the scores of images: `--best-of`, `artgen rank`, and CLIP models."""

import csv
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hub_server
import numpy as np
import pytest
import tiny_clip
import torch
from command_line import run
from diffusers import DDPMScheduler, StableDiffusionPipeline
from hub_models import folder_files
from PIL import Image
from transformers import CLIPModel, CLIPProcessor

import artgen
from artgen.engine.diffusion.antithetic_noise import antithetic_noise
from artgen.engine.image_scores.model_score import NOISE_LEVELS, NOISE_SEED
from artgen.registry.hub import client

TINY = ("-m", "tiny", "--steps", "2", "--batch-size", "1")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[hub_server.Hub]:
    """Run a hub without files."""
    monkeypatch.setattr(client, "sleep", lambda seconds: None)
    with hub_server.serve(hub_server.Hub()) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def pixels(path: str | Path) -> bytes:
    return Image.open(path).tobytes()


def test_best_of_keeps_the_image_with_the_highest_score_and_replay_gives_the_same_pixels() -> None:
    (record,) = map(
        json.loads, run("txt2img", "a fox", *TINY, "-s", "5", "--best-of", "3", "--json").stdout.splitlines()
    )
    scores = [float(score) for score in record["best_of_scores"]]
    assert record["best_of_seeds"] == ["5", "6", "7"]
    assert record["seed"] == 5 + scores.index(max(scores))
    assert len(set(scores)) == 3
    assert record["best_of_score"] == "model"
    assert not {"best_of", "score", "score_model"} & record.keys()
    run("txt2img", "a fox", *TINY, "-s", str(record["seed"]), "-o", "plain.png")
    assert pixels(record["file"]) == pixels("plain.png")
    replayed = json.loads(run("replay", record["file"], "-o", "again.png", "--json").stdout)
    assert pixels("again.png") == pixels("plain.png")
    assert "best_of_seeds" not in replayed
    assert Image.open(record["file"]).info["parameters"] == Image.open("plain.png").info["parameters"]
    ranked = artgen.rank([record["file"]], model="tiny")
    assert ranked[0].prompt == "a fox"
    assert f"{ranked[0].score:.6g}" == record["best_of_scores"][scores.index(max(scores))]


def test_seeds_of_several_best_images_do_not_overlap_and_a_batch_is_continued() -> None:
    Path("p.jsonl").write_text('{"prompt": "a fox", "best_of": 2, "count": 2, "seed": 7}\n{"prompt": "a cat"}\n')
    options = (*TINY, "-o", "out", "--json")
    records = [json.loads(line) for line in run("batch", "p.jsonl", *options).stdout.splitlines()]
    assert [record.get("best_of_seeds") for record in records] == [["7", "8"], ["9", "10"], None]
    before = {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")}
    run("batch", "p.jsonl", *options)
    shutil.rmtree("out/artgen-ledger")
    assert "found by their records" in run("batch", "p.jsonl", *TINY, "-o", "out").stderr
    assert {path: path.stat().st_mtime_ns for path in Path("out").glob("*.png")} == before
    listed = run("txt2img", "x", *TINY, "-s", "7", "--count", "2", "--best-of", "4", "--dry-run").stdout
    assert [word for word in listed.split() if word.startswith("seed=")] == ["seed=7", "seed=11"]
    varied = artgen.txt2img("x", model="tiny", steps=1, seed=1, variation_seed=4, variation_strength=0.5, best_of=2)
    assert isinstance(varied, artgen.GeneratedImage)
    assert (varied.record["seed"], varied.record["best_of_seeds"]) == (1, ["4", "5"])


def test_model_score_equals_a_reference_with_plain_diffusers(models: Mapping[str, Path]) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(models["sd1"])
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8))
    x0 = pipe.vae.encode(pipe.image_processor.preprocess(image)).latent_dist.mode() * pipe.vae.config.scaling_factor
    scheduler = DDPMScheduler.from_config(pipe.scheduler.config)
    prompts = pipe.encode_prompt("a red fox", "cpu", 1, True, None)
    expected = []
    for index, level in enumerate(NOISE_LEVELS):
        t = torch.tensor([round(level * 1000) - 1])
        noise = torch.from_numpy(antithetic_noise(x0.shape, NOISE_SEED, index, 0))
        noisy, alpha = scheduler.add_noise(x0, noise, t), scheduler.alphas_cumprod[t]
        with torch.no_grad():
            outputs = [pipe.unet(noisy, t, encoder_hidden_states=each).sample for each in prompts]
        # v = sqrt(alpha) * noise - sqrt(1 - alpha) * x0, and noisy - sqrt(1 - alpha) * noise = sqrt(alpha) * x0
        errors = [((output - noise).square() / alpha).mean().item() for output in outputs]
        expected.append(errors[1] - errors[0])
    found = artgen.rank([image], "a red fox", model=str(models["sd1"]))[0].score
    assert found == pytest.approx(np.mean(expected), rel=1e-3, abs=1e-6)


def test_clip_scores_equal_plain_transformers_and_select_the_best_image(clip: Path) -> None:
    options = (*TINY, "-s", "1", "--score", "clip", "--score-model", str(clip))
    record = json.loads(run("txt2img", "a (red:1.3) fox", *options, "--best-of", "2", "-o", "a.png", "--json").stdout)
    assert (record["best_of_score"], record["best_of_score_model"]) == ("clip", "local")
    with torch.no_grad():
        inputs = CLIPProcessor.from_pretrained(clip)(
            text=["a red fox"], images=[Image.open("a.png")], return_tensors="pt"
        )
        outputs = CLIPModel.from_pretrained(clip).eval()(**inputs)
    expected = float(torch.nn.functional.cosine_similarity(outputs.image_embeds, outputs.text_embeds))
    assert max(map(float, record["best_of_scores"])) == pytest.approx(expected, abs=1e-5)
    ranked = artgen.rank(["a.png"], score="clip", score_model=clip)
    assert ranked[0].score == pytest.approx(expected, abs=1e-5)
    assert (
        "has no effect with --score clip"
        in run("rank", "a.png", "--score", "clip", "--score-model", str(clip), "-m", "tiny", code=2).stderr
    )


def test_a_clip_model_of_the_hub_is_downloaded_once(clip: Path, hub: hub_server.Hub) -> None:
    hub.files = {**folder_files(clip), "pytorch_model.bin": b"pickle"}
    options = ("a fox", *TINY, "-s", "1", "--best-of", "2", "--score", "clip", "--score-model", "owner/tiny")
    assert "network is disabled" in run("txt2img", *options, "--offline", code=4).stderr
    dry = run("txt2img", *options, "--dry-run").stderr
    assert "The CLIP model 'owner/tiny' (see its page for the license) will be downloaded: about" in dry
    assert hub.downloads() == []
    record = json.loads(run("txt2img", *options, "-o", "a.png", "--json").stdout)
    assert {*hub.downloads()} == {
        "config.json", "preprocessor_config.json", "tokenizer_config.json", "vocab.json", "merges.txt",
        "model.safetensors",
    }  # fmt: skip
    assert record["best_of_score_model"].startswith("owner/tiny@")
    hub.requests.clear()
    rank = ("rank", "a.png", "--score", "clip", "--score-model", "owner/tiny", "--json")
    assert json.loads(run(*rank).stdout)["model"] == "owner/tiny"
    hub.files = {**hub.files, "config.json": b'{"model_type": "siglip"}'}
    assert not hub.downloads()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--score", "clip"), "--score has no effect without --best-of"),
        (("--best-of", "2", "--score-model", "x"), "--score-model has no effect without --score clip"),
        (("--best-of", "0"), "best_of must be 1 to 64, not 0"),
        (("--best-of", "2", "--score", "clip", "--score-model", "nothing"), "Unknown CLIP model: 'nothing'"),
        (("--best-of", "2", "-m", "sd-turbo", "--offline"), "sd-turbo"),
        (("--best-of", "2", "-m", "SD3"), "Cannot score images with"),
        (("--best-of", "2", "--prompt", ""), "Cannot"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_name(
    options: tuple[str, ...], text: str, models: Mapping[str, Path]
) -> None:
    arguments = [str(models["sd3"]) if each == "SD3" else each for each in options]
    prompt = [] if "--prompt" in arguments else ["a fox"]
    result = run("txt2img", *prompt, *arguments, code=None)
    assert result.exit_code in (2, 4)
    assert text in result.stderr


def test_rank_orders_images_and_lists_damaged_files() -> None:
    Path("in").mkdir()
    for prompt in ("a pizza", "a fox"):
        run("txt2img", prompt, "-m", "tiny", "--steps", "6", "-s", "1", "-o", f"in/{prompt[2:]}.png")
    Path("in/damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    files = ("--csv", "scores.csv", "--sheet", "sheet.png")
    result = run("rank", "in", "--prompt", "a fox", "-m", "tiny", *files, code=7)
    rows = [line.split() for line in result.stdout.splitlines()]
    assert [(row[0], row[-1]) for row in rows] == [
        ("1", "in/fox.png"), ("2", "in/pizza.png"), ("-", "in/damaged.png"),
    ]  # fmt: skip
    assert float(rows[0][1]) > 0 > float(rows[1][1])
    table = list(csv.DictReader(Path("scores.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["rank"] for row in table] == ["1", "2", ""]
    assert float(table[1]["score"]) < 0
    assert "Cannot decode" in table[2]["error"]
    assert Image.open("sheet.png").width > 256
    assert run("rank", "in", "--prompt", "a fox", *files, code=74).stderr.startswith("error:")
    printed = run("rank", "in/fox.png", "-m", "tiny", "--csv", "-").stdout.splitlines()
    assert [line[:14] for line in printed] == ["rank,file,scor", "1,in/fox.png,0"]
    own: list[dict[str, Any]] = [
        json.loads(line) for line in run("rank", "in", "-m", "tiny", "--json", code=7).stdout.splitlines()
    ]
    assert {each["prompt"] for each in own} == {"a fox", "a pizza", None}
    assert all(each["score"] > 0 for each in own[:2])
    Image.new("RGB", (40, 30)).save("plain.png")
    assert "it has no recorded prompt" in run("rank", "plain.png", code=3).stderr


@pytest.fixture
def noise_images() -> Path:
    """Write five images, and a damaged file."""
    folder = Path("noise")
    folder.mkdir()
    for index in range(5):
        pixels = np.random.default_rng(index).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    (folder / "bad.png").write_bytes(b"nothing")
    return folder


def test_the_parts_of_a_ranking_are_combined(noise_images: Path, models: Mapping[str, Path]) -> None:
    options = ("rank", str(noise_images), "--prompt", "a fox", "-m", str(models["sd1"]))
    run(*options, "--csv", "all.csv", code=7)
    part = (*options, "--csv", "parts.csv", "--sheet", "best.png", "--shard")
    assert "The last part writes 'parts.csv'" in run(*part, "2/8", code=0).stderr
    assert run(*part, "2/8", code=74).stderr.startswith("error: 'parts-2of8.csv' exists already.")
    codes = [run(*part, f"{index}/8", code=None).exit_code for index in (0, 1, 3, 4, 5, 6)]
    assert codes == [0, 0, 0, 0, 3, 0]
    assert not Path("parts.csv").exists()
    assert not Path("best.png").exists()
    run(*part, "7/8")
    assert Path("parts.csv").read_bytes() == Path("all.csv").read_bytes()
    assert Image.open("best.png").width > 256
    assert not list(Path().glob("parts-*"))
    for arguments, text in (
        (("--shard", "3/2"), "Cannot use --shard '3/2'"),
        (("--shard", "0/2", "--sheet", "a.png"), "Add --csv scores.csv."),
        (("--workers", "2", "--device", "cuda:0"), "Cannot combine --workers with --device cuda:0"),
        (("--workers", "0"), "workers must be 1 to 256"),
    ):
        assert text in run(*options, *arguments, code=2).stderr


@pytest.mark.slow
def test_scores_of_several_processes_equal_those_of_one(noise_images: Path, models: Mapping[str, Path]) -> None:
    options = ("rank", str(noise_images), "--prompt", "a fox", "-m", str(models["sd1"]), "--csv")
    run(*options, "one.csv", code=7)
    run(*options, "workers.csv", "--workers", "2", code=7)
    run(*options, "ray.csv", "--ray", "local", code=7)
    assert Path("workers.csv").read_bytes() == Path("one.csv").read_bytes() == Path("ray.csv").read_bytes()
