"""Kill the worker while it runs a command. The client finishes the command as if the worker had not crashed."""

import json
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from PIL import Image
from warm_processes import WarmProcesses

NOTE = "The worker ended unexpectedly. The command continues in this process.\n"
FAST = ("-m", "tiny", "--steps", "2", "--width", "64", "--height", "64")
SEEDED = (*FAST, "--seed", "7")
EDIT = ("-m", "tiny", "--steps", "2", "--seed", "7")


@dataclass(frozen=True)
class Scenario:
    """Define a command line.

    Attributes:
        arguments: arguments of artgen.
        stdin: data of a pipe; None: no data.
        existing: outputs of the same command that exist before.
        ledger: the command records its jobs in a ledger.
        code: exit code.
    """

    arguments: tuple[str, ...]
    stdin: bytes | None = None
    existing: bool = False
    ledger: bool = False
    code: int = 0


SCENARIOS = {
    "one image": Scenario(("txt2img", "a fox", *SEEDED)),
    "fixed name": Scenario(("txt2img", "a fox", *SEEDED, "-o", "fox.png", "--count", "2", "--json")),
    "several images": Scenario(("txt2img", "a fox", *SEEDED, "--count", "4", "--batch-size", "2")),
    "same names": Scenario(("txt2img", "a fox", *SEEDED, "--count", "3", "-o", "{prompt}.png", "--quiet")),
    "overwrite": Scenario(
        ("txt2img", "a fox", *SEEDED, "--count", "2", "-o", "{prompt}.png", "--frames", "{stem}/", "--overwrite"),
        existing=True,
    ),
    "stdout": Scenario(("txt2img", "a fox", *SEEDED, "-o", "-")),
    "prompt from a pipe": Scenario(("txt2img", "-", *SEEDED), stdin=b"a blue fox\n"),
    "frames": Scenario(("img2img", "in.png", "a fox", *EDIT, "--frames", "{stem}.gif", "--count", "2", "-o", "x.png")),
    "frames in folders": Scenario(("img2img", "in.png", "a fox", *EDIT, "--frames", "frames/", "--count", "2")),
    "replay": Scenario(("replay", "record.json", "-o", "again.png")),
    "denoise": Scenario(("denoise", "in.png", "--sigma", "20", "--reference", "in.png", "--json")),
    "batch": Scenario(("batch", "prompts.txt", *SEEDED, "-o", "out/"), ledger=True),
    "batch with a limit": Scenario(
        ("batch", "prompts.txt", *SEEDED, "-o", "out/", "--limit", "2", "--json"), ledger=True
    ),
    "batch from a pipe": Scenario(("batch", "-", *SEEDED, "-o", "out/"), stdin=b"a fox\na car\n", ledger=True),
    "batch with failures": Scenario(
        ("batch", "prompts.txt", "bad.txt", *SEEDED, "-o", "out/", "--keep-going"), ledger=True, code=7
    ),
    "folder": Scenario(("img2img", "photos", "a fox", *EDIT, "--frames", "frames/", "-o", "out/"), ledger=True),
    "sheet": Scenario(("txt2img", "a fox", *SEEDED, "--sweep", "guidance_scale=1,3", "-o", "out/"), ledger=True),
    "anomaly": Scenario(("anomaly", "photos", "-m", "tiny", "--seed", "1", "--map", "maps/", "--json")),
    "reconstruct": Scenario(("reconstruct", "photos", "-m", "tiny", "--json", "-o", "sheet.png")),
}


@dataclass
class Outcome:
    """Store what a command wrote.

    Attributes:
        code: exit code.
        stdout: bytes of stdout.
        stderr: text of stderr.
        files: content by path; of files that contain times only the paths.
    """

    code: int
    stdout: bytes
    stderr: str
    files: dict[str, bytes] = field(default_factory=dict)


