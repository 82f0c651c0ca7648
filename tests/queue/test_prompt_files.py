"""Test prompt files: the formats, and the line numbers of errors."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artgen.errors import InputFileError, UsageError
from artgen.queue import image_folders, prompt_files, sweeps
from artgen.queue.entries import Entry, LineError
from artgen.queue.prompt_line import option_flags, parse_prompt_line
from artgen.spec.prompt_expansion import PromptExpansion


def parse(name: str, text: str | bytes) -> list[Entry | LineError]:
    path = Path(name)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return list(prompt_files.read_prompt_file(path))


def parse_valid(name: str, text: str | bytes) -> list[tuple[int, dict[str, Any]]]:
    items = parse(name, text)
    assert not [item.error for item in items if isinstance(item, LineError)]
    return [(item.line, {**item.defaults, **item.setting_values}) for item in items if isinstance(item, Entry)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a red fox", {"prompt": "a red fox"}),
        ("a red fox --seed 7 --steps 40", {"prompt": "a red fox", "seed": "7", "steps": 40}),
        ("a dog's den, 3-1=2 #1 - best -- ever", {"prompt": "a dog's den, 3-1=2 #1 - best -- ever"}),
        ('"a red fox" -s 1,3-5', {"prompt": "a red fox", "seed": "1,3-5"}),
        ('say "hi" twice', {"prompt": 'say "hi" twice'}),
        ("x -n 'bad, dim' -g=3.5", {"prompt": "x", "negative_prompt": "bad, dim", "guidance_scale": 3.5}),
        ("x --sampler 'Euler a' --cfg-scale 4", {"prompt": "x", "scheduler": "Euler a", "guidance_scale": 4.0}),
        ("--task inpaint -i a.png -M m.png --invert-mask --no-keep-original",
         {"task": "inpaint", "image": Path("a.png"), "mask": Path("m.png"), "invert_mask": True,
          "keep_original": False}),
        ("fox --output 'my fox.png'", {"prompt": "fox", "output": "my fox.png"}),
    ],
)  # fmt: skip
def test_line_is_a_prompt_followed_by_options(line: str, expected: dict[str, Any]) -> None:
    assert parse_prompt_line(line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x --stps 4", "--stps"),
        ("x --steps", "without a value"),
        ("x --steps four", "whole number"),
        ("x --seed 7 y", "'y'"),
        ("x --no-keep-original=1", "it is a switch"),
        ("x --prompt 'y", "quotation"),
    ],
)
def test_invalid_line_has_a_specific_message(line: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_prompt_line(line)


def test_lines_accept_every_option_of_the_commands() -> None:
    from artgen.spec.requests import TASKS
    from artgen.spec.settings import options_of

    settings = {name for name, _ in option_flags().values()}
    for cls in (task.request_class for task in TASKS.values()):
        assert options_of(cls).keys() <= settings


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")))
def test_prompt_without_options_is_unchanged(text: str) -> None:
    prompt = text.strip()
    if not prompt or prompt.startswith(("#", "\\#", '"')) or any(w.startswith("-") for w in prompt.split()):
        return
    assert parse_prompt_line(prompt) == {"prompt": prompt}


def test_text_files_can_have_comments_empty_lines_and_a_bom() -> None:
    text = b"\xef\xbb\xbfa fox\r\n\r\n# no\r\n  # no\n\\#1 fan --seed 3\nlast"
    expected = [(1, {"prompt": "a fox"}), (5, {"prompt": "#1 fan", "seed": "3"}), (6, {"prompt": "last"})]
    assert parse_valid("p.txt", text) == expected


def test_all_formats_give_equal_entries() -> None:
    job = {"prompt": "a fox, red", "seed": "7", "steps": 12, "guidance_scale": 3.0}
    parsed = [
        parse_valid("a.txt", "a fox, red --seed 7 --steps 12 --guidance 3"),
        parse_valid("a.jsonl", json.dumps({"prompt": "a fox, red", "seed": 7, "steps": 12, "cfg-scale": 3})),
        parse_valid("a.csv", 'prompt,seed,steps,guidance\n"a fox, red",7,12,3'),
        parse_valid("a.yaml", "- prompt: a fox, red\n  seed: 7\n  steps: 12\n  guidance_scale: 3"),
    ]
    assert [items[0][1] for items in parsed] == [job] * 4


def test_lines_override_the_defaults_of_a_file() -> None:
    lines = '{"defaults": {"steps": 9, "seed": 1}}\n{"prompt": "a"}\n{"prompt": "b", "steps": 2}'
    assert [values["steps"] for _, values in parse_valid("a.jsonl", lines)] == [9, 2]
    yaml = "defaults: {steps: 9}\njobs:\n  - a fox\n  - {prompt: b, seed: [1, 2]}\n"
    assert parse_valid("a.yaml", yaml) == [
        (3, {"steps": 9, "prompt": "a fox"}),
        (4, {"steps": 9, "prompt": "b", "seed": "1,2"}),
    ]


def test_image_paths_are_relative_to_the_prompt_file() -> None:
    Path("jobs").mkdir()
    (item,) = parse_valid("jobs/p.txt", "x --task img2img -i sub/a.png")
    assert item[1]["image"] == Path("jobs/sub/a.png")


def settings_of_record(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a record line without the settings of its prompt, which is final."""
    rest = dict(values)
    assert rest.pop("prompt_weights") == "none"
    assert rest.pop("long_prompt") == "truncate"
    assert isinstance(rest.pop("expansion"), PromptExpansion)
    return rest


