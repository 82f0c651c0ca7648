"""What a process of artgen's own imports to draw, and that nothing is lost by what it leaves out."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from artgen import Txt2Img, generate
from artgen.engine import fast_import
from artgen.system import process

DRIVER = """
import json, sys
from typer.testing import CliRunner
from artgen import process
process.take()
from artgen.cli.main import app
seen = []
for words in json.loads(sys.argv[1]):
    ran = CliRunner().invoke(app, words)
    assert ran.exit_code == 0, ran.output
    seen.append([name for name in json.loads(sys.argv[2]) if name in sys.modules])
print(json.dumps(seen))
"""

SPARED = ("scipy.stats._stats_py", "scipy.optimize", "skimage", "diffusers.pipelines.auto_pipeline", "peft")
"""Some of what transformers and diffusers would load for others, a third of the time that all imports take."""


def test_a_picture_is_drawn_without_what_it_does_not_need(sd1: str) -> None:
    words = ["txt2img", "a fox", "-m", sd1, "--seed", "3", "--steps", "2", "--quiet", "--scheduler", "dpm++2m"]
    runs = [[*words, "-o", "plain.png"], [*words, "--sigmas", "beta", "-o", "beta.png"]]
    runs += [[*words[:-2], "--scheduler", "lms", "-o", "lms.png"]]
    command = [sys.executable, "-c", DRIVER, json.dumps(runs), json.dumps(SPARED)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert json.loads(ran.stdout) == [
        [],
        ["scipy.stats._stats_py", "scipy.optimize"],
        ["scipy.stats._stats_py", "scipy.optimize"],
    ]
    request = Txt2Img(prompt="a fox", model=sd1, seed=3, steps=2, scheduler="dpm++2m")
    others = {"plain": {}, "beta": {"sigmas": "beta"}, "lms": {"scheduler": "lms"}}
    for name, changes in others.items():
        assert Image.open(f"{name}.png").tobytes() == generate(request.replace(**changes)).image.tobytes()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package on the path, whose module `inside` says when it is loaded."""
    folder = tmp_path / "apackage"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "inside.py").write_text("import sys\nsys.modules['apackage'].loaded = True\nvalue = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "apackage"
    for name in ("apackage", "apackage.inside"):
        sys.modules.pop(name, None)


def test_a_module_is_loaded_when_something_of_it_is_used(package: str) -> None:
    with fast_import._lazy_import("apackage.inside"):
        import apackage.inside
    import apackage.inside  # again, as several modules do

    assert not hasattr(apackage, "loaded")
    assert Path(apackage.inside.__file__).name == "inside.py"
    assert not hasattr(apackage, "loaded")
    assert apackage.inside.value == 7
    assert apackage.loaded
    with pytest.raises(AttributeError):
        apackage.inside.nothing  # noqa: B018


def test_taking_a_name_from_a_module_is_a_use(package: str) -> None:
    with fast_import._lazy_import("apackage.inside"):
        from apackage.inside import value
    assert value == 7


def test_a_package_is_absent_only_for_a_while_and_only_before_it_is_there(package: str) -> None:
    from importlib.util import find_spec

    with fast_import._hide_packages("apackage", "json"):
        assert find_spec("apackage") is None
        assert find_spec("json") is not None
    assert find_spec("apackage") is not None


def test_a_process_of_somebody_else_is_left_alone() -> None:
    assert not process.owns_process()


def test_what_comes_after_the_start_is_collected_however_often_the_engine_is_started() -> None:
    """A model that another takes the place of hangs together in circles; frozen, it would stay for ever."""
    program = (
        "import gc, weakref\nfrom artgen import process\nprocess.take()\nprocess.settle()\n"
        "class Model: pass\nmodel = Model()\nmodel.own = model\nleft = weakref.ref(model)\n"
        "process.settle()\ndel model\ngc.collect()\nprint(left())"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert ran.stdout.strip() == "None"
