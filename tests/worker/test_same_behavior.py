"""Compare each command in a worker with the same command in an ordinary process: bytes, messages, exit codes, files."""

import json
import random
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from differential import Outcome, Sandbox, differences
from PIL import Image
from safetensors.numpy import save_file

from artgen.worker_process.client.settings import WORKER_COMMANDS

FAST = "-m tiny --steps 2 --seed 7"
DRY = "-m tiny --seed 1 --dry-run"


def commands(text: str) -> list[str]:
    """Return the scripts of a text: one per line. `FAST` and `DRY` are replaced by their options."""
    return [line.strip().replace("FAST", FAST).replace("DRY", DRY) for line in text.splitlines() if line.strip()]


GENERATING = commands("""
    artgen txt2img 'a red car' FAST
    artgen 'a red car' FAST -o bare.png
    artgen txt2img 'a red car' -m tiny --steps 2 --seed 3 --count 2 --batch-size 2 --verbose
    artgen txt2img 'a red car' FAST --json --frames f.gif -o x.webp
    artgen txt2img 'a red car' FAST --quiet -o - > out.png
    echo 'a blue house' | artgen txt2img - FAST -o x.png; artgen info x.png --json
    artgen txt2img '__animal__ <lora:mine:0.5>' FAST --count 2
    cd configured; artgen txt2img 'a car' --seed 5 --style oil
    artgen txt2img 'a car' FAST --preset small --count 2 --verbose > log.txt 2>&1
    artgen txt2img 'a car' FAST --sweep steps=1,2 --sweep guidance-scale=1,3 -o out/
    umask 077; artgen txt2img 'a car' FAST -o private/x.png --frames private/
    umask 022; NO_COLOR=1 COLUMNS=40 artgen txt2img 'a car' FAST -o x.jpg
    ulimit -f 0; artgen txt2img 'a car' FAST -o x.png
    artgen txt2img 'a car' FAST -o x.png > /dev/full
    artgen txt2img 'a car' FAST --count 3 --batch-size 1 | true
    artgen txt2img 'a car' FAST -o x.png >&-
    artgen txt2img 'a car' FAST --seamless both -o s.png && artgen txt2img 'a car' FAST --hires 1.5:0.6 -o large.png
    artgen txt2img 'a car' FAST --best-of 2 -o best.png --json; artgen rank best.png in.png --prompt 'a car' -m tiny
    artgen txt2img 'a car' FAST --sign -o signed.png; artgen config set sign on; artgen txt2img 'a car' FAST -o x.png
    artgen sample -m denoiser --steps 2 --seed 1 --count 2
    artgen img2img in.png 'a car' FAST --strength 0.5
    artgen img2img - 'a car' FAST -o - < in.png > out.png
    artgen img2img photos 'a car' FAST -o out/
    artgen inpaint in.png 'a car' --mask mask.png FAST
    artgen inpaint in.png 'a car' --mask mask.png --fill biharmonic --strength 0.5 FAST
    artgen img2img in.png 'a car' --invert FAST
    artgen outpaint in.png 'a car' --expand 16 FAST
    artgen denoise in.png --sigma 20 -m denoiser --compare c.png
    artgen denoise photos --method nlm --sigma 25 -o clean/ --verbose
    artgen upscale photos --by 8 -o large/; artgen upscale in.png --method redraw FAST --strength 0.5 -o redrawn.png
    artgen batch prompts.txt FAST -o out/ && artgen batch prompts.txt FAST -o out/ && artgen batch status out
    artgen batch - FAST -o out/ --json < prompts.txt
    artgen batch bad.txt FAST -o out/ --keep-going
    artgen txt2img 'a {gory|red} car' -m tiny --steps 2 --seed 1-4 --filter strict
    artgen replay record.json -o again.png
    artgen variations record.json --count 2 --seed 5 -o varied/
    artgen morph record.json record.json --frames 3 --set steps=1 -o morph.webp && artgen replay morph.webp -o b.webp
    artgen txt2img 'a car' FAST -o a.png && artgen replay a.png -o b.png && artgen replay a.png --set steps=1 -o c.png
    artgen txt2img x FAST --seed 3 -o h.png && artgen replay history:last -o i.png && artgen info history:last
    artgen anomaly in.png -m denoiser --map map.png --csv t.csv
    artgen anomaly photos/0.png --fit photos -m denoiser --save-fit fit.safetensors
    artgen reconstruct photos -m tiny -o out/
    artgen control canny in.png -o map.png; artgen control scribble photos -o maps/ --json
""")
"""Scripts that import torch in an ordinary process."""