def test_image_record_is_a_valid_line() -> None:
    record = {"artgen": "0.1.0", "task": "txt2img", "prompt": "x", "steps": 3, "seed": 5, "width": 32, "height": 32}
    other_keys = {"file": "a.png", "torch": "2", "model_hash": "0" * 64, "batch_size": 1, "schema": 1}
    ((line, values),) = parse_valid("a.jsonl", json.dumps({**other_keys, **record}))
    assert line == 1
    assert settings_of_record(values) == {
        "task": "txt2img", "prompt": "x", "steps": 3, "seed": "5", "width": 32, "height": 32
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"artgen": "0.2", "task": "txt2img", "prompt": "x", "new": 1, "strength": 0.5, "schema": 9}'),
        ("a.yaml", "- {artgen: '0.2', task: txt2img, prompt: x, new: 1, strength: 0.5, schema: 9}"),
        ("a.csv", "artgen,task,prompt,new,strength,schema,torch\n0.2,txt2img,x,1,0.5,9,2.0\n"),
    ],
)
def test_unknown_fields_of_a_record_line_are_separated_from_its_settings(name: str, text: str) -> None:
    ((_, values),) = parse_valid(name, text)
    unknown, schema = values.pop("unknown_fields"), values.pop("schema", 9)
    assert settings_of_record(values) == {"task": "txt2img", "prompt": "x"}
    assert {key: float(value) for key, value in unknown.items()} == {"new": 1, "strength": 0.5}
    assert schema == 9


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", '{"task": "txt2img", "prompt": "x", "new": 1}'),
        ("a.jsonl", '{"defaults": {"artgen": "0.2", "new": 1}}'),
        ("a.jsonl", '{"artgen": 2, "prompt": "x"}'),
        ("a.jsonl", '{"artgen": "0.2", "prompt": "x", "torch": 2}'),
        ("a.yaml", "- {prompt: x, new: 1}"),
        ("a.yaml", "defaults: {artgen: '0.2', new: 1}\njobs: [x]"),
        ("a.csv", "prompt,new\nx,1\n"),
        ("a.csv", "artgen,prompt,new\n,x,1\n"),
    ],
)
def test_unknown_keys_of_a_person_and_wrong_types_are_refused(name: str, text: str) -> None:
    errors = [item.error for item in parse(name, text) if isinstance(item, LineError)]
    assert len(errors) == 1
    assert re.search(r"Unknown setting: 'new'|(torch|artgen) must be text, not 2", errors[0].message)


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.txt", b"ok\nb\xffd\nx\0y\nz --stps 3", [2, 3, 4]),
        ("a.jsonl", '{"prompt": "x"}\nnot\n[1]\n{"prmpt": "x"}\n{"task": "fly"}\n{"seed": 1.5}', [2, 3, 4, 5, 6]),
        ("a.csv", "prompt,steps\nx,1\nx,y,z\nx,y\n", [3, 4]),
        ("a.csv", "prompt,stps\nx,1\n", [1]),
        ("a.yaml", "- x\n- 3\n- {prompt: y, stps: 4}\n- [a]\n", [2, 3, 4]),
        ("a.yaml", "jobs: [x]\ndefault: {}\n", [2]),
        ("a.yaml", "- a\n- {b: [\n", [3]),
        ("a.yaml", "jobs: 3\n", [1]),
    ],
)  # fmt: skip
def test_every_error_has_its_line_number(name: str, text: str | bytes, lines: list[int]) -> None:
    assert [item.line for item in parse(name, text) if isinstance(item, LineError)] == lines


