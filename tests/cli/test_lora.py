"""Test LoRAs on the command line, in prompt files, sweeps, metadata and replay."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sample_images
import tiny_loras
from command_line import FAST, record, run
from isolated_command import modules_after
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors_files import zero_file

from artgen import generate, metadata, registry, replay
from artgen.errors import InputFileError
from artgen.jobs import replay as replay_jobs
from artgen.queue.entries import Entry
from artgen.queue.planner import Planner
from artgen.queue.prompt_files import read_prompt_file
from artgen.registry import lora as lora_files


@pytest.fixture(scope="module")
def lora_folder(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save two LoRAs for the tiny model."""
    root = tmp_path_factory.mktemp("loras")
    tiny_loras.diffusers_lora(root / "style.safetensors", models["sd1"], parts={"unet": ["to_q", "to_v"]})
    tiny_loras.kohya_lora(root / "other.safetensors", models["sd1"], seed=1, parts={"unet": ["to_q", "to_v"]})
    return root


@pytest.fixture
def lora_file(lora_folder: Path) -> str:
    """Copy the LoRAs to the working directory. Return the name of the first file."""
    for file in lora_folder.iterdir():
        shutil.copy(file, file.name)
    return "style.safetensors"


def generate_file(sd1: str, *args: str, name: str = "fox.png") -> Path:
    run("txt2img", "a red fox", "-m", sd1, *FAST, "-o", name, "--overwrite", *args)
    return Path(name)


def pixels(path: Path) -> bytes:
    return Image.open(path).tobytes()


def test_lora_option_can_be_repeated(sd1: str, lora_file: str) -> None:
    without_lora, one, two = (
        pixels(generate_file(sd1, *args))
        for args in ((), ("--lora", f"{lora_file}:0.8"), ("--lora", f"{lora_file}:0.8", "--lora", "other:0.5"))
    )
    assert len({without_lora, one, two}) == 3
    assert pixels(generate_file(sd1)) == without_lora
    assert record("txt2img", "x", "-m", sd1, "--lora", "other")["lora"] == ["other.safetensors:1"]
    assert (
        "lora=style.safetensors:0.8" in run("txt2img", "x", "-m", sd1, "--lora", f"{lora_file}:0.8", "--dry-run").stdout
    )


def test_lora_option_overrides_the_configuration(sd1: str, lora_file: str) -> None:
    run("config", "set", "lora", f"{lora_file}:0.3,other:0.2")
    assert record("txt2img", "x", "-m", sd1)["lora"] == ["style.safetensors:0.3", "other.safetensors:0.2"]
    assert record("txt2img", "x", "-m", sd1, "--lora", "other")["lora"] == ["other.safetensors:1"]
    assert "lora" not in record("txt2img", "x", "-m", sd1, "--lora", "")
    Path("artgen.toml").write_text('lora = "style"\n')
    assert "must be a list" in run("txt2img", "x", "-m", sd1, "--dry-run", code=3).stderr


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--lora", "x.safetensors:lots"), 2, "number from -10 to 10"),
        (("--lora", "nowhere.safetensors"), 3, "Cannot find the LoRA"),
        (("--lora", "x.ckpt"), 5, "pickle"),
        (("--lora", "xl.safetensors"), 4, "a LoRA for Stable Diffusion XL, and 'tiny' is Stable Diffusion 1."),
        (("--lora", "text.safetensors"), 3, "not a safetensors file"),
    ],
)  # fmt: skip
def test_errors_need_no_torch(args: tuple[str, ...], code: int, message: str) -> None:
    Path("x.ckpt").touch()
    Path("text.safetensors").write_text("not a LoRA")
    key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    zero_file(Path("xl.safetensors"), {f"{key}.lora_down.weight": (4, 2048), f"{key}.lora_up.weight": (640, 4)})
    exit_code, loaded, stderr = modules_after("txt2img", "a fox", "-m", "tiny", *args)
    assert (exit_code, message in " ".join(stderr.split())) == (code, True), stderr
    assert not {"torch", "diffusers"} & set(loaded)