class Crashes:
    """Run commands with workers that are killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        home = folder / "home"
        home.mkdir()
        self._inputs = folder / "inputs"
        _write_inputs(self._inputs)
        removed = ("ARTGEN_", "HF_", "XDG_")
        self._processes = WarmProcesses(
            {**{name: value for name, value in os.environ.items() if not name.startswith(removed)}, "HOME": str(home)},
            folder,
        )
        self._number = 0
        self._expected: dict[str, Outcome] = {}
        self._num_messages: dict[str, int] = {}

    def expected(self, name: str) -> Outcome:
        """Return the outcome of an ordinary process."""
        if name not in self._expected:
            self._expected[name] = self._run(SCENARIOS[name], None)
        return self._expected[name]

    def num_messages(self, name: str) -> int:
        """Return the number of messages of the worker about a command."""
        if name not in self._num_messages:
            count = self._folder / "count"
            outcome = self._run(SCENARIOS[name], {"count": str(count)})
            assert_equal(self.expected(name), outcome)
            assert NOTE not in outcome.stderr
            self._num_messages[name] = int(count.read_text())
        return self._num_messages[name]

    def run(self, scenario: Scenario, *, delay: float | None = None, **kill: object) -> Outcome:
        """Run a command; kill the worker at a message or after a time in seconds."""
        return self._run(scenario, kill, delay)

    def _run(self, scenario: Scenario, kill: dict[str, object] | None, delay: float | None = None) -> Outcome:
        self._number += 1
        folder = self._folder / str(self._number)
        shutil.copytree(self._inputs, folder / "work")
        with tempfile.TemporaryDirectory() as runtime:
            environment = {"XDG_RUNTIME_DIR": runtime}
            arguments = list(scenario.arguments)
            if scenario.existing:
                self._client(folder, environment, [*arguments, "--seed", "99"], None)
            worker = None
            if kill is not None:
                worker = self._processes.fork("worker", environment=environment, **kill)
                _wait_for_socket(Path(runtime))
            timer = None
            if delay is not None:
                assert worker is not None
                timer = threading.Timer(delay, os.kill, (worker, 9))
                timer.start()
            outcome = self._client(folder, environment, arguments, scenario.stdin)
            if timer is not None:
                timer.join()
            if worker is not None:
                self._processes.kill(worker)
        outcome.files = _read_files(folder / "work")
        shutil.rmtree(folder)
        return outcome

    def _client(self, folder: Path, environment: dict[str, str], arguments: list[str], stdin: bytes | None) -> Outcome:
        paths = {"stdout": str(folder / "stdout"), "stderr": str(folder / "stderr")}
        if stdin is not None:
            paths["stdin"] = str(folder / "pipe")
            os.mkfifo(paths["stdin"])
        pid = self._processes.fork(
            "client", environment=environment, arguments=arguments, cwd=str(folder / "work"), **paths
        )
        if stdin is not None:
            Path(paths["stdin"]).write_bytes(stdin)
        code = self._processes.wait(pid)
        return Outcome(code, Path(paths["stdout"]).read_bytes(), Path(paths["stderr"]).read_text())

    def close(self) -> None:
        self._processes.close()


def _wait_for_socket(runtime: Path) -> None:
    deadline = time.monotonic() + 60
    while not list(runtime.glob("**/*.sock")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(0.05)


def _write_inputs(folder: Path) -> None:
    (folder / "photos").mkdir(parents=True)
    Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "in.png")
    for number in range(2):
        Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "photos" / f"{number}.png")
    (folder / "prompts.txt").write_text("a fox\na car\na house\n")
    (folder / "bad.txt").write_text("a fox --steps 0\n")
    record = {"artgen": "0.1.0", "task": "txt2img", "prompt": "a fox", "model": "tiny", "steps": 2, "seed": 5}
    (folder / "record.json").write_text(json.dumps({**record, "width": 64, "height": 64}))


def _read_files(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    has_times = (".jsonl", ".csv")
    return {
        path.relative_to(folder).as_posix(): b"" if path.suffix in has_times else path.read_bytes() for path in files
    }


def assert_equal(expected: Outcome, actual: Outcome) -> None:
    """Check that two commands wrote the same, except for messages."""
    assert actual.code == expected.code, actual.stderr
    assert actual.files.keys() == expected.files.keys(), actual.stderr
    assert [name for name, data in actual.files.items() if data != expected.files[name]] == [], actual.stderr
    assert actual.stdout == expected.stdout, actual.stderr
    assert "Traceback" not in actual.stderr


@pytest.fixture(scope="module")
def crashes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    found = Crashes(tmp_path_factory.mktemp("crashes"))
    yield found
    found.close()


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_worker_at_messages(crashes: Crashes, name: str) -> None:
    scenario = SCENARIOS[name]
    rng = random.Random(name)
    num_messages = crashes.num_messages(name)
    for kill_at in {*rng.sample(range(1, num_messages + 1), min(2, num_messages)), num_messages}:
        after = rng.random() < 0.5
        outcome = crashes.run(scenario, kill_at=kill_at, after=after)
        assert_equal(crashes.expected(name), outcome)
