"""Test tables and JSON prompt files: names of other tools, ignored columns, line numbers, notes of a plan."""

from pathlib import Path

import pytest
from command_line import run
from prompt_file_jobs import errors, jobs, notes

from artgen.errors import InputFileError, UsageError
from artgen.queue import prompt_files
from artgen.queue.keys import Keys
from artgen.queue.planner import Planner
from artgen.queue.tool_options import A1111_IGNORED


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "Prompt,Negative Prompt,CFG scale,Sampler,Size,Seed\na fox,bad,7,Euler a,128x64,5\n"),
        ("a.csv", "prompt;negative-prompt;cfg_scale;sampler_name;size;seed\na fox;bad;7;Euler a;128x64;5\n"),
        ("a.tsv", "prompt\tNegative Prompt\tGuidance\tscheduler\tsize\tseed\na fox\tbad\t7\tEuler a\t128x64\t5\n"),
        ("a.csv", "prompt,negative_prompt,cfgs,sampler,size,seed,filename\na fox,bad,7,Euler a,128x64,5,1.png\n"),
        ("a.csv", "prompt,negative_prompt,cfgs,sampler,size,seed\na fox,bad,7,Euler a,128x64,5,,\n"),
        ("a.json", '[{"prompt": "a fox", "Negative Prompt": "bad", "cfg_scale": 7, "sampler_name": "Euler a", '
                   '"size": "128x64", "seed": 5, "restore_faces": false, "denoising_strength": 0}]'),
        ("a.json", '{"prompt": "a fox", "negative prompt": "bad", "cfg scale": 7, "sampler": "Euler a", '
                   '"size": "128x64", "seed": 5, "override_settings": {"a": 1}}'),
        ("a.json", '{"defaults": {"negative_prompt": "bad", "seed": 5, "size": "128x64"}, "jobs": '
                   '[{"prompt": "a fox", "cfg-scale": 7, "sampler_name": "Euler a", "scheduler": "Automatic"}]}'),
        ("a.txt", '{"prompt": "a fox", "negative_prompt": "bad", "cfg_scale": 7, "sampler_name": "Euler a", '
                  '"size": "128x64", "seed": 5}'),
        ("a.yaml", "- {Prompt: a fox, Negative Prompt: bad, CFG scale: 7, Sampler: Euler a, Size: 128x64, Seed: 5}"),
    ],
)  # fmt: skip
def test_names_of_other_tools_are_settings(name: str, text: str) -> None:
    ((_, values),) = jobs(name, text)
    assert values == {
        "prompt": "a fox", "negative_prompt": "bad", "guidance_scale": 7.0, "scheduler": "Euler a", "size": "128x64",
        "seed": "5",
    }  # fmt: skip


def test_images_of_a1111_are_counted() -> None:
    payload = '{"prompt": "x", "n_iter": 2, "batch_size": 3, "sampler_name": "DPM++ 2M", "scheduler": "Karras"}'
    assert jobs("a.jsonl", payload) == [(1, {"prompt": "x", "scheduler": "DPM++ 2M", "sigmas": "karras", "count": 6})]
    assert "as in AUTOMATIC1111" in notes("a.jsonl", payload)
    assert jobs("a.csv", "prompt,batch size\nx,2\n") == [(2, {"prompt": "x", "count": 2})]


def test_the_scale_of_hires_can_be_a_number() -> None:
    assert jobs("a.jsonl", '{"prompt": "x", "hires": 2}') == [(1, {"prompt": "x", "hires": "2"})]


@pytest.mark.parametrize("key", sorted(A1111_IGNORED))
def test_keys_of_a1111_without_a_setting_have_a_note(key: str) -> None:
    assert jobs("a.jsonl", f'{{"prompt": "x", "{key}": 1}}') == [(1, {"prompt": "x"})]
    assert key in notes("a.jsonl", f'{{"prompt": "x", "{key}": 1}}')


TABLES = [
    ("a.csv", "prompt,notes,Made by,steps\nx,a,b,3\n"),
    ("a.tsv", "prompt\tnotes\tMade by\tsteps\nx\ta\tb\t3\n"),
    ("a.jsonl", '{"prompt": "x", "notes": 1, "Made by": [], "steps": 3}\n'),
    ("a.json", '[{"prompt": "x", "notes": 1, "Made by": [], "steps": 3}]\n'),
    ("a.yaml", "- {prompt: x, notes: 1, Made by: y, steps: 3}\n"),
]


