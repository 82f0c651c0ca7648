"""Test that artgen's own process imports few packages, and that all features work nevertheless."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sample_images
from PIL import Image

from artgen import Txt2Img, generate
from artgen.engine import fast_import
from artgen.system import process

RUN_COMMANDS = """
import json, sys
from typer.testing import CliRunner
from artgen.system import process
process.configure_process()
from artgen.cli.main import app
imported = []
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    imported.append([name for name in json.loads(sys.argv[2]) if name in sys.modules])
print(json.dumps(imported))
"""

UNUSED_MODULES = ("scipy.stats._stats_py", "scipy.optimize", "skimage", "diffusers.pipelines.auto_pipeline")
"""Modules that transformers and diffusers would import: a third of the time of all imports."""


@pytest.mark.slow
def test_images_are_identical_without_the_unused_modules(sd1: str) -> None:
    command = ["txt2img", "a fox", "-m", sd1, "--seed", "3", "--steps", "2", "--quiet", "--scheduler", "dpm++2m"]
    commands = [[*command, "-o", "plain.png"], [*command, "--sigmas", "beta", "-o", "beta.png"]]
    commands += [[*command[:-2], "--scheduler", "lms", "-o", "lms.png"]]
    args = [sys.executable, "-c", RUN_COMMANDS, json.dumps(commands), json.dumps(UNUSED_MODULES)]
    result = subprocess.run(args, capture_output=True, text=True, check=True, timeout=600)
    assert json.loads(result.stdout) == [
        [],
        ["scipy.stats._stats_py", "scipy.optimize"],
        ["scipy.stats._stats_py", "scipy.optimize"],
    ]
    request = Txt2Img(prompt="a fox", model=sd1, seed=3, steps=2, scheduler="dpm++2m")
    changes_by_file = {"plain": {}, "beta": {"sigmas": "beta"}, "lms": {"scheduler": "lms"}}
    for name, changes in changes_by_file.items():
        assert Image.open(f"{name}.png").tobytes() == generate(request.replace(**changes)).image.tobytes()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Create a package whose module `inside` sets an attribute of the package when it is executed."""
    folder = tmp_path / "apackage"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "inside.py").write_text("import sys\nsys.modules['apackage'].loaded = True\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "apackage"
    for name in ("apackage", "apackage.inside"):
        sys.modules.pop(name, None)


def test_lazy_module_is_executed_at_the_first_use_of_an_attribute(package: str) -> None:
    with fast_import.lazy_import("apackage.inside"):
        import apackage.inside
    import apackage.inside  # A second import must not execute the module.

    assert not hasattr(apackage, "loaded")
    assert Path(apackage.inside.__file__).name == "inside.py"
    assert not hasattr(apackage, "loaded")
    assert apackage.inside.value == 7
    assert apackage.loaded
    with pytest.raises(AttributeError):
        apackage.inside.missing  # noqa: B018


def test_from_import_executes_a_lazy_module(package: str) -> None:
    with fast_import.lazy_import("apackage.inside"):
        from apackage.inside import value
    assert value == 7


def test_package_is_hidden_only_within_the_block_and_only_if_not_imported(package: str) -> None:
    from importlib.util import find_spec

    with fast_import.hide_package("apackage"), fast_import.hide_package("json"):
        assert find_spec("apackage") is None
        assert find_spec("json") is not None
    assert find_spec("apackage") is not None


def test_artgen_does_not_own_the_process_of_a_library_user() -> None:
    assert not process.owns_process()


def test_objects_created_after_the_imports_are_collected() -> None:
    """A replaced model contains reference cycles. A freeze without an import would keep it forever."""
    program = (
        "import gc, weakref\nfrom artgen.system import process\nprocess.configure_process()\n"
        "assert gc.isenabled()\nwith process.paused_gc():\n    import json.tool\n    assert not gc.isenabled()\n"
        "assert gc.isenabled() and gc.get_freeze_count()\n"
        "class Model: pass\nmodel = Model()\nmodel.own = model\nreference = weakref.ref(model)\n"
        "with process.paused_gc():\n    import json.tool\n"
        "del model\ngc.collect()\nprint(reference())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert result.stdout.strip() == "None"


GC_PROGRAM = """
import gc, json, sys
from typer.testing import CliRunner
from artgen.system import process
process.configure_process()
from artgen.cli.main import app
states, observed = {}, []
for command in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    states[command[0]] = [gc.isenabled(), *set(observed)]
    if command[0] == "noise":  # the first command that imports torch
        from torch.nn.modules import module
        module.register_module_forward_hook(lambda *_: observed.append(gc.isenabled()))
    observed.clear()
print(json.dumps(states))
"""


def test_garbage_is_collected_while_every_command_works(sd1: str) -> None:
    Path("images").mkdir()
    for index in range(3):
        sample_images.photo(Path(f"images/{index}.png"), seed=index)
    commands = [
        ["schedulers"],
        ["noise", "images/0.png", "--space", "latent", "-m", sd1],
        ["reconstruct", "images/0.png", "-m", sd1],
        ["anomaly", "images/0.png"],
        ["train", "images", "-m", sd1, "-o", "lora.safetensors", "--train-steps", "1", "--resolution", "32", "--quiet"],
        ["denoise", "images/0.png"],
        ["txt2img", "x", "-m", sd1, "--steps", "1", "--seed", "1", "-o", "x.png"],
        ["img2img", "images", "x", "-m", sd1, "--steps", "2", "-o", "batch/"],
        ["replay", "x.png", "-o", "y.png", "--set", f"model={sd1}"],
        ["sheet", "images", "-o", "sheet.png"],
    ]
    args = [sys.executable, "-c", GC_PROGRAM, json.dumps(commands)]
    result = subprocess.run(args, capture_output=True, text=True, check=False, timeout=600)
    assert result.returncode == 0, result.stderr
    states = json.loads(result.stdout)
    assert list(states) == [command[0] for command in commands]
    assert all(all(values) for values in states.values()), states
    assert all(len(states[name]) > 1 for name in ("reconstruct", "anomaly", "train", "denoise", "txt2img", "img2img"))
