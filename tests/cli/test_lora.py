"""LoRAs as one uses them: on the command line, in prompt files and sweeps, in what pictures say and in replay."""

import json
import shutil
from pathlib import Path
from typing import Any

import plain_scripts as plain
import pytest
import tiny_loras
from command_line import FAST, record, run
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_cli_startup import modules_after

from artgen import generate, metadata, registry, replay
from artgen.errors import InputFileError
from artgen.jobs import replay as replay_jobs
from artgen.queue.entries import Entry
from artgen.queue.planner import Planner
from artgen.queue.prompt_files import read_prompt_file as read_prompts
from artgen.registry import lora as lora_files


@pytest.fixture(scope="module")
def made(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two LoRAs for the tiny model."""
    root = tmp_path_factory.mktemp("made")
    tiny_loras.diffusers_lora(root / "style.safetensors", models["sd1"], parts={"unet": ["to_q", "to_v"]})
    tiny_loras.kohya_lora(root / "other.safetensors", models["sd1"], seed=1, parts={"unet": ["to_q", "to_v"]})
    return root


@pytest.fixture
def here(made: Path) -> str:
    """The LoRAs are in the current folder; its name."""
    for file in made.iterdir():
        shutil.copy(file, file.name)
    return "style.safetensors"


def drawn(sd1: str, *words: str, name: str = "fox.png") -> Path:
    run("txt2img", "a red fox", "-m", sd1, *FAST, "-o", name, "--overwrite", *words)
    return Path(name)


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


def test_the_command_line_takes_several(sd1: str, here: str) -> None:
    bare, one, two = (
        pixels(drawn(sd1, *words))
        for words in ((), ("--lora", f"{here}:0.8"), ("--lora", f"{here}:0.8", "--lora", "other:0.5"))
    )
    assert len({bare, one, two}) == 3
    assert pixels(drawn(sd1)) == bare
    assert record("txt2img", "x", "-m", sd1, "--lora", "other")["lora"] == ["other.safetensors:1"]
    assert "lora=style.safetensors:0.8" in run("txt2img", "x", "-m", sd1, "--lora", f"{here}:0.8", "--dry-run").stdout


def test_the_configuration_takes_them_and_a_flag_wins(sd1: str, here: str) -> None:
    run("config", "set", "lora", f"{here}:0.3,other:0.2")
    assert record("txt2img", "x", "-m", sd1)["lora"] == ["style.safetensors:0.3", "other.safetensors:0.2"]
    assert record("txt2img", "x", "-m", sd1, "--lora", "other")["lora"] == ["other.safetensors:1"]
    assert "lora" not in record("txt2img", "x", "-m", sd1, "--lora", "")
    Path("artgen.toml").write_text('lora = "style"\n')
    assert "must be a list" in run("txt2img", "x", "-m", sd1, "--dry-run", code=3).stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--lora", "x.safetensors:lots"), 2, "number from -10 to 10"),
        (("--lora", "nowhere.safetensors"), 3, "Cannot find the LoRA"),
        (("--lora", "x.ckpt"), 5, "pickle"),
        (("--lora", "xl.safetensors"), 4, "made for Stable Diffusion XL; tiny is Stable Diffusion 1."),
        (("--lora", "text.safetensors"), 3, "not a safetensors file"),
    ],
)  # fmt: skip
def test_refusals_need_no_torch(words: tuple[str, ...], code: int, said: str) -> None:
    Path("x.ckpt").touch()
    Path("text.safetensors").write_text("a LoRA, honestly")
    key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    tiny_loras.blank(Path("xl.safetensors"), {f"{key}.lora_down.weight": (4, 2048), f"{key}.lora_up.weight": (640, 4)})
    left, loaded, heard = modules_after("txt2img", "a fox", "-m", "tiny", *words)
    assert (left, said in " ".join(heard.split())) == (code, True), heard
    assert not {"torch", "diffusers"} & set(loaded)


def test_prompt_files_of_every_kind(sd1: str, here: str) -> None:
    sub = Path("sub")
    sub.mkdir()
    shutil.move("other.safetensors", sub / "other.safetensors")
    both = ["other.safetensors:0.5", "style"]
    (sub / "a.txt").write_text("a fox --seed 7 --lora other.safetensors:0.5 --lora style\n")
    (sub / "b.jsonl").write_text(json.dumps({"prompt": "a fox", "seed": 7, "lora": both}) + "\n")
    (sub / "c.yaml").write_text(f"- {{prompt: a fox, seed: 7, lora: {both}}}\n")
    (sub / "d.csv").write_text('prompt,seed,lora\na fox,7,"other.safetensors:0.5,style"\n')
    beside = f"{sub / 'other.safetensors'}:0.5"
    for name in ("a.txt", "b.jsonl", "c.yaml", "d.csv"):
        (entry,) = read_prompts(sub / name)
        assert isinstance(entry, Entry)
        assert entry.setting_values["lora"] == (beside, "style"), name
    (sub / "e.jsonl").write_text('{"prompt": "x", "lora": 3}\n{"prompt": "x", "lora": "other"}\n')
    mistakes = Planner(Path("out"), {"model": sd1}).build_plan(read_prompts(sub / "e.jsonl")).line_errors
    assert [mistake.location for mistake in mistakes] == [f"{sub / 'e.jsonl'}:1"]
    run("batch", str(sub / "a.txt"), "-m", sd1, "--steps", "1", "-o", "out/")
    (name,) = Path("out").glob("*.png")
    found = metadata.read_metadata(name).record
    assert found
    assert found["lora"] == ["other.safetensors:0.5", "style.safetensors:1"]


def test_a_sweep_over_scales(sd1: str, here: str) -> None:
    run("txt2img", "a fox", "-m", sd1, *FAST, "--sweep", "lora=style:0,style:0.5,other:1", "-o", "sweep/")
    records = [metadata.read_metadata(path).record or {} for path in sorted(Path("sweep").glob("0*.png"))]
    assert [found["lora"] for found in records] == [
        ["style.safetensors:0"], ["style.safetensors:0.5"], ["other.safetensors:1"]
    ]  # fmt: skip


def test_a_lora_that_changes_is_another_job_and_is_read_once(
    sd1: str, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        Entry("prompts.txt", number, {"prompt": f"fox {number}", "lora": (here,), "steps": 1 + number % 7})
        for number in range(1, 101)
    ]
    hashed: list[Path] = []
    original = registry.hashes.compute_sha256

    def counted(path: Path, **more: Any) -> str:
        hashed.append(path)
        return original(path, **more)

    monkeypatch.setattr(registry.hashes, "compute_sha256", counted)
    jobs = Planner(Path("out"), {"model": sd1}).build_plan(entries).jobs
    assert len({job.fingerprint for job in jobs}) == 100
    assert sum(path.name == here for path in hashed) == 2, "once whole, once without its header"
    again = Planner(Path("out"), {"model": sd1}).build_plan(entries).jobs
    assert [job.fingerprint for job in again] == [job.fingerprint for job in jobs]
    shutil.copy("other.safetensors", here)
    assert not {job.fingerprint for job in Planner(Path("out"), {"model": sd1}).build_plan(entries).jobs} & {
        job.fingerprint for job in jobs
    }
    moved = Path("moved")
    moved.mkdir()
    shutil.copy(here, moved / here)
    elsewhere = Entry("prompts.txt", 1, {**entries[0].setting_values, "lora": (str(moved / here),)})
    (job,) = Planner(Path("out"), {"model": sd1}).build_plan([elsewhere]).jobs
    assert job.fingerprint == Planner(Path("out"), {"model": sd1}).build_plan(entries[:1]).jobs[0].fingerprint, (
        "a folder makes no difference"
    )


def test_other_tools_read_it_and_it_is_read_back(sd1: str, here: str) -> None:
    path = drawn(sd1, "--lora", f"{here}:0.8", "--lora", "other:-0.5")
    text = Image.open(path).text["parameters"]
    first, second = (lora_files.read_lora(Path(name)).autov3 for name in (here, "other.safetensors"))
    assert text.startswith("a red fox <lora:style:0.8> <lora:other:-0.5>\n")
    assert f'Lora hashes: "style: {first}, other: {second}"' in text
    found = metadata.parse_a1111(text)
    assert found["prompt"] == "a red fox"
    assert found["lora"] == ["style:0.8", "other:-0.5"]
    assert found["lora_autov3"] == [first, second]
    assert "lora: style.safetensors:0.8, other.safetensors:-0.5\n" in run("info", str(path)).stdout


@pytest.mark.parametrize(
    ("prompt", "left", "loras"),
    [
        ("a fox, <lora:x:0.5>, red", "a fox, red", ["x:0.5"]),
        ("<lora:my style:1><lora:b>", "", ["my style:1", "b:1"]),
        ("a fox <lora:x:0.5:0.2>", "a fox <lora:x:0.5:0.2>", None),
        ("a fox <lora:x:strong> <hypernet:y:1>", "a fox <lora:x:strong> <hypernet:y:1>", None),
    ],
)
def test_what_stands_in_foreign_prompts(prompt: str, left: str, loras: list[str] | None) -> None:
    found = metadata.parse_a1111(f"{prompt}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    assert (found["prompt"], found.get("lora")) == (left, loras)


def test_replay_finds_it_by_name_and_hash(sd1: str, here: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = drawn(sd1, "--lora", f"{here}:0.8", "--lora", "other:-0.5")
    model = {"model": sd1}
    assert replay(path, model).image.tobytes() == pixels(path)
    for name in (here, "other.safetensors"):
        Path(name).unlink()
    with pytest.raises(InputFileError, match=r"with the LoRA 'style\.safetensors'") as caught:
        replay_jobs.read_replay_spec(path, model)
    assert "--set lora=PATH:0.8" in caught.value.hint
    shelf = Path("shelf/deep")
    shutil.copytree(made, shelf)
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", "shelf")
    assert replay(path, model).image.tobytes() == pixels(path)
    shutil.copy(shelf / "other.safetensors", shelf / here)
    with pytest.raises(InputFileError, match="other contents"):
        replay_jobs.read_replay_spec(path, model)
    chosen = {**model, "lora": f"{made / here}:0.8,{made / 'other.safetensors'}:-0.5"}
    assert replay(path, chosen).image.tobytes() == pixels(path)
    assert replay_jobs.read_replay_spec(path, {**model, "lora": ""}).request.lora == ()


def test_a_record_opens_no_file_of_its_choice(sd1: str, here: str, made: Path) -> None:
    path = drawn(sd1, "--lora", here)
    recorded: dict[str, Any] = dict(metadata.read_metadata(path).record or {})
    Path(here).unlink()
    for name in (str(made / here), f"../made0/{here}", f"sub/../../{here}", "..", "", "/", "*"):
        Path("tampered.json").write_text(json.dumps({**recorded, "lora": [f"{name}:1"]}))
        with pytest.raises(InputFileError):
            replay_jobs.read_replay_spec(Path("tampered.json"), {"model": sd1})
    for more in ({"lora": ["a:1", "b:1"]}, {"lora": "style"}, {"lora": ["style:99"]}, {"lora_sha256": [""]}):
        Path("tampered.json").write_text(json.dumps({**recorded, **more}))
        with pytest.raises(InputFileError):
            replay_jobs.read_replay_spec(Path("tampered.json"), {"model": sd1})


def test_a_picture_of_the_web_ui_gets_its_lora_where_the_hash_agrees(sd1: str, here: str) -> None:
    words = "a fox <lora:style:0.5>\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x32"
    digest = lora_files.read_lora(Path(here)).autov3
    said = ', Lora hashes: "style: {}"'
    for hashes, used in ((said.format(digest), True), (said.format("0123456789ab"), False), ("", False)):
        info = PngInfo()
        info.add_text("parameters", words + hashes)
        Image.new("RGB", (32, 32)).save("web.png", pnginfo=info)
        plan = replay_jobs.read_replay_spec(Path("web.png"), {"model": sd1})
        assert plan.request.prompt == "a fox"
        assert plan.request.lora == ((f"{here}:0.5",) if used else ())
        assert any("LoRA style:0.5 is not here" in note for note in plan.notes) != used
    assert plain.same(generate(plan.request).image, generate(plan.request.replace(lora=())).image)
