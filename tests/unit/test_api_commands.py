"""Test that each command of the command line has a Python function with the same settings."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import artgen
from artgen.cli.main import COMMAND_SUMMARIES, load_command

FUNCTIONS_OF_COMMANDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("txt2img", "img2img", "inpaint", "outpaint", "denoise", "sample", "replay", "info")},
    **{
        name: (name,)
        for name in ("edit", "mask", "noise", "anomaly", "train", "rank", "reconstruct", "sheet", "doctor", "upscale")
    },
    "variations": ("variations",),
    "verify": ("verify",),
    "morph": ("morph",),
    "control": ("control_map",),
    "gallery": ("gallery",),
    "batch run": ("batch",),
    "batch status": ("batch_status",),
    "batch verify": ("verify_batch",),
    "models list": ("list_models",),
    "models recommend": ("recommend_models",),
    "models show": ("show_model",),
    "models words": ("model_words",),
    "models pull": ("pull_model",),
    "models verify": ("verify_model",),
    "models convert": ("convert_model",),
    "models alias": ("set_alias", "remove_alias"),
    "models remove": ("remove_model",),
    "models path": ("model_path",),
    "schedulers": ("list_schedulers",),
    "prompt": ("explain_prompt",),
    "styles": ("list_styles",),
    "cache list": ("list_cache",),
    "cache clear": ("clear_cache",),
    "preset save": ("save_preset",),
    "preset list": ("list_presets",),
    "preset show": ("list_presets",),
    "preset remove": ("remove_preset",),
    "history search": ("search_history", "history_file"),
    "history show": ("history_entry", "history_file"),
    "history rate": ("rate_history",),
    "history tag": ("tag_history",),
    "history forget": ("forget_history", "search_history"),
    "history export": ("export_history",),
    "history import": ("import_history",),
    "history scan": ("scan_history",),
    "sign init": ("create_signing_key",),
    "sign show": ("signing_key",),
    "worker start": ("start_worker",),
    "worker stop": ("stop_worker",),
    "worker status": ("worker_status",),
}
"""Functions of each command. `config` has none: the functions do not use the defaults of configuration files."""

COMMANDS_WITHOUT_FUNCTION = {"serve", *(f"config {name}" for name in ("show", "list", "set", "get", "unset", "path"))}
"""`serve` runs until it is stopped."""

PRINTED = {"json", "as_json", "dry_run", "quiet", "verbose", "show", "open", "preview"}
"""Options about the printed text and about programs that show images."""

WRITTEN = {"output", "overwrite", "format", "quality", "png_level", "metadata", "sign", "history", "fps"}
"""Options about files, which the method `save` of a result takes."""

ONLY_COMMANDS = {"server"}
"""Options about where a command runs. The functions run in the process of the program."""

RUN_OF_BATCH = {
    *("sweep", "combinatorial", "keep_going", "limit", "ray", "retry_failed", "shard", "shuffle", "workers"),
}
"""Options of folder runs and sweeps. `artgen.batch` takes them."""

OTHER_NAMES = {
    "anomaly": {"fit_path": "save_fit", "image_args": "images"},
    "batch run": {"files": "prompts", "output": "folder"},
    "control": {"image_paths": "images"},
    "denoise": {"image_args": "image"},
    "gallery": {"paths": "images"},
    "history import": {"file": "marks"},
    "history show": {"ids": "id"},
    "history tag": {"arguments": "ids"},
    "info": {"files": "file"},
    "mask": {"arguments": "images"},
    "models alias": {"remove": "name"},
    "models pull": {"names": "name"},
    "rank": {"image_args": "images"},
    "reconstruct": {"image_paths": "images"},
    "replay": {"file": "source", "set_": "steps"},
    "sheet": {"image_paths": "images"},
    "upscale": {"image_args": "image"},
    "variations": {"set_": "steps"},
    "verify": {"files": "file"},
    "morph": {"set_": "steps"},
}
"""Names of parameters of a function that differ from the names of the command."""

WITHOUT_KEYWORD = {
    "anomaly": {"heatmap_path", "csv_path"},  # `AnomalyResult` has the heat map and the scores
    "batch run": {"image"},  # refused by the command
    "denoise": {"compare"},  # `artgen.sheet`
    "gallery": {"opens"},  # opens a browser
    "rank": {"csv_file", "sheet_file"},  # the function returns the scores, and `artgen.sheet` writes sheets
    "history forget": {"everything", "missing", "yes"},
    "history search": {"paths"},
    "models remove": {"yes"},
    "cache clear": {"yes"},
    "preset list": set(),
    "preset show": {"name"},
}


def leaf_commands() -> Iterator[tuple[str, Any]]:
    for name in COMMAND_SUMMARIES:
        command = load_command(name)
        children = getattr(command, "commands", None)
        yield from ((f"{name} {child}", each) for child, each in children.items()) if children else [(name, command)]


COMMANDS = dict(leaf_commands())


def test_every_command_has_a_function() -> None:
    assert set(COMMANDS) - COMMANDS_WITHOUT_FUNCTION == set(FUNCTIONS_OF_COMMANDS)
    names = {name for functions in FUNCTIONS_OF_COMMANDS.values() for name in functions}
    assert names <= set(artgen.__all__)
    assert names <= set(dir(artgen))


@pytest.mark.parametrize("command", FUNCTIONS_OF_COMMANDS)
def test_functions_take_all_settings_of_their_command(command: str) -> None:
    functions = [getattr(artgen, name) for name in FUNCTIONS_OF_COMMANDS[command]]
    taken = {name for function in functions for name in inspect.signature(function).parameters}
    if command == "preset save":  # takes a dictionary of settings
        taken |= {parameter.name for parameter in COMMANDS[command].params}
    excluded = PRINTED | ONLY_COMMANDS | WITHOUT_KEYWORD.get(command, set())
    if command not in ("batch run", "train", "models convert"):
        excluded |= WRITTEN
    if command != "batch run":
        excluded |= RUN_OF_BATCH
    renamed = OTHER_NAMES.get(command, {})
    missing = {
        parameter.name
        for parameter in COMMANDS[command].params
        if not parameter.name.endswith(("_positional", "positionals"))
        and parameter.name not in excluded
        and renamed.get(parameter.name, parameter.name) not in taken
    }
    assert missing - ({"overwrite"} if command == "batch run" else set()) == set()


@pytest.mark.parametrize(
    "command", ["noise", "sheet", "anomaly", "train", "batch run", "models recommend", "prompt", "denoise"]
)
def test_keywords_have_the_defaults_of_the_options(command: str) -> None:
    function = getattr(artgen, FUNCTIONS_OF_COMMANDS[command][0])
    parameters = inspect.signature(function).parameters
    for option in COMMANDS[command].params:
        keyword = parameters.get(option.name)
        if (
            keyword is None
            or keyword.default is keyword.empty
            or option.name in {"frames", "count", "seed", "prompt", "image", "images"}
        ):
            continue
        default = tuple(option.default) if isinstance(option.default, list) else option.default
        assert keyword.default == default or (keyword.default is None and not default), option.name


def test_every_public_name_has_a_docstring_and_can_be_imported() -> None:
    for name in artgen.__all__:
        assert name == "__version__" or getattr(artgen, name).__doc__


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: artgen.noise("fox.png", stps=3), "Did you mean steps?"),
        (lambda: artgen.noise("fox.png", steps=51), "steps must be 2 to 50, not 51."),
        (lambda: artgen.noise("fox.png", schedule="lin"), "schedule must be one of linear"),
        (lambda: artgen.noise("fox.png", frames=3), "frames must be True or False"),
        (lambda: artgen.noise("no.png"), "'no.png' does not exist."),
        (lambda: artgen.noise(None), "image must be a path, a PIL image"),
        (lambda: artgen.sheet([]), "The list of images is empty"),
        (lambda: artgen.sheet(["no.png"]), "'no.png' does not exist."),
        (lambda: artgen.sheet(3), "image must be a path"),
        (lambda: artgen.anomaly(), "an input image, or fit with save_fit, is missing"),
        (lambda: artgen.anomaly("fox.png", save_fit="x.safetensors"), "Add fit='normal/'."),
        (lambda: artgen.anomaly("fox.png", method="x"), "method must be one of pixel, latent"),
        (lambda: artgen.train(None), "folder must be a path"),
        (lambda: artgen.train("no"), "no"),
        (lambda: artgen.train(".", steps=2, train_steps=2), "Cannot use steps with train_steps"),
        (lambda: artgen.train(".", seed=-1), "seed must be 0 to"),
        (lambda: artgen.train(".", output=3), "output must be a path"),
        (lambda: artgen.list_models(family="x"), "Cannot find the family 'x'."),
        (lambda: artgen.list_models(task="x"), "task must be one of txt2img"),
        (lambda: artgen.recommend_models(memory="x"), "memory must be a size"),
        (lambda: artgen.recommend_models(limit=0), "limit must be 1 to 1,000, not 0."),
        (lambda: artgen.show_model("no"), "Cannot find the model 'no'."),
        (lambda: artgen.pull_model(None), "name must be text, not None."),
        (lambda: artgen.pull_model("tiny", forse=True), "Did you mean force?"),
        (lambda: artgen.remove_model("tiny"), "it was not downloaded by artgen"),
        (lambda: artgen.convert_model("no.ckpt"), "'no.ckpt' does not exist."),
        (lambda: artgen.set_alias("a/b", "tiny"), "'a/b' cannot be an alias."),
        (lambda: artgen.remove_alias("no"), "'no' is not an alias."),
        (lambda: artgen.model_words("sd15"), "only the bundled model 'tiny'"),
        (lambda: artgen.list_styles(), "style_folder is not set"),
        (lambda: artgen.explain_prompt(""), "the prompt is missing"),
        (lambda: artgen.batch_status("no"), "it does not contain a batch"),
        (lambda: artgen.batch(3), "prompts must be a path or a list, not 3."),
        (lambda: artgen.batch("a red fox"), 'Prompts are a list: artgen.batch(["a red fox"'),
        (lambda: artgen.batch([]), "it contains no jobs"),
        (lambda: artgen.batch(["a --steps 0", "b"]), "1 of 2 jobs cannot run: prompts:1: steps must be 1 to 1,000"),
        (lambda: artgen.batch(["a\nb"]), "The line contains a line break."),
        (lambda: artgen.batch(["a"], folder="x.png"), "it is one file, not a folder"),
        (lambda: artgen.batch(["a"], stpes=3), "Did you mean steps?"),
        (lambda: artgen.batch(["a"], sweep={"steps": [1, 2]}), 'Use prompt="a red fox" and sweep='),
        (lambda: artgen.batch(prompt="a", sweep={"stps": [1]}), "Did you mean steps?"),
        (lambda: artgen.batch(prompt="a", sweep=3), "sweep must be a dictionary, not 3."),
        (lambda: artgen.batch(["a"], shard="9/2"), "Cannot use shard '9/2': it is not i/n"),
        (lambda: artgen.batch(["a"], workers=0), "workers must be 1 to 256, not 0."),
    ],
)  # fmt: skip
def test_wrong_values_raise_an_error_with_a_reason(
    call: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from PIL import Image

    Image.new("RGB", (64, 64)).save("fox.png")
    with pytest.raises(artgen.ArtgenError) as caught:
        call()
    assert message in str(caught.value)
    assert caught.value.exit_code in (2, 3, 4, 5)


def test_lists_are_typed() -> None:
    assert {each.name for each in artgen.list_models(family="flux2")} >= {"flux2-dev"}
    assert artgen.show_model("tiny").details["license"] == "Apache-2.0"
    assert artgen.pull_model("tiny").path == artgen.model_path("tiny")
    assert all(check.ok for check in artgen.verify_model("tiny"))
    assert artgen.recommend_models(memory="24GiB", limit=2)[0].command.startswith("artgen txt2img")
    assert "dpm++2m" in {each.name for each in artgen.list_schedulers()}
    assert artgen.doctor().bundled_model == "intact"
    assert "fox" in artgen.model_words().subjects["animals"]
    texts = artgen.explain_prompt("a (red:1.3) fox").prompt[0].texts
    assert [text.weight for text in texts if text] == [1.0, 1.3, 1.0]


def test_sheet_takes_paths_images_arrays_and_folders(tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    image = Image.new("RGB", (40, 30), "red")
    (tmp_path / "folder").mkdir()
    image.save(tmp_path / "folder" / "a.png")
    sheet = artgen.sheet([tmp_path / "folder", str(tmp_path / "folder" / "a.png"), image, np.zeros((8, 8), np.uint8)])
    assert len(sheet.pages) == 1
    assert sheet._repr_png_().startswith(b"\x89PNG")
    assert sheet.save(tmp_path / "s.png") == [tmp_path / "s.png"]
    with pytest.raises(artgen.OutputError, match="exists already"):
        sheet.save(tmp_path / "s.png")
    assert len(artgen.sheet([image] * 5, columns=1, rows=2).save(tmp_path / "p.png")) == 3
