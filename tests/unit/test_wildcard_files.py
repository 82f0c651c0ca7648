"""Test the files of wildcards and styles, and their use in the prompts of requests."""

import os
from pathlib import Path
from typing import Any

import pytest
from command_line import run

from artgen.errors import ArtgenError, InputFileError, UsageError
from artgen.events import Event
from artgen.jobs.prompt_expansion import expand_prompts
from artgen.spec.records import to_record
from artgen.spec.requests import Txt2Img
from artgen.spec.style_files import StyleFolder, add_style
from artgen.spec.wildcard_files import MAX_FILE_BYTES, WildcardFolder

TEXT_FILES = {
    "colors.txt": "\ufeff# a comment\nred\r\n\n  blue  \n0.5::green\n\\#hash\n",
    "dir/cats.txt": "tabby\nsiamese\n",
    "dir/dogs.txt": "poodle\n",
    "dir/deep/birds.txt": "owl\n",
    "Upper Case.txt": "upper\n",
    "dir/any.yaml": (
        "clothes:\n  hats: [007, yes, 1.50, '2::cap']\n  shoes:\n    - boot\n    - '{red|blue} sandal'\nsingle: one\n"
    ),
    "top.yml": "- a\n- b\n",
    "nested.txt": "__colors__ __dir/cats__\n",
    ".hidden.txt": "hidden\n",
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the files, and set `wildcard_folder`."""
    for name, text in TEXT_FILES.items():
        path = Path("wildcards", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    monkeypatch.setenv("ARTGEN_WILDCARD_FOLDER", "wildcards")
    return Path("wildcards")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("colors", ("red", "blue", "green", "#hash")),
        ("colors.txt", ("red", "blue", "green", "#hash")),
        ("COLORS", ("red", "blue", "green", "#hash")),
        ("dir/cats", ("tabby", "siamese")),
        ("dir/*", ("tabby", "siamese", "poodle", "one")),
        ("dir/?ats", ("tabby", "siamese")),
        ("*/birds", ()),
        ("**/birds", ("owl",)),
        ("dir/**/birds", ("owl",)),
        ("d*/c*", ("tabby", "siamese")),
        ("dir/clothes/hats", ("007", "yes", "1.50", "cap")),
        ("dir/clothes/*", ("007", "yes", "1.50", "cap", "boot", "{red|blue} sandal")),
        ("dir/single", ("one",)),
        ("top", ("a", "b")),
        ("upper case", ("upper",)),
    ],
)
def test_values_of_names(folder: Path, name: str, values: tuple[str, ...]) -> None:
    if values:
        assert WildcardFolder(folder).lookup(name).texts == values
    else:
        with pytest.raises(UsageError, match="No wildcard has the name"):
            WildcardFolder(folder).lookup(name)


def test_weights_of_lines(folder: Path) -> None:
    assert WildcardFolder(folder).lookup("colors").weights == (1, 1, 0.5, 1)
    assert WildcardFolder(folder).lookup("dir/clothes/hats").weights == (1, 1, 1, 2)
    assert WildcardFolder(folder).lookup("dir/cats").weights is None


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("colours", "Similar names: colors."),
        ("cats", "Similar names: dir/cats"),
        ("dir/clothes/hat", "dir/clothes/hats"),
        ("deep/*", "\\__deep/*__"),
        ("*irds", "To include subfolders, write __**irds__."),
        ("hidden", "\\__hidden__"),
        ("@colors", "Write __colors__."),
        ("../secret", "Write a name such as __colors__."),
        ("dir/../../secret", "Write a name such as __colors__."),
        ("/etc/passwd", "Write a name such as __colors__."),
    ],
)
def test_unknown_name_is_refused_with_a_hint(folder: Path, name: str, hint: str) -> None:
    Path("secret.txt").write_text("secret\n")
    with pytest.raises(UsageError) as error:
        WildcardFolder(folder).lookup(name)
    assert f"'{folder}'" in error.value.message or name.startswith("@")
    if name != "*irds":
        assert hint in error.value.hint


@pytest.mark.parametrize("target", ["../secret.txt", "/etc/hostname"])
def test_link_to_another_folder_is_refused(folder: Path, target: str) -> None:
    Path("secret.txt").write_text("secret\n")
    (folder / "link.txt").symlink_to(target)
    (folder / "inside.txt").symlink_to("colors.txt")
    Path("other").mkdir()
    Path("other/x.txt").write_text("secret\n")
    (folder / "linked").symlink_to(Path("other").absolute())
    wildcards = WildcardFolder(folder)
    with pytest.raises(InputFileError, match="is a link to another folder"):
        wildcards.lookup("link")
    with pytest.raises(UsageError, match="No wildcard"):
        wildcards.lookup("linked/x")
    assert "secret" not in wildcards.lookup("**").texts
    assert wildcards.lookup("inside").texts == wildcards.lookup("colors").texts


@pytest.mark.parametrize(
    ("files", "name", "expected"),
    [
        ({"a.txt": "__a__\n"}, "a", "contains itself: a -> a"),
        ({"a.txt": "x\n__b__\n", "b.txt": "y\n{__a__|z}\n"}, "a", "contains itself: a -> b -> a"),
        ({"a.txt": "__*__\n"}, "a", "contains itself"),
        ({f"n{i}.txt": f"__n{i + 1}__\n" for i in range(80)}, "n0", "nested deeper than 50 levels"),
        ({"a.txt": "-1::x\n"}, "a", "The weight of an option must be"),
    ],
)
def test_invalid_values_are_refused(files: dict[str, str], name: str, expected: str) -> None:
    Path("w").mkdir()
    for file, text in files.items():
        Path("w", file).write_text(text)
    with pytest.raises(UsageError) as error:
        WildcardFolder(Path("w")).lookup(name)
    assert expected in error.value.message


@pytest.mark.parametrize(
    ("file", "data", "expected"),
    [
        ("a.txt", b"", "has no values"),
        ("a.txt", b"# only a comment\n", "has no values"),
        ("a.txt", b"\xff\xfea\x00", "UTF-16"),
        ("a.txt", b"red\n\xe9\n", "line 2 is not UTF-8"),
        ("a.txt", b"a\0b", "NUL"),
        ("a.yaml", b"a: [x", "line"),
        ("a.yaml", b"a: [x, [y]]", "contains a value that is not text"),
        ("a.yaml", b"a: [x]\na: [y]", "occurs twice"),
        ("a.yaml", b"a: !!python/name:os.system x", "not supported"),
        ("a.yaml", b"a: &a [*a]", "contains itself"),
        ("a.yaml", b"- x\n---\n- y", "another document"),
        ("a.yaml", b"a: []", "has no values"),
        ("a.txt", b"x" * (MAX_FILE_BYTES + 1), "too large"),
    ],
)
def test_invalid_file_is_refused(file: str, data: bytes, expected: str) -> None:
    Path("w").mkdir()
    Path("w", file).write_bytes(data)
    with pytest.raises(InputFileError) as error:
        WildcardFolder(Path("w")).lookup("a")
    assert expected in error.value.message


def test_invalid_yaml_file_does_not_disable_other_files(folder: Path) -> None:
    (folder / "bad.yaml").write_text("hats: [x]\nshoes: [[y]]\n")
    wildcards = WildcardFolder(folder)
    assert wildcards.lookup("colors").texts[0] == "red"
    assert "bad.yaml" in next(iter(wildcards.notes))
    with pytest.raises(InputFileError, match=r"bad\.yaml"):
        wildcards.lookup("hats")


@pytest.mark.parametrize("name", ["missing", "file", "pipe"])
def test_folder_that_cannot_be_read_is_refused(name: str) -> None:
    Path("file").write_text("x")
    os.mkfifo("pipe")
    with pytest.raises(InputFileError, match="Cannot read the wildcard_folder") as error:
        WildcardFolder(Path(name)).lookup("colors")
    assert "artgen config set wildcard_folder" in error.value.hint


def test_pipe_in_the_folder_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe.txt")
    with pytest.raises(InputFileError, match="not a regular file"):
        WildcardFolder(folder).lookup("pipe")


def test_unset_folder_is_reported() -> None:
    run("txt2img", "a __colors__ fox", "--dry-run", code=2)
    error = run("txt2img", "a __colors__ fox", "--dry-run", code=2)
    assert "wildcard_folder is not set" in error.stderr
    assert "artgen config set wildcard_folder FOLDER" in error.stderr


def recorded(**settings: Any) -> dict[str, Any]:
    return to_record(expand_prompts(Txt2Img(**settings)))


def test_record_contains_template_choices_and_resolved_prompt(folder: Path) -> None:
    found = recorded(prompt="a {big|small} __dir/dogs__", negative_prompt="{x|x}", seed=1)
    assert found["prompt"] in ("a big poodle", "a small poodle")
    assert found["prompt_template"] == "a {big|small} __dir/dogs__"
    assert found["negative_prompt"] == "x"
    assert found["negative_prompt_template"] == "{x|x}"
    assert found["prompt_choices"] == [f"{{big|small}}={found['prompt'].split()[1]}", "__dir/dogs__=poodle", "{x|x}=x"]


def test_prompt_without_wildcards_has_no_template() -> None:
    found = recorded(prompt="a fox {x}", seed=1)
    assert not {"prompt_template", "negative_prompt_template", "prompt_choices", "prompt_styles"} & found.keys()


def test_seeds_with_the_same_noise_make_the_same_choices(folder: Path) -> None:
    prompts = {expand_prompts(Txt2Img(prompt="{a|b|c|d|e|f}", seed=7 + n * 2**32)).prompt for n in range(4)}  # type: ignore[attr-defined]
    assert len(prompts) == 1


def test_plain_prompts_keep_wildcards_with_a_note(folder: Path) -> None:
    events: list[Event] = []
    request = expand_prompts(Txt2Img(prompt="a {b|c} __colors__", prompt_weights="none"), events.append)
    assert request.prompt == "a {b|c} __colors__"  # type: ignore[attr-defined]
    assert "'{b|c}' is text, because prompt_weights is none." in {getattr(event, "text", "") for event in events}


def test_configured_folder_is_absolute(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARTGEN_WILDCARD_FOLDER")
    run("config", "set", "wildcard_folder", "wildcards")
    Path("sub").mkdir()
    monkeypatch.chdir("sub")
    assert recorded(prompt="__dir/dogs__")["prompt"] == "poodle"


STYLES_CSV = (
    "\ufeffname,prompt,negative_prompt\r\n"
    '"Cinematic","film still of {prompt}, grain","drawing"\r\n'
    '"Detail","high detail",\r\n'
    "\r\n"
    '"Two\nlines","x, ""y""",z\r\n'
    "Wild,{a|a} light,{b|b}\r\n"
)
STYLES_JSON = '[{"name": "sai-anime", "prompt": "anime {prompt}", "negative_prompt": "photo"}, {"name": "bare"}]'