NEED_OTHER_MODELS = frozenset({"edit", "mask"})
"""Commands without a bundled model."""

REFUSALS = commands("""
    artgen edit in.png 'make it winter' -m tiny
    artgen mask in.png 'dog AND' -o mask.png
    artgen txt2img
    artgen txt2img ''
    artgen txt2img x --steps 0
    artgen txt2img x --stesp 3
    artgen txt2img x -m
    artgen txt2img x --seed -2
    artgen txt2img x --size 7x7
    artgen txt2img x --json --quiet --dry-run --seed 2
    artgen txt2img x -m missing
    artgen txt2img x -m ./nowhere
    artgen txt2img x -m sd-turbo
    artgen txt2img x -m tiny --device cuda
    artgen txt2img x -m tiny --lora missing.safetensors
    artgen txt2img x -m tiny --lora bad.safetensors
    artgen txt2img x -m tiny --preset missing
    artgen txt2img '__missing__' -m tiny
    artgen txt2img x -m bad.safetensors
    artgen txt2img x -m broken
    artgen txt2img x -m tiny -o /proc/x.png
    artgen txt2img x -m tiny -o in.png
    artgen txt2img x -m tiny -o - --json
    artgen txt2img x -m tiny --sweep nothing=1,2
    artgen txt2img x -m tiny --frames f.gif --count 2
    artgen txt2img $'\\xff\\xfe' -m tiny --dry-run
    artgen txt2img x -m tiny -o $'\\xff.png' --dry-run
    artgen txt2img x -m $'\\xff'
    artgen txt2img $'a\\nb\\x1b[31m' -m $'\\x1b[31m'
    artgen txt2img - < /dev/null
    artgen txt2img - <&-
    artgen txt2img --dry-run x -m tiny --seed 4
    artgen txt2img --dry-run x -m tiny --seed 4 --json
    artgen txt2img --dry-run x -m tiny --seed 4 --json > /dev/full
    artgen txt2img --dry-run x -m tiny --seed 4 >&-
    artgen txt2img --dry-run x -m tiny --seed 4 2>&-
    artgen txt2img --dry-run x -m tiny --seed 4 | true
    artgen txt2img --steps 0 x 2>&1
    artgen txt2img --steps 0 x 2>&-
    cd broken-config; artgen txt2img x --dry-run
    cd unknown-config; artgen txt2img x --dry-run --seed 1
    cd configured; artgen img2img ../in.png x --dry-run --seed 1
    ARTGEN_STEPS=3 artgen txt2img x --dry-run --seed 1 --json
    NO_COLOR=1 artgen txt2img x --steps 0
    COLUMNS=30 artgen txt2img x --steps 0
    TERM=dumb artgen txt2img x --steps 0
    LC_ALL=C artgen txt2img 'x é' --steps 0
    PYTHONIOENCODING=latin-1 artgen txt2img 'x é €' --dry-run --seed 1
    TZ=America/New_York artgen txt2img x --dry-run --seed 1 -o '{date}.png'
    mkdir gone; cd gone; rmdir ../gone; artgen txt2img x -m tiny --dry-run
    mkdir closed; cd closed; chmod 0 ../closed; artgen txt2img x -m tiny --dry-run --seed 1
    ln -s . link; cd link; artgen txt2img x -m tiny --dry-run --seed 1 -o y.png
    HOME=/nonexistent artgen txt2img x --dry-run --seed 1
    env -u HOME artgen txt2img x --dry-run --seed 1
    TMPDIR=/nonexistent artgen txt2img x --dry-run --seed 1
    ulimit -n 16; artgen txt2img x --dry-run --seed 1
    ulimit -f 0; artgen denoise in.png --method tv
    artgen sample
    artgen sample -m denoiser --dry-run --seed 1
    artgen img2img
    artgen img2img missing.png x
    artgen img2img bad.png x
    artgen img2img text.txt x
    artgen img2img unreadable.png x --steps 0
    artgen img2img in.png x --strength 2
    artgen img2img in.png --dry-run --seed 1
    artgen img2img - x --dry-run --seed 1 -m tiny < in.png
    artgen img2img /dev/stdin x --dry-run --seed 1 -m tiny < in.png
    artgen img2img <(cat in.png) x --dry-run --seed 1 -m tiny
    artgen img2img /dev/fd/7 x --dry-run --seed 1 -m tiny 7< in.png
    cd photos; artgen img2img ../in.png x --dry-run --seed 1 -m tiny
    artgen inpaint in.png x
    artgen inpaint in.png x --mask missing.png
    artgen inpaint in.png x --mask mask.png --dry-run --seed 1 -m tiny --json
    artgen outpaint in.png
    artgen outpaint in.png --expand 0
    artgen outpaint in.png x --expand 8 --dry-run --seed 1 -m tiny
    artgen denoise
    artgen denoise bad.png
    artgen denoise in.png --method unknown
    artgen denoise in.png --method tv
    artgen denoise in.png --method tv -o - > x.png
    artgen denoise in.png --method tv -o /dev/fd/5 5> x.png
    artgen denoise in.png bad.png --method tv -o out/
    artgen denoise in.png --method tv -o /proc/
    artgen denoise - --method tv < in.png
    artgen denoise - --method tv < /dev/zero
    artgen upscale in.png --by 0; artgen upscale in.png --strength 0.3; artgen upscale bad.png
    artgen rank bad.png --prompt x -m tiny; artgen rank in.png -m tiny; artgen rank missing/ --prompt x -m tiny
    artgen batch
    artgen batch missing.txt
    artgen batch bad.txt --dry-run
    artgen batch prompts.txt --dry-run --seed 1 -m tiny
    artgen batch prompts.txt -o - -m tiny
    artgen batch prompts.txt -o /proc/out/ -m tiny --steps 1
    artgen batch prompts.txt --workers 0
    artgen batch status
    artgen batch - --dry-run --seed 1 -m tiny < prompts.txt
    artgen batch photos --task img2img --dry-run --seed 1 -m tiny
    artgen replay
    artgen replay missing.png
    artgen variations missing.png
    artgen morph missing.png missing.png
    artgen replay in.png
    artgen replay bad.json
    artgen replay record.json --dry-run
    artgen replay record.json --set nothing=1
    artgen replay - --dry-run < record.json
    artgen anomaly
    artgen anomaly bad.png
    artgen anomaly in.png --dry-run
    artgen anomaly in.png --alpha 7
    artgen anomaly in.png --fit empty-folder
    artgen reconstruct
    artgen reconstruct bad.png
    artgen reconstruct in.png -m missing
    artgen control depth in.png --offline; artgen control cany in.png
    artgen reconstruct in.png -m denoiser
    artgen 'a prompt' --dry-run --seed 1 -m tiny
    artgen --steps 3 'a prompt' --dry-run
    artgen -- txt2img x --dry-run --seed 1
    artgen txt2img -m tiny --steps 2 --seed 1 -- --help
    artgen config set steps 3 && artgen txt2img x --dry-run --seed 1 --json && artgen config unset steps
    artgen preset save mine --steps 4 && artgen txt2img x --preset mine --dry-run --seed 1 --json
    artgen txt2img x --dry-run --seed 1 --json; artgen txt2img x --steps 0; artgen img2img in.png x --dry-run --seed 1
    rm artgen.toml; artgen txt2img x DRY; echo 'steps = 3' > artgen.toml; artgen txt2img x DRY
    artgen txt2img '__animal__' DRY; echo 'a bird' > wildcards/animal.txt; artgen txt2img '__animal__' DRY
    artgen models alias a tiny; artgen 'a car' DRY -m a; artgen models alias a denoiser; artgen 'a car' DRY -m a
    artgen img2img in.png x DRY; cp mask.png in.png; artgen img2img in.png x DRY; rm in.png; artgen img2img in.png x DRY
    { artgen batch - DRY; cat; } < prompts.txt
    { artgen img2img in.png x DRY; cat; } < prompts.txt
""")
"""Scripts that end before an ordinary process imports torch."""


