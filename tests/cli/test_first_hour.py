"""Test what users of other tools type in their first hour: the commands that run, and the hints of the refusals."""

import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import run, save_inputs

from artgen.cli.main import COMMAND_SUMMARIES, load_command
from artgen.spec import settings
from artgen.spec.settings import options_of
from artgen.spec.synonyms import _CONFIGURED_ONLY, command_hint, option_hint, similar_names, value_hint
from artgen.spec.synonyms.commands import COMMAND_ROWS, COMMANDS_OF_GROUPS
from artgen.spec.synonyms.options import OPTION_ROWS, SHORT_OPTIONS
from artgen.spec.synonyms.unsupported import UNSUPPORTED_ROWS
from artgen.spec.synonyms.values import VALUE_ROWS


@dataclass(frozen=True)
class Typed:
    """Represent a command that a user types.

    Attributes:
        args: arguments.
        code: expected exit code.
        texts: texts that the output contains.
        without: texts that the output does not contain.
        stdin: content of stdin.
        generates: whether the command generates an image; the test adds `--dry-run`.
    """

    args: tuple[str, ...]
    code: int
    texts: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    stdin: str | None = None
    generates: bool = False


def refused(
    *args: str, hint: str | tuple[str, ...], code: int = 2, without: str = "", stdin: str | None = None
) -> Typed:
    texts = (hint,) if isinstance(hint, str) else hint
    return Typed(args, code, texts, (without,) if without else (), stdin)


def works(*args: str, text: str | tuple[str, ...] = (), stdin: str | None = None) -> Typed:
    return Typed(args, 0, (text,) if isinstance(text, str) else text, stdin=stdin, generates=True)


def prints(*args: str, text: str) -> Typed:
    return Typed(args, 0, (text,))


def option(*args: str, hint: str, without: str = "") -> Typed:
    return refused("txt2img", "a fox", *args, hint=hint, without=without)


SYNTAX = "a (red:1.3) fox <lora:foo:0.8> BREAK [cat|dog] {a|b}"