@pytest.mark.parametrize(("name", "data"), [("a.txt", "fox".encode("utf-16")), ("a.doc", b"fox"), ("none.txt", None)])
def test_unreadable_or_unknown_file_is_rejected(name: str, data: bytes | None) -> None:
    if data is not None:
        Path(name).write_bytes(data)
    with pytest.raises(InputFileError, match=name):
        list(prompt_files.read_prompt_file(Path(name)))


def test_yaml_does_not_create_python_objects() -> None:
    items = parse("a.yaml", "- !!python/object/apply:os.system ['touch gotcha']\n")
    assert isinstance(items[0], LineError)
    assert not Path("gotcha").exists()


def test_image_folder_keeps_names_and_subfolders() -> None:
    for name in ("in/b.png", "in/sub/a {1}.jpg", "in/sub/.hidden.png", "in/.git/x.png", "in/notes.md"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")
    Path("in/b.txt").write_text("a blue fox\n")
    items = [entry.setting_values for entry in image_folders.read_image_folders([Path("in")], format="webp")]
    assert items == [
        {"image": Path("in/b.png"), "output": "b.webp", "prompt": "a blue fox"},
        {"image": Path("in/sub/a {1}.jpg"), "output": "sub/a {{1}}.webp"},
    ]
    assert (
        image_folders.read_image_folders([Path("in/b.png")], several_seeds=True)[0].setting_values["output"]
        == "b-{seed}.png"
    )
    Path("empty").mkdir()
    with pytest.raises(InputFileError, match="no image"):
        image_folders.read_image_folders([Path("empty")])


def test_masks_are_found_by_file_name() -> None:
    for name in ("in/sub/a.jpg", "masks/sub/a.png"):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_bytes(b"")
    (entry,) = image_folders.read_image_folders([Path("in")], mask_folder=Path("masks"))
    assert isinstance(entry, Entry)
    assert entry.setting_values["mask"] == Path("masks/sub/a.png")
    Path("masks/sub/a.png").unlink()
    (error,) = image_folders.read_image_folders([Path("in")], mask_folder=Path("masks"))
    assert isinstance(error, LineError)
    assert "mask of 'sub/a.jpg'" in error.error.message
    for name in ("masks/sub/a.b.png", "masks/sub/a.png", "masks/sub/[a].png"):  # only one has the stem
        Path(name).write_bytes(b"")
    (entry,) = image_folders.read_image_folders([Path("in")], mask_folder=Path("masks"))
    assert isinstance(entry, Entry)
    assert entry.setting_values["mask"] == Path("masks/sub/a.png")


@pytest.mark.parametrize("images", [("in/a.jpg", "in/a.png"), ("in/a.png", "in/a.webp"), ("one/a.jpg", "two/a.png")])
def test_two_images_do_not_share_a_mask(images: tuple[str, str]) -> None:
    for name in (*images, "masks/a.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"")
    folders = sorted({Path(name).parent for name in images})
    for line in image_folders.read_image_folders(folders, mask_folder=Path("masks")):
        assert isinstance(line, LineError)
        assert "match the same mask 'masks/a.png'" in line.error.message
        assert "exact file name" in line.error.hint
    if folders == [Path("in")]:
        for name in images:
            Path("masks", Path(name).name).write_bytes(b"")
        found = image_folders.read_image_folders(folders, mask_folder=Path("masks"))
        assert [entry.setting_values["mask"].name for entry in found if isinstance(entry, Entry)] == sorted(
            Path(name).name for name in images
        )


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("steps=10,20,30", "steps", ("10", "20", "30")),
        ("guidance=3:9:2", "guidance_scale", ("3", "5", "7", "9")),
        ("strength=0.1:0.5:0.1", "strength", ("0.1", "0.2", "0.3", "0.4", "0.5")),
        ("hires=1.5,2:0.5", "hires", ("1.5", "2:0.5")),
        ("seed=1:3", "seed", ("1", "2", "3")),
        ("scheduler=euler,dpm++2m", "scheduler", ("euler", "dpm++2m")),
        ('prompt=a fox,"a cat, blue",1:3', "prompt", ("a fox", "a cat, blue", "1:3")),
        (
            "image_prompt=a.png:0.4, mask=m.png,a.png,model=sd15-plus,b.png",
            "image_prompt",
            ("a.png:0.4,mask=m.png", "a.png,model=sd15-plus", "b.png"),
        ),
        ('image_prompt="a,b.png:0.5",c.png', "image_prompt", ("a,b.png:0.5", "c.png")),
        ("control=canny=a.png,scale=0.5,depth=b.png", "control", ("canny=a.png,scale=0.5", "depth=b.png")),
        ('control="canny=a.png,depth=b.png",canny=c.png', "control", ("canny=a.png,depth=b.png", "canny=c.png")),
    ],
)
def test_sweep_values_are_parsed(text: str, name: str, values: tuple[str, ...]) -> None:
    assert sweeps.parse_axes([text]) == [sweeps.SweepAxis(name, values)]