def write_inputs(folder: Path) -> None:
    """Write images, prompt files, configurations, a LoRA, wildcards, a style, a preset and damaged files."""
    generator = np.random.default_rng(0)

    def save_image(name: str, size: int = 64) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (size, size, 3), np.uint8)).save(path)

    for name in ("in.png", "photos/0.png", "photos/1.png", "unreadable.png"):
        save_image(name)
    mask = Image.new("L", (64, 64))
    mask.paste(255, (8, 8, 40, 40))
    mask.save(folder / "mask.png")
    for name, text in {
        "prompts.txt": "a red car\na blue house\n",
        "bad.txt": "a red car --steps 1\na car --nothing 3\na house --steps many\n",
        "prompts.jsonl": '{"prompt": "a car", "seed": 1}\n{"prompt": "a house", "seed": 2, "steps": 2}\n',
        "styles.csv": "name,prompt\noil,an oil painting\n",
        "artgen.toml": 'wildcard_folder = "wildcards"\nlora_folder = "loras"\n[presets.small]\nsteps = 1\n',
        "configured/artgen.toml": 'model = "tiny"\nsteps = 1\nformat = "jpeg"\nstyle_folder = "../styles.csv"\n',
        "broken-config/artgen.toml": "steps = [\n",
        "unknown-config/artgen.toml": "stesp = 3\n",
        "wildcards/animal.txt": "a fox\na dog\na cat\n",
        "record.json": json.dumps({"artgen": "0.1.0", "task": "txt2img", "prompt": "a car", "model": "tiny", "steps": 2,
                                   "seed": 7}),
        "bad.json": "{",
        "bad.png": "\x89PNG is not an image",
        "empty.png": "",
        "empty.txt": "",
        "text.txt": "hello",
        "bad.safetensors": "no tensors",
        "broken/model_index.json": "{",
        "readonly/file": "",
        "empty-folder/.keep": "",
    }.items():  # fmt: skip
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "loras").mkdir()
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{layer}.lora_A.weight": generator.standard_normal((2, 128)).astype(np.float32),
         f"{layer}.lora_B.weight": generator.standard_normal((128, 2)).astype(np.float32)},
        folder / "loras/mine.safetensors",
    )  # fmt: skip
    (folder / "unreadable.png").chmod(0)
    (folder / "readonly").chmod(0o555)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with tempfile.TemporaryDirectory(prefix="artgen-") as folder:
        created = Sandbox(Path(folder), write_inputs)
        yield created
        created.close()