@pytest.fixture
def styles(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write files of styles, and set `style_folder`."""
    Path("styles").mkdir()
    Path("styles/styles.csv").write_text(STYLES_CSV, encoding="utf-8", newline="")
    Path("styles/old.csv").write_text("name,text\nold style,old text\n")
    Path("styles/fooocus.json").write_text(STYLES_JSON)
    Path("styles/config.json").write_text('{"name": "not a style"}')
    monkeypatch.setenv("ARTGEN_STYLE_FOLDER", "styles")
    return Path("styles")


@pytest.mark.parametrize(
    ("names", "prompt", "negative_prompt"),
    [
        (("Cinematic",), "film still of a fox, grain", "blur, drawing"),
        (("cinematic",), "film still of a fox, grain", "blur, drawing"),
        (("Detail",), "a fox, high detail", "blur"),
        (("Detail", "Cinematic"), "film still of a fox, high detail, grain", "blur, drawing"),
        (("Cinematic", "Detail"), "film still of a fox, grain, high detail", "blur, drawing"),
        (("SAI Anime",), "anime a fox", "blur, photo"),
        (("bare",), "a fox", "blur"),
        (("old style",), "a fox, old text", "blur"),
        (("Two\nlines",), 'a fox, x, "y"', "blur, z"),
        (("Wild",), "a fox, a light", "blur, b"),
    ],
)
def test_styles_are_added_to_prompts(styles: Path, names: tuple[str, ...], prompt: str, negative_prompt: str) -> None:
    request = expand_prompts(Txt2Img(prompt="a fox", negative_prompt="blur", style=names, seed=1))
    assert isinstance(request, Txt2Img)
    assert (request.prompt, request.negative_prompt) == (prompt, negative_prompt)
    assert request.style == ()
    assert request.expansion is not None
    assert [name.casefold() for name in request.expansion.styles] == [
        name.casefold().replace("sai anime", "sai-anime") for name in names
    ]
    assert request.expansion.template == ("" if prompt == "a fox" else "a fox")


def test_style_does_not_change_the_choices_of_the_prompt(styles: Path) -> None:
    for seed in range(20):
        plain = expand_prompts(Txt2Img(prompt="{p|q|r}", seed=seed))
        styled = expand_prompts(Txt2Img(prompt="{p|q|r}", seed=seed, style=("Wild",)))
        assert styled.prompt == f"{plain.prompt}, a light"  # type: ignore[attr-defined]


def test_record_contains_the_names_of_styles(styles: Path) -> None:
    found = recorded(prompt="a fox", style=("Detail", "cinematic"))
    assert found["prompt"] == "film still of a fox, high detail, grain"
    assert found["prompt_styles"] == ["Detail", "Cinematic"]
    assert found["prompt_template"] == "a fox"
    assert "style" not in found


def test_style_that_is_named_twice_is_used_once_with_a_note(styles: Path) -> None:
    events: list[Event] = []
    request = expand_prompts(Txt2Img(prompt="a fox", style=("Detail", "detail")), events.append)
    assert request.prompt == "a fox, high detail"  # type: ignore[attr-defined]
    assert "The style 'Detail' is named twice and used once." in {getattr(event, "text", "") for event in events}


def test_unknown_style_is_refused_with_similar_names(styles: Path) -> None:
    error = run("txt2img", "a fox", "--style", "Cinematik", "--dry-run", code=2)
    assert "No style has the name 'Cinematik'" in error.stderr
    assert "Similar names: Cinematic." in error.stderr


def test_style_with_two_definitions_is_refused(styles: Path) -> None:
    Path("styles/more.csv").write_text("name,prompt\nDetail,other\nbare,\n")
    with pytest.raises(InputFileError, match=r"2 styles in 'more\.csv' and 'styles\.csv' have this name"):
        StyleFolder(styles).find("Detail")
    assert StyleFolder(styles).find("bare").prompt == ""


@pytest.mark.parametrize(
    ("file", "data", "expected"),
    [
        ("x.csv", b"", "lacks the columns name and prompt"),
        ("x.csv", b"a,b\n1,2\n", "lacks the columns name and prompt"),
        ("x.csv", b'name,prompt\n"open,x\n', "unexpected end of data"),
        ("x.csv", b"name,prompt\na,b,c\n", "line 2 has 3 cells, and the header has 2"),
        ("x.csv", b"name,prompt\n,b\n", "line 2 has no name"),
        ("x.csv", b"\xff\xfen\x00", "UTF-16"),
        ("x.csv", b"name,prompt\na,\xe9\n", "line 2 is not UTF-8"),
        ("x.csv", b"name,prompt\na," + b"x" * 200_000 + b"\n", "field larger than field limit"),
        ("x.json", b"[", "it is not JSON"),
        ("x.json", b"[1]", "item 1 is 1, not a style"),
        ("x.json", b'[{"prompt": "x"}]', "item 1 has no name"),
        ("x.json", b'[{"name": "x", "prompt": 5}]', "is not text"),
        ("x.json", b"[" * 100_000, "nested deeper"),
    ],
)
def test_invalid_file_of_styles_is_reported(styles: Path, file: str, data: bytes, expected: str) -> None:
    Path("styles", file).write_bytes(data)
    listed = run("styles", code=3)
    assert expected in listed.stderr
    assert "Cinematic" in listed.stdout
    events: list[Event] = []
    expand_prompts(Txt2Img(prompt="a fox", style=("Detail",)), events.append)
    assert expected in getattr(events[0], "text", "")
    assert "A file of styles is ignored." in getattr(events[0], "text", "")
    with pytest.raises(InputFileError) as error:
        StyleFolder(styles).find("missing")
    assert expected in error.value.message


def test_styles_are_listed(styles: Path) -> None:
    lines = run("styles").stdout.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == [
        "sai-anime", "bare", "old style", "Cinematic", "Detail", "Two\\nlines", "Wild",
    ]  # fmt: skip
    assert run("styles", "anime").stdout.startswith("sai-anime  anime {prompt}")
    assert '"negative_prompt": "photo"' in run("styles", "ANIME", "--json").stdout
    assert "No style has a name that contains 'zebra'" in run("styles", "zebra", code=2).stderr


@pytest.mark.parametrize(("folder", "reason"), [("missing", "does not exist"), ("", "style_folder is not set")])
def test_missing_folder_of_styles_is_reported(folder: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_STYLE_FOLDER", folder)
    assert reason in run("styles", code=3).stderr
    assert reason in run("txt2img", "a fox", "--style", "x", "--dry-run", code=None).stderr


def test_link_to_a_file_in_another_folder_is_ignored_with_a_note(styles: Path) -> None:
    Path("outside.csv").write_text("name,prompt\nsecret,x\n")
    Path("styles/link.csv").symlink_to(Path("outside.csv").absolute())
    assert "link.csv' is ignored: it is a link to another folder." in run("styles").stderr
    with pytest.raises(ArtgenError, match="No style has the name 'secret'"):
        StyleFolder(styles).find("secret")


def test_empty_style_does_not_change_the_prompt() -> None:
    assert add_style("", " a fox ") == " a fox "
    assert add_style("  ", "a fox") == "a fox"
    assert add_style("x", "") == "x"