TYPED = (
    works("a fox", text="Running artgen txt2img with the prompt 'a fox'."),
    *(refused(word, "a fox", hint='artgen txt2img "a fox"') for word in ("draw", "generate", "imagine")),
    refused("txt2img", "a", "red", "fox", hint='artgen txt2img "a red fox"'),
    works("txt2img", "a fox", "-W", "512", "-H", "512", text="shapes may repeat"),
    works("txt2img", "a fox", "-W", "512", text="shapes may repeat"),
    works("txt2img", "a fox", "--cfg-scale", "7", text="guidance_scale=7"),
    works("txt2img", "a fox", "--guidance", "7", text="guidance_scale=7"),
    works("txt2img", "a fox", "--sampler", "DPM++ 2M Karras", text="sigmas=karras"),
    works("txt2img", "a fox", "--negative", "blur", text="negative_prompt=blur"),
    works("txt2img", "a fox", "--num-images", "4", text="4 images"),
    works("txt2img", "a fox", "--num-inference-steps", "5", text="steps=5"),
    works("img2img", "--image", "in.png", "-p", "a fox", text="task=img2img"),
    works("img2img", "-i", "in.png", "-p", "a fox", text="task=img2img"),
    works("txt2img", "-p", "a fox", text="prompt=a fox"),
    works("txt2img", "a fox", "--seed", "-1", text="seed="),
    option("--cfg", "7", hint="Did you mean --guidance-scale?", without="fps"),
    works("txt2img", "a fox", "--n_iter", "4", text="4 images"),
    works("txt2img", "a fox", "--n-iter", "4", text="4 images"),
    works("txt2img", "a fox", "--num_inference_steps", "5", text="steps=5"),
    works("txt2img", "a fox", "--guidance_scale", "7", text="guidance_scale=7"),
    works("txt2img", "a fox", "--negative_prompt", "blur", text="negative_prompt=blur"),
    option("--seed", "random", hint="-1 selects a random seed."),
    option("--hires-fix", hint="Did you mean --hires?", without="frames"),
    refused("txt2img", "a fox", "--vae", "no.safetensors", hint="no.safetensors", code=4),
    works("txt2img", "a fox", "--clip-skip", "2", text="clip_skip=2"),
    refused("txt2img", "a fox", "--embedding", "no.safetensors", hint="no.safetensors", code=3),
    option("--controlnet", "pose.png", hint="Did you mean --control?", without="count"),
    option("--upscale", "2", hint="To enlarge an image, run `artgen upscale IMAGE --by 2`.", without="guidance"),
    refused("enlarge", "in.png", hint="To enlarge an image, run `artgen upscale in.png --by 2`."),
    refused("score", "in.png", hint='artgen rank in.png --prompt "a red fox"'),
    prints("history", text="The history is empty."),
    refused("gallery", hint="artgen gallery FOLDER", code=3),
    refused("web", hint="Run `artgen serve` for an HTTP server."),
    refused("ui", hint="Run `artgen serve` for an HTTP server."),
    refused("server", hint="Run `artgen serve` for an HTTP server.", without="sheet"),
    refused("list", hint="artgen models list"),
    prints("version", text="artgen "),
    refused("samplers", hint="artgen schedulers"),
    prints("help", "txt2img", text="Usage: artgen txt2img"),
    refused("models", "search", "fox", hint="https://huggingface.co/models"),
    refused("models", "download", "sdxl", hint="artgen models pull"),
    prints("config", "get", "model", text="model is not set."),
    prints("config", "unset", "model", text="model is not set"),
    refused("txt2img", "a fox", "--offline", "--model", "fluxx", hint="flux", code=4),
    refused("txt2img", "a fox", "--offline", "--model", "sdx1", hint="sdxl", code=4),
    refused(
        "txt2img", "a fox", "--offline", "-m", "runwayml/stable-diffusion-v1-5",
        hint="stable-diffusion-v1-5/stable-diffusion-v1-5?", without="CompVis", code=4,
    ),
    works("img2img", "in.png", "a fox", "--denoising-strength", ".4", text="strength=0.4"),
    refused("img2img", "in.png", "--denoise", ".4", hint="Did you mean --strength? 0 to 1.", without="verbose"),
    refused("img2img", "a fox", "in.png", hint='artgen img2img in.png "a fox"'),
    refused("img2img", "--init-img", "in.png", hint="Did you mean --image?"),
    refused("txt2img", hint=('artgen txt2img "a red fox in the snow"',)),
    works("txt2img", "-", text=("2 lines from stdin are one prompt", "artgen batch -"), stdin="a fox\na car\n"),
    works("txt2img", "prompts.txt", text="artgen batch 'prompts.txt'"),
    works("txt2img", "missing.txt", text="looks like the name of a file, which does not exist"),
    prints("txt2img", "help", text="Usage: artgen txt2img"),
    works("txt2img", "a fox --steps 5 --seed 3", text="Write options after the prompt."),
    refused("txt2img", SYNTAX, hint="lora_folder", code=3),
    refused("txt2img", "a fox", "--style", "oil", hint="style_folder"),
    option("--tile", hint="Did you mean --seamless both?", without="quiet"),
    option("--variation", "0.2", hint="Did you mean --variation-strength?", without="acceleration"),
    option("--outdir", "pics", hint="Did you mean --output?", without="count"),
    option("--lowvram", hint="--offload auto", without="lora"),
    option("--cpu", hint="Did you mean --device cpu?", without="fps"),
    option("--fp16", hint="Did you mean --dtype fp16?", without="fps"),
    option("--quantize", "8", hint="Did you mean fp8 or int8?"),
    option("--precision", "half", hint="Did you mean --dtype?", without="format"),
    option("--xformers", hint="artgen uses scaled dot-product attention of PyTorch.", without="quality"),
    option("--stpes", "5", hint="Did you mean --steps?"),
    option("--step", "5", hint="Did you mean --steps?"),
    *(refused(word, "a fox", hint="txt2img") for word in ("tx2img", "text2img", "t2i")),
    refused("img2im", "in.png", hint="'img2img'"),
    refused("scheduler", hint="'schedulers'"),
    option("--scheduler", "eulr", hint="Similar names: euler"),
    works("txt2img", "a fox", "--scheduler", "euler_a", text="scheduler=euler-a"),
    works("txt2img", "a fox", "--scheduler", "Euler a", text="scheduler=euler-a"),
    works("txt2img", "a fox", "--scheduler", "k_euler", text="scheduler=euler"),
    works("txt2img", "a fox", "--scheduler", "dpmpp_2m_karras", text="sigmas=karras"),
    option("--size", "512", hint="512x512"),
    option("--size", "100x100", hint="--size 96x96 or"),
    option("--steps", "fifty", hint="--steps must be a whole number, not 'fifty'.", without="valid int"),
    works("txt2img", "a fox", "-o", "pics2", text="For a folder, add a slash: pics2/"),
    prints(text="Usage: artgen"),
    *(prints(flag, text="Usage: artgen") for flag in ("-h", "--help", "help")),
    *(prints(group, text=f"Usage: artgen {group}") for group in ("models", "config", "preset", "cache")),
    prints("models", "help", text="Usage: artgen models"),
    prints("help", "models", "list", text="Usage: artgen models list"),
    prints("models", "help", "list", text="Usage: artgen models list"),
    prints("txt2img", "-h", text="Usage: artgen txt2img"),
    prints("txt2img", "--help", text="Usage: artgen txt2img"),
    prints("--version", text="artgen "),
    prints("-V", text="artgen "),
    prints("config", "list", text="no settings"),
    refused("config", "edit", hint="artgen config path"),
    refused("config", "set", "cfg", "7", hint="Did you mean guidance_scale?"),
    refused("a", "red", "fox", hint='artgen txt2img "a red fox"'),
    refused("lsit", hint="artgen models list"),
    refused("txt2im fox", hint="begins with the command 'txt2img'"),
    refused("in.png", hint="artgen info in.png"),
    refused("prompts.txt", hint="artgen batch prompts.txt"),
    refused("--steps", "5", "a fox", hint='artgen txt2img --steps 5 "a fox"'),
    option("--steps", hint="--steps <int>"),
    option("-steps", "5", hint="Did you mean --steps?"),
    option("-cfg", "7", hint="Did you mean --guidance-scale?"),
    option("\N{EM DASH}steps", "5", hint="Did you mean --steps?"),
    option("-n", "--steps", "5", hint="--negative-prompt=--steps"),
    option("in.png", hint='artgen img2img in.png "a fox"'),
    option("--strength", "0.5", hint="img2img, inpaint and outpaint take --strength"),
    option("--guidance-scale", "7,5", hint="Did you mean 7.5?"),
    refused("img2img", "a fox", hint='artgen txt2img "a fox"'),
    refused("img2img", "in.png", "a", "blue", "fox", hint='artgen img2img in.png "a blue fox"'),
    refused("inpaint", "in.png", "mask.png", "a hat", hint="artgen inpaint in.png \"a hat\" --mask mask.png"),
    works("txt2img", "a fox", "-n", "4", text="The option for the number of images is --count."),
)  # fmt: skip
"""Commands of testers, then similar ones."""