def compare(sandbox: Sandbox, scripts: list[str]) -> None:
    """Run scripts in ordinary processes, and twice in the worker in random orders. Report all differences."""
    expected = {script: sandbox.run(script, in_worker=False) for script in scripts}
    wrong = {script: outcome.stderr for script, outcome in expected.items() if outcome.code in (2, 4)}
    assert scripts[0] not in GENERATING or not wrong  # a test of a misspelled option shows nothing
    report: dict[str, list[str]] = {}
    count = sandbox.worker.num_commands()
    for seed in range(2):
        order = random.Random(seed).sample(scripts, len(scripts))
        for script in order:
            actual: Outcome = sandbox.run(script, in_worker=True)
            for line in differences(expected[script], actual):
                report.setdefault(script, [])
                if line not in report[script]:
                    report[script].append(line)
    assert not report, "\n\n".join(f"$ {script}\n" + "\n".join(lines) for script, lines in report.items())
    assert sandbox.worker.process.poll() is None, sandbox.worker.log
    assert sandbox.worker.log == ""
    # The others change the identity, use descriptors of their process or load no model.
    assert sandbox.worker.num_commands() - count >= len(scripts)


def groups(scripts: list[str], size: int) -> list[list[str]]:
    return [scripts[start : start + size] for start in range(0, len(scripts), size)]


@pytest.mark.slow
@pytest.mark.parametrize("scripts", groups(GENERATING, 11), ids=lambda scripts: scripts[0])
def test_generating_commands_behave_the_same(scripts: list[str], sandbox: Sandbox) -> None:
    compare(sandbox, scripts)


@pytest.mark.slow
@pytest.mark.parametrize("scripts", groups(REFUSALS, 40), ids=lambda scripts: scripts[0])
def test_refused_commands_behave_the_same(scripts: list[str], sandbox: Sandbox) -> None:
    compare(sandbox, scripts)


def test_each_worker_command_is_compared() -> None:
    for scripts, others in ((GENERATING, NEED_OTHER_MODELS), (REFUSALS, frozenset())):
        arguments = {argument for script in scripts for argument in shlex.split(script)}
        assert arguments >= WORKER_COMMANDS - others