def test_every_prompt_file_format_supports_loras(sd1: str, lora_file: str) -> None:
    sub = Path("sub")
    sub.mkdir()
    shutil.move("other.safetensors", sub / "other.safetensors")
    both = ["other.safetensors:0.5", "style"]
    (sub / "a.txt").write_text("a fox --seed 7 --lora other.safetensors:0.5 --lora style\n")
    (sub / "b.jsonl").write_text(json.dumps({"prompt": "a fox", "seed": 7, "lora": both}) + "\n")
    (sub / "c.yaml").write_text(f"- {{prompt: a fox, seed: 7, lora: {both}}}\n")
    (sub / "d.csv").write_text('prompt,seed,lora\na fox,7,"other.safetensors:0.5,style"\n')
    relative = f"{sub / 'other.safetensors'}:0.5"
    for name in ("a.txt", "b.jsonl", "c.yaml", "d.csv"):
        (entry,) = read_prompt_file(sub / name)
        assert isinstance(entry, Entry)
        assert entry.setting_values["lora"] == (relative, "style"), name
    (sub / "e.jsonl").write_text('{"prompt": "x", "lora": 3}\n{"prompt": "x", "lora": "other"}\n')
    line_errors = Planner(Path("out"), {"model": sd1}).build_plan(read_prompt_file(sub / "e.jsonl")).line_errors
    assert [error.location for error in line_errors] == [f"{sub / 'e.jsonl'}:1"]
    run("batch", str(sub / "a.txt"), "-m", sd1, "--steps", "1", "-o", "out/")
    (name,) = Path("out").glob("*.png")
    record = metadata.read_metadata(name).record
    assert record
    assert record["lora"] == ["other.safetensors:0.5", "style.safetensors:1"]


def test_sweep_over_lora_scales(sd1: str, lora_file: str) -> None:
    run("txt2img", "a fox", "-m", sd1, *FAST, "--sweep", "lora=style:0,style:0.5,other:1", "-o", "sweep/")
    records = [metadata.read_metadata(path).record or {} for path in sorted(Path("sweep").glob("0*.png"))]
    assert [each["lora"] for each in records] == [
        ["style.safetensors:0"], ["style.safetensors:0.5"], ["other.safetensors:1"]
    ]  # fmt: skip