def run_typed(typed: Typed, **kwargs: Any) -> str:
    arguments = (*typed.args, "--dry-run") if typed.generates else typed.args
    return run(*arguments, code=typed.code, input=typed.stdin, prog_name="artgen", **kwargs).output


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: " ".join(typed.args)[:60] or "artgen")
def test_first_commands_run_or_get_the_right_hint(typed: Typed) -> None:
    save_inputs()
    Path("prompts.txt").write_text("a fox\na car\n")
    printed = run_typed(typed)
    for text in typed.texts:
        assert text in printed
    for text in typed.without:
        assert text not in printed
    if typed.code:
        assert printed.startswith("error: ")
        assert len(printed.splitlines()) == 2, "an error and a hint"


def main_options(name: str) -> dict[str, str]:
    """Return the options and hidden aliases of a command, each with the name that a hint shows."""
    command = load_command(name)
    flags = {flag: flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
    flags = {flag: shown for flag, shown in flags.items() if flag.startswith("--")}
    return flags | {alias: target for alias, target in command.flag_aliases().items() if target in flags}


def hint_for(name: str, command: str = "txt2img") -> str:
    flags = main_options(command)
    return option_hint(name, flags, command, canonical_names=flags)


@pytest.mark.parametrize("row", OPTION_ROWS, ids=lambda row: row.setting)
def test_words_of_options_name_the_setting_in_every_spelling(row: Any) -> None:
    name, _, value = row.setting.partition("=")
    keys = [each for group in settings.SETTING_GROUPS for each in options_of(group)]
    assert name in keys
    for word in row.words.split():
        assert hint_for(f"--{word}") == hint_for(f"--{word.replace('_', '-').upper()}")
        hint = option_hint(word, keys)
        assert hint.startswith(f"Did you mean {name}{f' = {value}' if value else '?'}"), (word, hint)


@pytest.mark.parametrize("row", UNSUPPORTED_ROWS, ids=lambda row: row.feature)
def test_words_of_unsupported_features_name_the_alternative(row: Any) -> None:
    assert row.alternative.endswith((".", "FILE"))
    for word in row.words.split():
        if len(word) > 1:
            assert hint_for(f"--{word}") == f"{row.feature} is not supported. {row.alternative}", word


def test_words_have_one_meaning_and_are_not_options() -> None:
    words = [word.replace("_", "") for row in (*OPTION_ROWS, *UNSUPPORTED_ROWS) for word in row.words.split()]
    assert [word for word in set(words) if words.count(word) > 1] == []
    options = {flag.replace("-", "") for command in ("txt2img", "img2img") for flag in main_options(command)}
    both = options & {word for row in UNSUPPORTED_ROWS for word in row.words.replace("_", "").split()}
    assert not both, "an option is supported"
    assert all(_is_word(word) for word in SHORT_OPTIONS.values())


def _is_word(word: str) -> bool:
    return any(word in row.words.split() for row in (*OPTION_ROWS, *UNSUPPORTED_ROWS))


def test_words_of_commands_are_not_commands_and_have_one_meaning() -> None:
    words = [(row.group, word) for row in COMMAND_ROWS for word in row.words.split()]
    assert [word for word in set(words) if words.count(word) > 1] == []
    for group, word in words:
        if group in ("", *COMMAND_SUMMARIES):
            commands = load_command(group).commands if group else COMMAND_SUMMARIES
            assert word not in commands, (group, word)


@pytest.mark.parametrize("row", VALUE_ROWS, ids=lambda row: f"{row.setting}-{row.words.split()[0]}")
def test_words_of_values_have_a_hint(row: Any) -> None:
    group = next(group for group in settings.SETTING_GROUPS if row.setting in options_of(group))
    choices = options_of(group)[row.setting].metadata["setting"].choices
    for word in row.words.split():
        assert word not in choices
        assert value_hint(row.setting, word.upper(), choices)
    if choices and not row.value.endswith("."):
        assert set(row.value.split(" or ")) <= {*choices}


@pytest.mark.parametrize(
    "arguments", ["batch x.txt --preview", "denoise x.png --preview", "sheet x.png --preview", "info x.png --open"]
)
def test_display_options_of_other_commands_are_named(arguments: str) -> None:
    option = arguments.rpartition(" ")[2]
    assert f" take {option}, and " in run(*arguments.split(), code=2).stderr


def test_commands_of_groups_take_the_settings() -> None:
    for group in settings.SETTING_GROUPS:
        own = [name for name in options_of(group) if name in group.__annotations__]
        for command in COMMANDS_OF_GROUPS.get(group.__name__, ()):
            loaded = load_command(command)
            loaded = loaded.commands["run"] if command == "batch" else loaded
            assert {*own} <= {parameter.name for parameter in loaded.params}, (group, command)
    for command in ("txt2img", "img2img", "inpaint", "outpaint", "denoise", "sample", "train", "anomaly"):
        for parameter in load_command(command).params:
            groups = [group for group in settings.SETTING_GROUPS if parameter.name in group.__annotations__]
            if parameter.param_type_name == "option" and len(groups) == 1 and groups[0].__name__ in COMMANDS_OF_GROUPS:
                commands = COMMANDS_OF_GROUPS[groups[0].__name__]
                is_shared = command in commands or set(commands) & {"txt2img", "img2img"}
                if (command, parameter.name) == ("denoise", "reference"):
                    continue  # the clean image of a comparison, not the reference of an edit
                assert is_shared, (command, parameter.name, commands)


@pytest.mark.parametrize("command", ["txt2img", "img2img", "inpaint", "outpaint", "denoise", "sample", "train"])
def test_misspelled_options_name_the_option_first(command: str) -> None:
    flags = main_options(command)
    wrong = []
    for flag, shown in flags.items():
        letters = flag[2:]
        if len(letters) < 6:
            continue
        middle = len(letters) // 2
        for typo in (
            letters[:middle] + letters[middle + 1 :],
            letters[:middle] + letters[middle + 1] + letters[middle] + letters[middle + 2 :],
            f"{letters[:middle]}q{letters[middle:]}",
        ):
            if f"--{typo}" not in flags and not hint_for(f"--{typo}", command).startswith(f"Did you mean {shown}"):
                wrong.append((typo, hint_for(f"--{typo}", command)))
    assert len(wrong) <= len(flags) // 20, wrong


@pytest.mark.parametrize("command", ["txt2imgg", "txt2mig", "inpiant", "outpant", "denose", "bacth", "reply", "dotcor"])
def test_misspelled_commands_name_the_command(command: str) -> None:
    assert command_hint(command, COMMAND_SUMMARIES).startswith("Did you mean '")


UNRELATED = """
foo banana aesthetic-score antialias artist body brightness camera columns composition contrast dpi effect energy extra
focus font gamma glow hash hue kind language layout length magic merge monitor opacity outfit page palette patch
photo plugin post primary process project public rows session smooth stats subject svg tags temperature time title tone
track translate user workflow xyzzy
"""


@pytest.mark.parametrize("word", UNRELATED.split())
def test_unrelated_words_get_no_suggestion(word: str) -> None:
    assert hint_for(f"--{word}") == ""
    assert command_hint(f"{word}{word}", COMMAND_SUMMARIES) == ""


def test_suggestions_are_at_most_three_and_best_first() -> None:
    assert similar_names("stpes", ["size", "steps", "strength"]) == ["steps"]
    assert similar_names("prompt-negative", ["prompt", "negative-prompt"]) == ["negative-prompt"]
    assert len(similar_names("name", [f"name{i}" for i in range(9)])) == 3
    assert similar_names("x" * 10_000, ["x"]) == []
    assert option_hint("--\N{FIRE}", ["--steps"]) == ""


def test_every_place_uses_the_words_of_other_tools() -> None:
    save_inputs()
    Path("p.txt").write_text("a fox --lowvram\n")
    Path("p.jsonl").write_text('{"prompt": "a fox", "cfg": 7}\n')
    Path("c.csv").write_text("prompt,controlnet\na fox,x\n")
    Path("record.json").write_text('{"artgen": "0.1.0", "task": "txt2img", "prompt": "a fox", "seed": 1}')
    for arguments, code, hint in (
        (("batch", "p.txt"), 2, "--offload"),
        (("batch", "p.jsonl"), 2, "guidance_scale"),
        (("batch", "c.csv"), 2, "Did you mean control?"),
        (("txt2img", "a fox", "--sweep", "cfg_strength=3,7"), 2, "guidance_scale"),
        (("replay", "record.json", "--set", "cfg=7"), 2, "guidance_scale"),
        (("config", "set", "denoise", "0.4"), 2, "strength"),
        (("config", "get", "fp16"), 2, "dtype = fp16"),
        (("replay", "record.json", "--set", "strength=0.4"), 2, "txt2img does not"),
    ):
        assert hint in run(*arguments, code=code).stderr, arguments
    Path("artgen.toml").write_text("lowvram = true\n")
    assert "offload" in run("txt2img", "a fox", code=3).stderr


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (("txt2img", "x", "--steps", "20.5"), ("--steps must be a whole number, not '20.5'.", "Did you mean 20?")),
        (("txt2img", "x", "--steps", "30steps"), ("a whole number", "Did you mean 30?")),
        (("img2img", "in.png", "--strength", "50%"), ("--strength must be a number, not '50%'.", "Did you mean 0.5?")),
        (("txt2img", "x", "-c", "many"), ("--count must be a whole number, not 'many'.", "Range")),
        (("txt2img", "x", "--json=1"), ("Cannot give '--json' a value: it is a switch.", "--json")),
        (("txt2img", "x", "-o"), ("Cannot use '-o' without a value.", "-o")),
        (("info",), ("argument FILE is missing", "artgen info")),
        (("config", "set", "steps"), ("argument VALUE is missing", "artgen config set steps 30")),
        (("schedulers", "extra"), ("Unexpected argument 'extra'.", "artgen schedulers")),
        (("txt2img", "x", "--device", "gpu"), ("device must be auto", "Did you mean cuda?")),
        (("txt2img", "x", "--dtype", "half"), ("dtype must be one of", "Did you mean fp16?")),
        (("txt2img", "x", "--sigmas", "karas"), ("sigmas must be one of", "Did you mean karras?")),
        (("txt2img", "x", "-S", "7"), ("Unknown option '-S'.", "--seed")),
        (("txt2img", "x", "-C", "7"), ("Unknown option '-C'.", "--guidance-scale")),
        (("models", "lst"), ("Unknown command 'artgen models lst'.", "'list'")),
        (("models", "rm", "x"), ("Unknown command 'artgen models rm'.", "artgen models remove")),
    ],
)
def test_usage_errors_name_what_was_expected_and_received(arguments: tuple[str, ...], texts: tuple[str, str]) -> None:
    save_inputs()
    message, hint = run(*arguments, code=2, prog_name="artgen").stderr.splitlines()
    assert texts[0] in message
    assert texts[1] in hint


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("models download sdxl", "`artgen models pull sdxl`"),
        ("models download sdxl --revision main", "`artgen models pull sdxl`"),
        ("models download 'a b; ls'", '`artgen models pull "a b; ls"`'),
        ("models rm --force tiny", "`artgen models remove MODEL`"),
        ("models rename a b", "`artgen models alias NAME OWNER/MODEL`"),
        ("models use sdxl", "`artgen config set model sdxl`"),
        ("download sdxl", "`artgen models pull sdxl`"),
        ("rm tiny sd15", "`artgen models remove MODEL`"),
        ("superres photo.png", "`artgen upscale photo.png --by 2`"),
        ("fill photo.png mask.png x", "`artgen inpaint photo.png x --mask mask.png`"),
        ("grid a.png b.png", "`artgen sheet a.png b.png`"),
        ("tokenize a red fox", '`artgen prompt "a red fox"`'),
        ("set steps 30", "`artgen config set steps 30`"),
        ("config rm steps", "`artgen config unset steps`"),
        ("config steps", "artgen config get steps"),
        ("config steps 30", "artgen config set steps 30"),
        ("config steps=30", "artgen config set steps 30"),
        ("config set steps=30", "artgen config set steps 30"),
        ("config nosuch 3", "Commands: show, list"),
        ("config --list", "Did you mean 'list'?"),
        ("config set seed 3", "--seed"),
        ("config set size 64x64", "Use width and height."),
        ("config set models.steps 3", "Commands: txt2img"),
        ("config set txt2img.strength 0.5", "img2img, inpaint and outpaint take strength"),
        ("config set img2img.strength -1", "artgen config set img2img.strength -- -1"),
        ("config set preset nosuch", "artgen preset save"),
        ("preset delete mine", "`artgen preset remove mine`"),
        ("preset save mine steps=28", "Did you mean --steps 28?"),
        ("txt2img x steps=20", "Did you mean --steps 20?"),
        ("txt2img x /steps 20", "Did you mean --steps?"),
        ("txt2img x --steps 20,30", "--sweep steps=20,30"),
        ("txt2img x --cfg-scale 5,6,7", "--sweep guidance_scale=5,6,7"),
        ("txt2img x --v 6", "Midjourney"),
        ("txt2img x --s 750", "Midjourney"),
        ("txt2img x --w 512", "Did you mean --width?"),
        ("replay x.png --control canny=x.png", "--set control=VALUE"),
        ("replay x.png --mask x.png", "--set mask=VALUE"),
        ("img2img in.png x --mask-text dog", "inpaint and edit take --mask-text, and img2img does not"),
        ("txt2img x -i in.png", "take --image, and txt2img does not"),
        ("txt2img x --lora-dir loras", "artgen config set lora_folder FOLDER"),
        ("--prompt 'a fox'", 'artgen txt2img --prompt "a fox"'),
        ("t2i 'a fox'", 'artgen txt2img "a fox"'),
        ("i2i in.png 'a fox'", '`artgen img2img in.png "a fox" --strength 0.5`'),
        ("?", "`artgen --help`"),
        ("/?", "`artgen --help`"),
        ("'/imagine prompt: a fox'", 'artgen txt2img "a fox"'),
        ("delete in.png", "`artgen models remove MODEL`"),
        ("lora list", "`artgen info STYLE.safetensors`"),
        ("config set scheduler nosuch", "`artgen schedulers`"),
        ("config set lora x.safetensors:abc", "--lora x.safetensors:0.8"),
        ("config set strength 50%", "Did you mean 0.5?"),
        ("config set guidance_scale 7,5", "Did you mean 7.5?"),
        ("config set steps 20.4", "Did you mean 20?"),
        ("config set .steps 3", "Commands: txt2img"),
        ("txt2img x --civitai-key abc", "artgen config set civitai_token TOKEN"),
        ("train images --sample_prompts x", "--snapshot-prompt"),
        ("txt2img --file prompts.txt", "artgen batch FILE"),
        ("txt2img x --dry", "--dry-run"),
        ("txt2img x --profile mine", "--preset"),
        ("txt2img '-1 degrees'", 'artgen txt2img -- "-1 degrees"'),
        ("txt2img x -v6", "artgen txt2img --help"),
        ("txt2img \N{LEFT DOUBLE QUOTATION MARK}a fox\N{RIGHT DOUBLE QUOTATION MARK}", 'artgen txt2img "a fox"'),
        ("img2img -i in.png -p 'a blue' fox", "Quote a prompt that contains spaces."),
        ("img2img in.png x --strength 75", "Did you mean 0.75?"),
        ("inpaint in.png 'a cat' mask.png", 'artgen inpaint in.png "a cat" --mask mask.png'),
        ("outpaint in.png --left 64", "--expand left=64"),
        ("train images --epochs 10", "Did you mean --train-steps?"),
    ],
)
def test_hints_contain_the_typed_arguments_that_fit(line: str, hint: str) -> None:
    save_inputs()
    assert hint in run(*shlex.split(line), code=2, prog_name="artgen").stderr.splitlines()[1]


