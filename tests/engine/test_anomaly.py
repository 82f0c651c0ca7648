"""How surprising a picture is, and where: as a library and as people type it."""

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
from artgen.errors import InputFileError, ModelUnavailableError, RefusedError, UsageError
from artgen.events import no_op
from artgen.jobs.anomaly import min_normal_images, prepare_anomaly_job

SIDE = 48
SPOT = (slice(12, 28), slice(20, 36))
"""Rows and columns of the defect."""
QUICK = {"noise_levels": "25,50"}
COUNT = 20


def cloth(seed: int) -> np.ndarray:
    """Stripes of a random phase under a little noise."""
    random = np.random.default_rng(seed)
    x = np.arange(SIDE)
    stripes = 128 + 40 * np.sin(x / 2 + random.uniform(0, 7))
    values = stripes[None, :, None] + random.normal(0, 4, (SIDE, SIDE, 3))
    return values.clip(0, 255).astype(np.uint8)


def torn(seed: int) -> np.ndarray:
    """The same with a smooth spot."""
    values = cloth(seed)
    values[SPOT] = 128
    return values


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloth") / "normal"
    folder.mkdir()
    for seed in range(COUNT):
        Image.fromarray(cloth(seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def fit(normal: Path) -> Path:
    file = normal.parent / "cloth.safetensors"
    file.write_bytes(AnomalyDetector(prepare_anomaly_job(Anomaly(fit=normal, **QUICK)), no_op).fit().to_safetensors())
    return file


@pytest.fixture(autouse=True)
def _pictures() -> None:
    Image.fromarray(cloth(100)).save("whole.png")
    Image.fromarray(torn(100)).save("torn.png")


def found(name: str | Path, **settings: object) -> AnomalyResult:
    return next(find_anomalies([name], Anomaly(**settings)))  # type: ignore[arg-type]


# -- what is found


def test_a_defect_is_surprising_and_the_map_says_where(fit: Path) -> None:
    whole, defect = (found(name, fit=fit) for name in ("whole.png", "torn.png"))
    assert defect.score > 1.5 * whole.score
    assert (defect.p_value, defect.is_anomalous) == (pytest.approx(1 / (COUNT + 1)), True)
    assert whole.p_value is not None
    assert whole.p_value > 0.05
    assert not whole.is_anomalous
    rows, columns = SPOT
    x, y = defect.peak_xy
    assert rows.start <= y < rows.stop
    assert columns.start <= x < columns.stop
    assert defect.heatmap[SPOT].mean() > 2 * np.delete(defect.heatmap, np.arange(8, 32), axis=0).mean()
    assert defect.heatmap.shape == (SIDE, SIDE)


def test_without_normal_pictures_there_is_a_score_and_a_place(normal: Path) -> None:
    whole, defect = (found(name, **QUICK) for name in ("whole.png", "torn.png"))
    assert (defect.p_value, defect.is_anomalous, defect.threshold) == (None, None, None)
    assert defect.score > whole.score
    x, y = defect.peak_xy
    assert SPOT[0].start - 4 <= y < SPOT[0].stop + 4
    assert SPOT[1].start - 4 <= x < SPOT[1].stop + 4


def test_chance_is_seeded(fit: Path) -> None:
    first, again, other = (found("torn.png", seed=seed, **QUICK) for seed in (3, 3, 4))
    assert first.score == again.score
    assert np.array_equal(first.heatmap, again.heatmap)
    assert first.score != other.score


def test_a_kept_fit_says_what_its_folder_says(normal: Path, fit: Path) -> None:
    kept, anew = found("torn.png", fit=fit), found("torn.png", fit=normal, **QUICK)
    assert (kept.score, kept.p_value, kept.threshold) == (anew.score, anew.p_value, anew.threshold)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_any_mode_is_looked_at(mode: str) -> None:
    image = Image.fromarray(torn(1)).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image.save("in.tif" if mode == "CMYK" else "in.png")
    one = found("in.tif" if mode == "CMYK" else "in.png", noise_levels="50", noise_samples=1)
    assert one.heatmap.shape == (SIDE, SIDE)
    assert np.isfinite(one.heatmap).all()


@pytest.mark.parametrize("size", [(32, 32), (33, 90), (301, 40)])
def test_any_size_is_looked_at(size: tuple[int, int]) -> None:
    Image.fromarray(cloth(1)).resize(size).save("in.png")
    one = found("in.png", noise_levels="50,200", noise_samples=1)
    assert one.heatmap.shape == size[::-1]


def test_a_model_of_grey_pictures_looks_at_each_colour(tmp_path: Path) -> None:
    grey = tiny.save(tmp_path / "grey", tiny.unet(channels=1))
    assert np.isfinite(found("torn.png", model=grey, **QUICK).score)


def test_normal_pictures_of_several_sizes_share_their_statistics(normal: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for seed in range(COUNT):
        Image.fromarray(cloth(seed)[: 40 + seed % 3]).save(mixed / f"{seed}.png")
    told: list[object] = []
    [one] = find_anomalies(["torn.png"], Anomaly(fit=mixed, **QUICK), listener=told.append)
    assert one.is_anomalous
    assert "over all places" in str(told)


def test_words_say_what_is_normal(sd1: str) -> None:
    request = Anomaly(model=sd1, prompt="a red fox", noise_noise_levels="0.3,0.6", noise_samples=1)
    assert request.resolved_method == "latent"
    [told], [untold] = (
        list(find_anomalies(["torn.png"], each))
        for each in (request, Anomaly(model=sd1, method="latent", noise_samples=1))
    )
    assert told.heatmap.shape == untold.heatmap.shape == (SIDE, SIDE)
    assert told.score != untold.score


def test_the_bundled_model_knows_what_its_prompt_does_not_say() -> None:
    generate(Txt2Img(prompt="a red apple", model="tiny", seed=1, steps=6)).image.save("apple.png")
    scores = {
        words: found("apple.png", model="tiny", prompt=words, noise_levels="0.5,0.7", noise_samples=1).score
        for words in ("a red apple", "a blue car")
    }
    assert scores["a red apple"] < 0 < scores["a blue car"]


# -- what is normal


def test_p_values_of_normal_pictures_are_uniform() -> None:
    random = np.random.default_rng(0)

    def pictures(count: int) -> list[np.ndarray]:
        mean = np.arange(6.0)[:, None, None] + np.linspace(0, 3, 8)
        own = random.normal(0, 0.5, (count, 6, 1, 1))
        return list((mean + own + random.normal(0, 1, (count, 6, 8, 8))).astype(np.float32))

    found = []
    for _ in range(10):
        normality, scores = fit_statistics(pictures(30))
        found += [p_value(normality.score(each).score, scores) for each in pictures(30)]
    for level in (0.1, 0.25, 0.5, 0.75):
        assert np.mean(np.array(found) <= level) == pytest.approx(level, abs=0.09)


def test_places_have_statistics_of_their_own_only_where_they_differ() -> None:
    random = np.random.default_rng(1)
    noise = random.normal(0, 1, (30, 2, 8, 8))
    noise[:, 1] += np.linspace(-3, 3, 64).reshape(8, 8)
    learnt = NormalStatistics.fit(list(noise))
    assert np.abs(learnt.places[0]).max() < 0.3
    np.testing.assert_allclose(learnt.places[1], np.linspace(-3, 3, 64).reshape(8, 8), atol=0.8)


def test_p_value_is_the_conformal_one() -> None:
    assert p_value(5.0, np.array([1.0, 2.0, 3.0])) == 0.25
    assert p_value(2.0, np.array([1.0, 2.0, 3.0])) == 0.75
    assert min_normal_images(0.05) == 19
    assert min_normal_images(0.01) == 99


def test_strong_noise_is_reached_on_smaller_pictures() -> None:
    assert [pixel.downscale_factor(level, 100.4) for level in (25, 100, 101, 200, 400)] == [1, 1, 2, 2, 4]
    first, second = (pixel.antithetic_noise((3, 4, 4), 0, 1, draw) for draw in (0, 1))
    assert np.array_equal(first, -second)


def test_equal_pictures_have_the_least_distance() -> None:
    picture = cloth(0).astype(np.float32).transpose(2, 0, 1)
    same = features.compute_feature_maps([pixel.LevelReconstruction(picture, picture)], (SIDE, SIDE))
    other = features.compute_feature_maps([pixel.LevelReconstruction(picture, picture + 9)], (SIDE, SIDE))
    assert (same.distances[:4] == 0).all()
    assert (other.distances[:2] > 4).all()
    np.testing.assert_allclose(other.maps[-3:], -9, atol=1e-3)


# -- what is refused


def test_a_fit_judges_only_what_was_made_as_it_was(fit: Path, tmp_path: Path) -> None:
    other = tiny.save(tmp_path / "other")
    with pytest.raises(RefusedError, match="other weights"):
        found("torn.png", fit=fit, model=other)
    for wrong in ({"noise_levels": "25"}, {"noise_samples": 4}, {"seed": 7}, {"method": "latent"}):
        with pytest.raises(UsageError, match="was made with"):
            found("torn.png", fit=fit, **wrong)
    Image.fromarray(cloth(1)).resize((50, 50)).save("larger.png")
    with pytest.raises(InputFileError, match="50x50"):
        found("larger.png", fit=fit)


def test_a_fit_is_not_believed_beyond_its_header(fit: Path) -> None:
    parts, header = load_file(fit), safe_open(fit, "numpy").metadata()
    save_file({**parts, "mean": parts["mean"][:-1].copy()}, "short.safetensors", metadata=header)
    with pytest.raises(InputFileError, match="damaged"):
        found("torn.png", fit=Path("short.safetensors"))
    save_file(parts, "other.safetensors")
    with pytest.raises(InputFileError, match="no fit"):
        found("torn.png", fit=Path("other.safetensors"))


def test_models_of_the_other_kind_are_refused(sd1: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailableError, match="no unconditional"):
        found("torn.png", model=sd1)
    with pytest.raises(ModelUnavailableError, match="latents"):
        found("torn.png", model=tiny.save(tmp_path / "pixel"), method="latent")


@pytest.mark.parametrize(
    "wrong",
    [{"noise_levels": "many"}, {"noise_levels": "0"}, {"noise_levels": "0.5,2", "method": "latent"}, {"noise_levels": ""}, {"noise_samples": 0},
     {"alpha": 0.0}, {"alpha": float("nan")}, {"prompt": "x", "method": "pixel"}, {"method": "both"}],
    ids=str,
)  # fmt: skip
def test_settings_have_limits(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Anomaly(**wrong)  # type: ignore[arg-type]


# -- as people type it


def test_a_picture_is_a_line_and_a_record(fit: Path) -> None:
    result = run("anomaly", "torn.png", "--fit", str(fit))
    assert result.stdout.startswith("surprising  p 0.0476  score ")
    assert result.stdout.endswith("torn.png\n")
    record = json.loads(run("anomaly", "torn.png", "--fit", str(fit), "--json").stdout)
    assert (record["file"], record["is_anomaly"], record["method"], record["levels"]) == (
        "torn.png",
        True,
        "pixel",
        [25.0, 50.0],
    )
    assert record["p_value"] == pytest.approx(1 / 21)
    assert "p 0" not in run("anomaly", "torn.png", "--noise-levels", "50").stdout


def test_a_folder_is_ranked(fit: Path, normal: Path) -> None:
    Path("in/deep").mkdir(parents=True)
    Image.open("whole.png").save("in/whole.png")
    Image.open("torn.png").save("in/deep/=torn.png")
    Image.open(normal / "3.png").save("in/known.png")
    Path("in/broken.png").write_text("no picture")
    result = run("anomaly", "in/", "--fit", str(fit), "--csv", "t/table.csv", "--map", "maps", code=7)
    assert next(line.split()[-1] for line in result.stdout.splitlines()) == "in/deep/=torn.png"
    assert len(result.stdout.splitlines()) == 3
    assert "broken.png" in result.stderr
    assert "one of the normal pictures" in result.stderr
    rows = list(csv.DictReader(Path("t/table.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert (rows[0]["is_anomaly"], rows[1]["is_anomaly"]) == ("true", "false")
    assert sorted(str(path) for path in Path("maps").rglob("*.png")) == [
        "maps/deep/=torn.png", "maps/known.png", "maps/whole.png"
    ]  # fmt: skip


def test_a_heat_map_is_hot_in_the_defect(fit: Path) -> None:
    run("anomaly", "torn.png", "--fit", str(fit), "--map", "heat.png")
    sheet = np.asarray(Image.open("heat.png").convert("RGB"), np.float32)
    factor = 256 / SIDE
    inside = sheet[10 + int(20 * factor), 256 + 20 + int(28 * factor)]
    outside = sheet[10 + int(40 * factor), 256 + 20 + int(8 * factor)]
    assert inside[0] > 200
    assert outside[0] < inside[0] - 60
    assert "exists already" in run("anomaly", "torn.png", "--map", "heat.png", code=74).stderr


def test_names_are_compared_before_anything_is_written(fit: Path) -> None:
    Path("a").mkdir()
    for name in ("a/x.png", "a/x.jpg"):
        Image.open("whole.png").save(name)
    assert "one name" in run("anomaly", "a", "--fit", str(fit), "--map", "maps", code=2).stderr


def test_a_fit_is_learnt_and_kept_without_a_picture(normal: Path) -> None:
    result = run(
        "anomaly",
        "--fit",
        str(normal),
        "--save-fit",
        "kept.safetensors",
        "--noise-levels",
        "50",
        "--noise-samples",
        "1",
    )
    assert result.stdout == "kept.safetensors\n"
    assert "at each place, as all are 48x48" in result.stderr
    run("anomaly", "torn.png", "--fit", "kept.safetensors")
    Path("kept.safetensors").write_bytes(Path("kept.safetensors").read_bytes()[:-40])
    assert "no fit" in run("anomaly", "torn.png", "--fit", "kept.safetensors", code=3).stderr


def test_names_cannot_act_on_a_terminal(fit: Path) -> None:
    Image.open("whole.png").save("\x1b[2J.png")
    assert (
        "\x1b" not in run("anomaly", "\x1b[2J.png", "whole.png", "--noise-levels", "50", "--noise-samples", "1").stderr
    )