def test_fingerprint_depends_on_the_lora_file_which_is_hashed_once(
    sd1: str, lora_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [
        Entry("prompts.txt", number, {"prompt": f"fox {number}", "lora": (lora_file,), "steps": 1 + number % 7})
        for number in range(1, 101)
    ]
    hashed: list[Path] = []
    original = registry.hashes.compute_sha256

    def record_hash(path: Path, **kwargs: Any) -> str:
        hashed.append(path)
        return original(path, **kwargs)

    monkeypatch.setattr(registry.hashes, "compute_sha256", record_hash)
    jobs = Planner(Path("out"), {"model": sd1}).build_plan(entries).jobs
    assert len({job.fingerprint for job in jobs}) == 100
    assert sum(path.name == lora_file for path in hashed) == 2  # Once the complete file, once without its header.
    same_jobs = Planner(Path("out"), {"model": sd1}).build_plan(entries).jobs
    assert [job.fingerprint for job in same_jobs] == [job.fingerprint for job in jobs]
    shutil.copy("other.safetensors", lora_file)
    assert not {job.fingerprint for job in Planner(Path("out"), {"model": sd1}).build_plan(entries).jobs} & {
        job.fingerprint for job in jobs
    }
    moved = Path("moved")
    moved.mkdir()
    shutil.copy(lora_file, moved / lora_file)
    moved_entry = Entry("prompts.txt", 1, {**entries[0].setting_values, "lora": (str(moved / lora_file),)})
    (job,) = Planner(Path("out"), {"model": sd1}).build_plan([moved_entry]).jobs
    assert job.fingerprint == Planner(Path("out"), {"model": sd1}).build_plan(entries[:1]).jobs[0].fingerprint


def test_a1111_metadata_contains_the_loras_and_can_be_parsed(sd1: str, lora_file: str) -> None:
    path = generate_file(sd1, "--lora", f"{lora_file}:0.8", "--lora", "other:-0.5")
    text = Image.open(path).text["parameters"]
    first, second = (lora_files.read_lora(Path(name)).autov3 for name in (lora_file, "other.safetensors"))
    assert text.startswith("a red fox <lora:style:0.8> <lora:other:-0.5>\n")
    assert f'Lora hashes: "style: {first}, other: {second}"' in text
    record = metadata.parse_a1111(text)
    assert record.fields["prompt"] == "a red fox"
    assert record.to_dict()["lora"] == ["style:0.8", "other:-0.5"]
    assert record.to_dict()["lora_hashes"] == [first, second]
    assert "lora: style.safetensors:0.8, other.safetensors:-0.5\n" in run("info", str(path)).stdout


@pytest.mark.parametrize(
    ("prompt", "parsed_prompt", "loras"),
    [
        ("a fox, <lora:x:0.5>, red", "a fox, , red", ["x:0.5"]),  # as in AUTOMATIC1111
        ("<lora:my style:1><lora:b>", "", ["my style:1", "b:1"]),
        ("a fox <lora:x:0.5:0.2>", "a fox", ["x:0.2:0.5"]),
        ("a fox <lora:x:0.5:0.2:1>", "a fox", ["x:0.2:0.5"]),
        ("a fox <lora:x:strong> <hypernet:y:1>", "a fox", ["x:strong:1"]),
        ("a fox <lora:x:99>", "a fox", None),
    ],
)
def test_lora_tags_are_parsed_from_prompts_of_other_tools(
    prompt: str, parsed_prompt: str, loras: list[str] | None
) -> None:
    record = metadata.parse_a1111(f"{prompt}\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1")
    assert (record.fields["prompt"], record.to_dict().get("lora")) == (parsed_prompt, loras)


def test_replay_finds_loras_by_name_and_hash(
    sd1: str, lora_file: str, lora_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = generate_file(sd1, "--lora", f"{lora_file}:0.8", "--lora", "other:-0.5")
    model = {"model": sd1}
    assert replay(path, **model).image.tobytes() == pixels(path)
    for name in (lora_file, "other.safetensors"):
        Path(name).unlink()
    with pytest.raises(InputFileError, match=r"its LoRA 'style\.safetensors'") as caught:
        replay_jobs.read_replay_spec(path, model)
    assert "--set lora=PATH:0.8" in caught.value.hint
    other_loras = Path("other-loras/deep")
    shutil.copytree(lora_folder, other_loras)
    monkeypatch.setenv("ARTGEN_LORA_FOLDER", "other-loras")
    assert replay(path, **model).image.tobytes() == pixels(path)
    shutil.copy(other_loras / "other.safetensors", other_loras / lora_file)
    with pytest.raises(InputFileError, match="other contents"):
        replay_jobs.read_replay_spec(path, model)
    changes = {**model, "lora": [f"{lora_folder / lora_file}:0.8", f"{lora_folder / 'other.safetensors'}:-0.5"]}
    assert replay(path, **changes).image.tobytes() == pixels(path)
    assert replay_jobs.read_replay_spec(path, {**model, "lora": ""}).request.lora == ()


def test_replay_does_not_open_paths_from_a_record(sd1: str, lora_file: str, lora_folder: Path) -> None:
    path = generate_file(sd1, "--lora", lora_file)
    recorded: dict[str, Any] = dict(metadata.read_metadata(path).record or {})
    Path(lora_file).unlink()
    for name in (str(lora_folder / lora_file), f"../loras0/{lora_file}", f"sub/../../{lora_file}", "..", "", "/", "*"):
        Path("tampered.json").write_text(json.dumps({**recorded, "lora": [f"{name}:1"]}))
        with pytest.raises(InputFileError):
            replay_jobs.read_replay_spec(Path("tampered.json"), {"model": sd1})
    for changes in ({"lora": ["a:1", "b:1"]}, {"lora": "style"}, {"lora": ["style:99"]}, {"lora_sha256": [""]}):
        Path("tampered.json").write_text(json.dumps({**recorded, **changes}))
        with pytest.raises(InputFileError):
            replay_jobs.read_replay_spec(Path("tampered.json"), {"model": sd1})


def test_lora_of_a_web_ui_image_is_used_if_the_hash_matches(sd1: str, lora_file: str) -> None:
    parameters = "a fox <lora:style:0.5>\nSteps: 2, Sampler: Euler, CFG scale: 7, Seed: 1, Size: 32x32"
    digest = lora_files.read_lora(Path(lora_file)).autov3
    template = ', Lora hashes: "style: {}"'
    for hashes, used in ((template.format(digest), True), (template.format("0123456789ab"), False), ("", False)):
        info = PngInfo()
        info.add_text("parameters", parameters + hashes)
        Image.new("RGB", (32, 32)).save("web.png", pnginfo=info)
        plan = replay_jobs.read_replay_spec(Path("web.png"), {"model": sd1})
        assert plan.request.prompt == "a fox"
        assert plan.request.lora == ((f"{lora_file}:0.5",) if used else ())
        assert any("LoRA style:0.5 was not found" in note for note in plan.notes) != used
    assert sample_images.same(generate(plan.request).image, generate(plan.request.replace(lora=())).image)