def test_settings_without_an_option_are_complete() -> None:
    assert set(_CONFIGURED_ONLY) == {name for group in settings.CONFIGURED_GROUPS for name in options_of(group)}


def test_unused_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_STEP", "3")
    monkeypatch.setenv("ARTGEN_SEED", "4")
    monkeypatch.setenv("ARTGEN_CFG_SCALE", "5")
    printed = run("txt2img", "x", "--steps", "0", code=2).stderr
    assert "ARTGEN_STEP is ignored: no default has this name. Did you mean ARTGEN_STEPS?" in printed
    assert "ARTGEN_SEED is ignored" in printed
    assert "ARTGEN_CFG_SCALE" not in printed
    assert "ARTGEN" not in run("txt2img", "x", "--steps", "0", "--quiet", code=2).stderr


def test_settings_in_the_table_of_another_command_are_named() -> None:
    Path("artgen.toml").write_text("steps = 3\n[txt2img]\nstrength = 0.5\nsteps = 4\n[img2img]\nstrength = 0.5\n")
    printed = run("txt2img", "x", "--steps", "0", code=2).stderr
    assert printed.count("is ignored") == 1
    assert (
        "The setting strength in the table [txt2img] of 'artgen.toml' is ignored: txt2img does not take it." in printed
    )
    assert "ignored" not in run("txt2img", "x", "--steps", "0", "--quiet", code=2).stderr