@pytest.mark.parametrize(("name", "text"), TABLES)
@pytest.mark.parametrize("ignored", ["all", "notes,made-by", '"notes","Made by"', "notes, MADE_BY, other", "all,notes"])
def test_ignored_columns_have_a_note(name: str, text: str, ignored: str) -> None:
    ((_, values),) = jobs(name, text, ignored)
    assert values == {"prompt": "x", "steps": 3}
    found = notes(name, text, ignored)
    assert "'notes'" in found
    assert "'Made by'" in found


@pytest.mark.parametrize(("name", "text"), TABLES)
def test_unknown_columns_are_listed_with_a_hint(name: str, text: str) -> None:
    ((_, message),) = errors(name, text)
    assert "'notes', 'Made by'" in message
    assert "--ignore-columns 'notes,Made by'" in message
    assert "'Made by'" in errors(name, text, "notes")[0][1]


def test_a_known_column_can_be_ignored_by_name_only() -> None:
    text = "prompt,seed\nx,5\n"
    assert jobs("a.csv", text, "seed") == [(2, {"prompt": "x"})]
    assert jobs("a.csv", text, "all") == [(2, {"prompt": "x", "seed": "5"})]


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_ignore_columns_needs_names(text: str) -> None:
    with pytest.raises(UsageError, match="--ignore-columns"):
        Keys.parse(text)


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.csv", "prompt,foo\nx,1\ny\n", [1]),
        ("a.csv", "prompt,steps,foo\nx,many,1\ny,0,2,9\n", [1, 2, 3]),
        ("a.csv", ",prompt\n0,x\n", [1]),
        ("a.tsv", "prompt,steps\nx,1\n", [1]),
        ("a.json", '[\n "a",\n\n {"prmpt": 1},\n 3,\n {"prompt": "b",\n "steps": "x"}\n]', [4, 5, 6]),
        ("a.json", '{"jobs": [\n{"x": 1}, "b",\n{"y": 2}], "defaults": {"z": 1}}', [1, 2, 3]),
        ("a.json", '{"defaults": {"lora": [1]}, "jobs": [\n"b"]}', [1]),
        ("a.json", "{", [1]),
        ("a.json", "3", [1]),
        ("a.json", '{"prompt": "a", "prompt": "b"}', [1]),
        ("a.json", '{"1": {"class_type": "KSampler", "inputs": {}}}', [1]),
    ],
)
def test_every_error_of_a_table_and_of_json_has_its_line(name: str, text: str, lines: list[int]) -> None:
    assert [line for line, _ in errors(name, text)] == lines


@pytest.mark.parametrize("name", ["p.md", "p.doc", "prompts", "p.text", "p.toml"])
def test_unknown_suffix_lists_the_known_ones(name: str) -> None:
    Path(name).write_text("a fox")
    stderr = run("batch", name, "--dry-run", code=InputFileError.exit_code).stderr
    for suffix in (".txt", ".jsonl", ".json", ".csv", ".tsv", ".yaml", ".png", ".webp"):
        assert suffix in stderr


def test_notes_are_printed_once_with_their_lines() -> None:
    lines = [f"--prompt a fox {index} --tiling true" for index in range(12)]
    Path("p.txt").write_text("\n".join([*lines, "a cat --restore_faces x", "a dog"]))
    plan = Planner(Path("out"), {"model": "tiny"}).build_plan(prompt_files.read_prompt_file(Path("p.txt")))
    located = [note for note in plan.notes if note.startswith("p.txt:")]
    assert located == [
        "p.txt:1, 2, 3, 4, 5 and 7 other lines: artgen has no --tiling of AUTOMATIC1111: it has no effect.",
        "p.txt:13: artgen has no --restore_faces of AUTOMATIC1111: it has no effect.",
    ]


def test_the_number_of_printed_notes_is_limited() -> None:
    Path("p.txt").write_text("\n".join(f"#a{number} #b\nprompt {number}" for number in range(200)))
    plan = Planner(Path("out"), {"model": "tiny"}).build_plan(prompt_files.read_prompt_file(Path("p.txt")))
    assert len([note for note in plan.notes if note.startswith("p.txt:")]) == 50
    assert "150 other notes about lines." in plan.notes


def test_dry_run_prints_the_notes_and_all_errors_together() -> None:
    Path("p.txt").write_text("--prompt a fox --tiling true\na cat --ar 16:9\n")
    result = run("batch", "p.txt", "--dry-run")
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr.count("p.txt:1: artgen has no --tiling") == 1
    assert result.stderr.count("p.txt:2: artgen has no --ar of Midjourney") == 1
    Path("q.txt").write_text("--prompt a fox --tilling true\na cat --steps 0\n--prompt 'x\n")
    stderr = run("batch", "p.txt", "q.txt", "--dry-run", code=UsageError.exit_code).stderr
    assert all(f"q.txt:{line}:" in stderr for line in (1, 2, 3))