@pytest.mark.parametrize(
    "texts",
    [["steps"], ["steps="], ["stps=1"], ["steps=a"], ["steps=1", "steps=2"], ["steps=9:3"], ["seed=0:999999"],
     ["steps=1:1000", "seed=1:1000"], ["output=a,b"]],
)  # fmt: skip
def test_invalid_sweep_is_rejected(texts: list[str]) -> None:
    with pytest.raises(UsageError):
        sweeps.parse_axes(texts)


def test_all_invalid_lines_are_reported_before_torch_is_imported() -> None:
    lines = ["ok", "x --stps 1", "x --steps 0", "x --steps a", "x --seed -2", "x --strength 0.5", "x --size 33x32",
             "x --task fly", "x --scheduler nope", "x --task img2img", "x --output ../y.png"]  # fmt: skip
    Path("p.txt").write_text("\n".join(lines))
    script = (
        "import sys; sys.argv = ['artgen', 'batch', 'p.txt', '-o', 'out']\n"
        "from artgen.__main__ import run\n"
        "try:\n    run()\n"
        "finally:\n    sys.stdout.write(','.join({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ), timeout=600
    )
    assert completed.returncode == 2
    assert completed.stdout == ""
    assert [f"p.txt:{number}:" in completed.stderr for number in range(1, 12)] == [False] + [True] * 10, (
        completed.stderr
    )
    assert "Traceback" not in completed.stderr
    assert not Path("out").exists() or not list(Path("out").glob("*.png"))