def test_invalid_variables_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_STEPS", "many")
    assert "ARTGEN_STEPS must be a whole number, not 'many'." in run("txt2img", "x", code=2).stderr


@pytest.mark.parametrize("text", ["sheet of paper", "models on a runway", "img2imgg in.png x"])
def test_text_that_begins_with_a_command_is_not_a_prompt(text: str) -> None:
    assert "artgen txt2img" in run(text, "--dry-run", code=2).stderr


@pytest.mark.parametrize("text", ["a fox", "fox, snow", "\N{CJK UNIFIED IDEOGRAPH-72D0}", "(fox:1.2)", "draw a fox"])
def test_text_without_a_command_is_a_prompt(text: str) -> None:
    result = run(text, "--dry-run", "--quiet")
    assert f"prompt={text}" in result.stdout
    assert "Running" not in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("img2img", "", "a fox"), ("inpaint", ""), ("denoise", ""), ("info", ""), ("sheet", "in.png", ""),
        ("mask", "", "dog"), ("mask", "in.png", "dog", "--output="), ("inpaint", "in.png", "x", "--mask", ""),
        ("inpaint", "in.png", "x", "--mask-text", "dog", "--save-mask="), ("edit", "in.png", "x", "--reference", ""),
        ("txt2img", "x", "--control="), ("txt2img", "x", "--image-prompt", ""), ("txt2img", "x", "--server", ""),
    ],
)  # fmt: skip
def test_empty_texts_are_not_the_working_directory(arguments: tuple[str, ...]) -> None:
    save_inputs()
    assert "Cannot use an empty text" in run(*arguments, code=2).stderr


