"""Test the anomaly search: statistics, results, validation and the command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import tiny_denoisers as tiny
from command_line import run
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from artgen import Anomaly, Txt2Img, find_anomalies, generate
from artgen.engine.anomaly import features, pixel
from artgen.engine.anomaly.detector import AnomalyDetector
from artgen.engine.anomaly.result import AnomalyResult
from artgen.engine.anomaly.statistics import NormalStatistics, fit_statistics, p_value
from artgen.engine.diffusion.antithetic_noise import antithetic_noise
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import no_op
from artgen.jobs.anomaly import min_normal_images, prepare_anomaly_job

SIDE = 48
DEFECT = (slice(12, 28), slice(20, 36))
"""Rows and columns of the defect."""
FAST = {"noise_levels": "25,50", "noise_samples": 1}
NUM_NORMAL = 20
FASTEST = {"noise_levels": "50", "noise_samples": 1, "alpha": 0.2}
"""Settings for eight normal images."""


def texture(seed: int) -> np.ndarray:
    """Return stripes with a random phase and weak noise."""
    rng = np.random.default_rng(seed)
    x = np.arange(SIDE)
    stripes = 128 + 40 * np.sin(x / 2 + rng.uniform(0, 7))
    values = stripes[None, :, None] + rng.normal(0, 4, (SIDE, SIDE, 3))
    return values.clip(0, 255).astype(np.uint8)


def texture_with_defect(seed: int) -> np.ndarray:
    """Return the texture with a smooth spot."""
    values = texture(seed)
    values[DEFECT] = 128
    return values


def save_textures(folder: Path, count: int, num_heights: int = 1) -> Path:
    folder.mkdir()
    for seed in range(count):
        Image.fromarray(texture(seed)[: SIDE - seed % num_heights]).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_textures(tmp_path_factory.mktemp("texture") / "normal", NUM_NORMAL)


@pytest.fixture(scope="module")
def fit(normal: Path) -> Path:
    file = normal.parent / "texture.safetensors"
    file.write_bytes(AnomalyDetector(prepare_anomaly_job(Anomaly(fit=normal, **FAST)), no_op).fit().to_safetensors())
    return file


@pytest.fixture(autouse=True)
def _images() -> None:
    Image.fromarray(texture(100)).save("intact.png")
    Image.fromarray(texture_with_defect(100)).save("defect.png")


def score(name: str | Path, **settings: object) -> AnomalyResult:
    return next(find_anomalies([name], Anomaly(**settings)))  # type: ignore[arg-type]


# -- results


def test_defect_is_anomalous_and_located_by_the_heatmap(fit: Path) -> None:
    intact, defect = (score(name, fit=fit) for name in ("intact.png", "defect.png"))
    assert defect.score > 1.5 * intact.score
    assert (defect.p_value, defect.is_anomalous) == (pytest.approx(1 / (NUM_NORMAL + 1)), True)
    assert intact.p_value is not None
    assert intact.p_value > 0.05
    assert not intact.is_anomalous
    rows, columns = DEFECT
    x, y = defect.peak_xy
    assert rows.start <= y < rows.stop
    assert columns.start <= x < columns.stop
    assert defect.heatmap[DEFECT].mean() > 2 * np.delete(defect.heatmap, np.arange(8, 32), axis=0).mean()
    assert defect.heatmap.shape == (SIDE, SIDE)


def test_score_and_heatmap_without_normal_images(normal: Path) -> None:
    intact, defect = (score(name, **FAST) for name in ("intact.png", "defect.png"))
    assert (defect.p_value, defect.is_anomalous, defect.threshold) == (None, None, None)
    assert defect.score > intact.score
    x, y = defect.peak_xy
    assert DEFECT[0].start - 4 <= y < DEFECT[0].stop + 4
    assert DEFECT[1].start - 4 <= x < DEFECT[1].stop + 4


def test_seed_determines_the_result(fit: Path) -> None:
    first, again, other = (score("defect.png", seed=seed, **FAST) for seed in (3, 3, 4))
    assert first.score == again.score
    assert np.array_equal(first.heatmap, again.heatmap)
    assert first.score != other.score


def test_fit_file_gives_the_same_result_as_its_folder(tmp_path: Path) -> None:
    folder = save_textures(tmp_path / "few", 8)
    job = prepare_anomaly_job(Anomaly(fit=folder, **FASTEST))
    Path("few.safetensors").write_bytes(AnomalyDetector(job, no_op).fit().to_safetensors())
    from_file, from_folder = (score("defect.png", fit=fit, **FASTEST) for fit in (Path("few.safetensors"), folder))
    assert (from_file.score, from_file.p_value) == (from_folder.score, from_folder.p_value)
    assert from_file.threshold == from_folder.threshold


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_all_image_modes_are_scored(mode: str) -> None:
    image = Image.fromarray(texture_with_defect(1)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image.save("in.tif" if mode == "CMYK" else "in.png")
    result = score("in.tif" if mode == "CMYK" else "in.png", noise_levels="50", noise_samples=1)
    assert result.heatmap.shape == (SIDE, SIDE)
    assert np.isfinite(result.heatmap).all()


@pytest.mark.parametrize("size", [(32, 32), (33, 90), (301, 40)])
def test_all_image_sizes_are_scored(size: tuple[int, int]) -> None:
    Image.fromarray(texture(1)).resize(size).save("in.png")
    result = score("in.png", noise_levels="50,200", noise_samples=1)
    assert result.heatmap.shape == size[::-1]


def test_gray_model_scores_color_images(tmp_path: Path) -> None:
    gray = tiny.save(tmp_path / "gray", tiny.unet(channels=1))
    assert np.isfinite(score("defect.png", model=gray, **FAST).score)


def test_normal_images_of_several_sizes_share_statistics_over_all_cells(tmp_path: Path) -> None:
    mixed = save_textures(tmp_path / "mixed", 8, num_heights=3)
    events: list[object] = []
    [result] = find_anomalies(["defect.png"], Anomaly(fit=mixed, **FASTEST), listener=events.append)
    assert result.is_anomalous
    assert "over all cells" in str(events)


def test_prompt_changes_the_latent_score(sd1: str) -> None:
    request = Anomaly(model=sd1, prompt="a red fox", noise_levels="0.3,0.6", noise_samples=1)
    assert request.resolved_method == "latent"
    [with_prompt], [without_prompt] = (
        list(find_anomalies(["defect.png"], each))
        for each in (request, Anomaly(model=sd1, method="latent", noise_samples=1))
    )
    assert with_prompt.heatmap.shape == without_prompt.heatmap.shape == (SIDE, SIDE)
    assert with_prompt.score != without_prompt.score


def test_bundled_model_scores_images_that_do_not_match_the_prompt_higher() -> None:
    generate(Txt2Img(prompt="a red apple", model="tiny", seed=1, steps=6)).image.save("apple.png")
    scores = {
        prompt: score("apple.png", model="tiny", prompt=prompt, noise_levels="0.5,0.7", noise_samples=1).score
        for prompt in ("a red apple", "a blue car")
    }
    assert scores["a red apple"] < 0 < scores["a blue car"]


# -- statistics


def test_p_values_of_normal_images_are_uniform() -> None:
    rng = np.random.default_rng(0)

    def feature_maps(count: int) -> list[np.ndarray]:
        mean = np.arange(6.0)[:, None, None] + np.linspace(0, 3, 8)
        offsets = rng.normal(0, 0.5, (count, 6, 1, 1))
        return list((mean + offsets + rng.normal(0, 1, (count, 6, 8, 8))).astype(np.float32))

    p_values = []
    for _ in range(10):
        statistics, scores = fit_statistics(feature_maps(30))
        p_values += [p_value(statistics.score(maps).score, scores) for maps in feature_maps(30)]
    for level in (0.1, 0.25, 0.5, 0.75):
        assert np.mean(np.array(p_values) <= level) == pytest.approx(level, abs=0.09)


def test_cell_means_are_fitted_only_where_they_differ() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (30, 2, 8, 8))
    noise[:, 1] += np.linspace(-3, 3, 64).reshape(8, 8)
    statistics = NormalStatistics.fit(list(noise))
    assert np.abs(statistics.cell_mean[0]).max() < 0.3
    np.testing.assert_allclose(statistics.cell_mean[1], np.linspace(-3, 3, 64).reshape(8, 8), atol=0.8)


def test_p_value_is_conformal() -> None:
    assert p_value(5.0, np.array([1.0, 2.0, 3.0])) == 0.25
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 0.75
    assert min_normal_images(0.05) == 19
    assert min_normal_images(0.01) == 99


def test_strong_noise_uses_downscaled_images_and_antithetic_samples() -> None:
    assert [pixel.downscale_factor(level, 100.4) for level in (25, 100, 101, 200, 400)] == [1, 1, 2, 2, 4]
    first, second = (antithetic_noise((3, 4, 4), 0, 1, sample) for sample in (0, 1))
    assert np.array_equal(first, -second)


def test_equal_images_have_the_lowest_distance() -> None:
    image = texture(0).astype(np.float32).transpose(2, 0, 1)
    same = features.compute_feature_maps([pixel.LevelReconstruction(image, image)], (SIDE, SIDE))
    other = features.compute_feature_maps([pixel.LevelReconstruction(image, image + 9)], (SIDE, SIDE))
    assert (same.distances[:4] == 0).all()
    assert (other.distances[:2] > 4).all()
    np.testing.assert_allclose(other.maps[-3:], -9, atol=1e-3)


# -- validation


def test_fit_rejects_other_settings_weights_and_sizes(fit: Path, tmp_path: Path) -> None:
    other = tiny.save(tmp_path / "other")
    with pytest.raises(RefusedError, match="other weights"):
        score("defect.png", fit=fit, model=other)
    for other in ({"noise_levels": "25"}, {"noise_samples": 4}, {"seed": 7}, {"method": "latent"}):
        with pytest.raises(UsageError, match="was made with"):
            score("defect.png", fit=fit, **other)
    Image.fromarray(texture(1)).resize((50, 50)).save("larger.png")
    with pytest.raises(InputFileError, match="50x50"):
        score("larger.png", fit=fit)


def test_fit_file_is_validated_against_its_header(fit: Path) -> None:
    tensors, header = load_file(fit), safe_open(fit, "numpy").metadata()
    save_file({**tensors, "mean": tensors["mean"][:-1].copy()}, "short.safetensors", metadata=header)
    with pytest.raises(InputFileError, match="damaged"):
        score("defect.png", fit=Path("short.safetensors"))
    save_file(tensors, "other.safetensors")
    with pytest.raises(InputFileError, match="not a fit file"):
        score("defect.png", fit=Path("other.safetensors"))


def test_models_of_other_architectures_are_rejected(sd1: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="not an unconditional pixel model"):
        score("defect.png", model=sd1)
    with pytest.raises(ModelUnavailableError, match="method latent"):
        score("defect.png", model=tiny.save(tmp_path / "pixel"), method="latent")


@pytest.mark.parametrize(
    "settings",
    [
        {"noise_levels": "many"},
        {"noise_levels": "0"},
        {"noise_levels": "0.5,2", "method": "latent"},
        {"noise_levels": ""},
        {"noise_samples": 0},
        {"alpha": 0.0},
        {"alpha": float("nan")},
        {"prompt": "x", "method": "pixel"},
        {"method": "both"},
    ],
    ids=str,
)
def test_invalid_settings_are_rejected(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Anomaly(**settings)  # type: ignore[arg-type]


# -- command


def test_text_and_json_output(fit: Path) -> None:
    result = run("anomaly", "defect.png", "--fit", str(fit))
    assert result.stdout.startswith("anomalous  p 0.0476  score ")
    assert result.stdout.endswith("defect.png\n")
    record = json.loads(run("anomaly", "defect.png", "--fit", str(fit), "--json").stdout)
    assert (record["file"], record["is_anomaly"], record["method"], record["noise_levels"]) == (
        "defect.png",
        True,
        "pixel",
        [25.0, 50.0],
    )
    assert record["p_value"] == pytest.approx(1 / 21)
    assert "p 0" not in run("anomaly", "defect.png", "--noise-levels", "50").stdout


def test_images_of_a_folder_are_ranked(fit: Path, normal: Path) -> None:
    Path("in/deep").mkdir(parents=True)
    Image.open("intact.png").save("in/intact.png")
    Image.open("defect.png").save("in/deep/=defect.png")
    Image.open(normal / "3.png").save("in/known.png")
    Path("in/broken.png").write_text("not an image")
    result = run("anomaly", "in/", "--fit", str(fit), "--csv", "t/table.csv", "--map", "maps", code=7)
    assert next(line.split()[-1] for line in result.stdout.splitlines()) == "in/deep/=defect.png"
    assert len(result.stdout.splitlines()) == 3
    assert "broken.png" in result.stderr
    assert "one of the normal images" in result.stderr
    rows = list(csv.DictReader(Path("t/table.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert (rows[0]["is_anomaly"], rows[1]["is_anomaly"]) == ("true", "false")
    assert sorted(str(path) for path in Path("maps").rglob("*.png")) == [
        "maps/deep/=defect.png", "maps/intact.png", "maps/known.png"
    ]  # fmt: skip


def test_heatmap_is_red_at_the_defect(fit: Path) -> None:
    run("anomaly", "defect.png", "--fit", str(fit), "--map", "heat.png")
    sheet = np.asarray(Image.open("heat.png").convert("RGB"), np.float32)
    factor = 256 / SIDE
    inside = sheet[10 + int(20 * factor), 256 + 20 + int(28 * factor)]
    outside = sheet[10 + int(40 * factor), 256 + 20 + int(8 * factor)]
    assert inside[0] > 200
    assert outside[0] < inside[0] - 60
    assert "exists already" in run("anomaly", "defect.png", "--map", "heat.png", code=74).stderr


def test_equal_heatmap_names_are_rejected(fit: Path) -> None:
    Path("a").mkdir()
    for name in ("a/x.png", "a/x.jpg"):
        Image.open("intact.png").save(name)
    assert "the same name" in run("anomaly", "a", "--fit", str(fit), "--map", "maps", code=2).stderr


def test_fit_is_saved_without_input_images(normal: Path) -> None:
    result = run(
        "anomaly",
        "--fit",
        str(normal),
        "--save-fit",
        "saved.safetensors",
        "--noise-levels",
        "50",
        "--noise-samples",
        "1",
    )
    assert result.stdout == "saved.safetensors\n"
    assert "for each cell, because all normal images are 48x48" in result.stderr
    run("anomaly", "defect.png", "--fit", "saved.safetensors")
    Path("saved.safetensors").write_bytes(Path("saved.safetensors").read_bytes()[:-40])
    assert "not a fit file" in run("anomaly", "defect.png", "--fit", "saved.safetensors", code=3).stderr


def test_control_characters_of_file_names_are_escaped(fit: Path) -> None:
    Image.open("intact.png").save("\x1b[2J.png")
    assert (
        "\x1b" not in run("anomaly", "\x1b[2J.png", "intact.png", "--noise-levels", "50", "--noise-samples", "1").stderr
    )


def test_the_syntax_of_a_prompt_has_a_note() -> None:
    notes: list[str] = []
    request = Anomaly(prompt="a (red:1.3) {fox|cat}", model="tiny")
    prepare_anomaly_job(request, lambda event: notes.append(getattr(event, "text", "")))
    assert "The prompt is plain text. Without effect: the weight of 'red', '{fox|cat}'." in notes