@pytest.mark.parametrize("text", ["", " ", "-", "nosuch"])
def test_unusable_text_is_not_a_prompt(text: str) -> None:
    assert run(text, "--help", code=2).stderr.count("txt2img --help") == 0
    assert 'txt2img ""' not in run(text, code=2).stderr
    assert "Usage" in run("--").stdout


def test_help_is_an_argument_unless_a_file_has_the_name() -> None:
    assert "Usage" in run("denoise", "help").stdout
    save_inputs()
    Path("in.png").rename("help")
    assert "Usage" not in run("info", "help", code=None).output


def test_configuration_is_read_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    run("config", "set", "steps", "30")
    run("config", "set", "txt2img.steps", "20", "--project")
    assert run("config", "get", "steps").stdout == "30\n"
    assert run("config", "get", "txt2img.steps").stdout == "20\n"
    monkeypatch.setenv("ARTGEN_STEPS", "10")
    assert run("config", "get", "txt2img.steps").stdout == "10\n"
    monkeypatch.delenv("ARTGEN_STEPS")
    assert "Removed steps." in run("config", "unset", "steps").stderr
    assert "is not set in" in run("config", "unset", "steps").stderr
    assert "is not set." in run("config", "get", "steps").stderr
    assert run("config", "list").stdout == run("config", "show").stdout == "txt2img.steps = 20\n"
    run("config", "set", "civitai_token", "secret")
    assert run("config", "get", "civitai_token").stdout == "(set)\n"


def test_valid_commands_do_not_import_the_table() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from artgen.cli.main import app\n"
        "result = CliRunner().invoke(app, ['schedulers'])\n"
        "assert result.exit_code == 0 and CliRunner().invoke(app, ['txt2img', '--help']).exit_code == 0\n"
        "print([name for name in sys.modules if 'synonyms' in name or 'usage_errors' in name])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
