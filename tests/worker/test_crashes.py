"""Kill the worker while it runs a command. The client finishes the command as if the worker had not crashed."""

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
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
        stdin_file: file that is stdin.
        existing: outputs of the same command that exist before.
        code: exit code.
    """

    arguments: tuple[str, ...]
    stdin: bytes | None = None
    stdin_file: str = os.devnull
    existing: bool = False
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
    "batch": Scenario(("batch", "prompts.txt", *SEEDED, "-o", "out/")),
    "batch with a limit": Scenario(("batch", "prompts.txt", *SEEDED, "-o", "out/", "--limit", "2", "--json")),
    "batch from a pipe": Scenario(("batch", "-", *SEEDED, "-o", "out/"), stdin=b"a fox\na car\n"),
    "batch from a file": Scenario(("batch", "-", *SEEDED, "-o", "out/"), stdin_file="prompts.txt"),
    "batch with failures": Scenario(("batch", "prompts.txt", "bad.txt", *SEEDED, "-o", "out/", "--keep-going"), code=7),
    "folder": Scenario(("img2img", "photos", "a fox", *EDIT, "--frames", "frames/", "-o", "out/")),
    "sheet": Scenario(("txt2img", "a fox", *SEEDED, "--sweep", "guidance_scale=1,3", "-o", "out/")),
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
        self.inputs = folder / "inputs"
        _write_inputs(self.inputs)
        removed = ("ARTGEN_", "HF_", "XDG_")
        self.processes = WarmProcesses(
            {**{name: value for name, value in os.environ.items() if not name.startswith(removed)}, "HOME": str(home)},
            folder,
        )
        self._number = 0
        self._expected: dict[Scenario, Outcome] = {}
        self._num_messages: dict[Scenario, int] = {}

    def expected(self, scenario: Scenario) -> Outcome:
        """Return the outcome of an ordinary process."""
        if scenario not in self._expected:
            with self.session() as session:
                self._expected[scenario] = session.run(scenario)
        return self._expected[scenario]

    def num_messages(self, scenario: Scenario) -> int:
        """Return the number of messages of the worker about a command."""
        if scenario not in self._num_messages:
            count = self._folder / "count"
            with self.session() as session:
                session.start_worker(count=str(count))
                outcome = session.run(scenario)
            assert_equal(self.expected(scenario), outcome)
            assert NOTE not in outcome.stderr
            self._num_messages[scenario] = int(count.read_text())
        return self._num_messages[scenario]

    def run(self, scenario: Scenario, **kill: object) -> Outcome:
        """Run a command with a worker that is killed at a message."""
        with self.session() as session:
            if scenario.existing:
                session.run(replace(scenario, arguments=(*scenario.arguments, "--seed", "99")))
            session.start_worker(**kill)
            return session.run(scenario)

    @contextlib.contextmanager
    def session(self) -> Iterator["Session"]:
        """Yield a new folder with the inputs, in which a worker can run."""
        self._number += 1
        folder = self._folder / str(self._number)
        shutil.copytree(self.inputs, folder / "work")
        with tempfile.TemporaryDirectory() as runtime:
            session = Session(self.processes, folder, Path(runtime))
            try:
                yield session
            finally:
                session.stop_worker()
        shutil.rmtree(folder)


class Session:
    """Run commands in one folder, with one worker.

    Attributes:
        work: working directory of the commands.
    """

    def __init__(self, processes: WarmProcesses, folder: Path, runtime: Path) -> None:
        self.work = folder / "work"
        self._processes = processes
        self._folder = folder
        self._runtime = runtime
        self._worker: int | None = None
        self._number = 0

    def start_worker(self, **kill: object) -> int:
        """Start a worker, and return its process id."""
        self._worker = self._processes.fork("worker", environment={"XDG_RUNTIME_DIR": str(self._runtime)}, **kill)
        _wait_for_socket(self._runtime)
        return self._worker

    def stop_worker(self) -> None:
        if self._worker is not None:
            self._processes.kill(self._worker)

    def start(self, scenario: Scenario, **environment: str) -> "Client":
        """Start a command."""
        self._number += 1
        streams = {name: self._folder / f"{name}{self._number}" for name in ("stdout", "stderr")}
        streams["stdin"] = self.work / scenario.stdin_file
        if scenario.stdin is not None:
            streams["stdin"] = self._folder / f"pipe{self._number}"
            os.mkfifo(streams["stdin"])
        pid = self._processes.fork(
            "client",
            environment={"XDG_RUNTIME_DIR": str(self._runtime), **environment},
            arguments=scenario.arguments,
            cwd=str(self.work),
            **{name: str(path) for name, path in streams.items()},
        )
        if scenario.stdin is not None:
            streams["stdin"].write_bytes(scenario.stdin)
        return Client(self, pid, streams["stdout"], streams["stderr"])

    def run(self, scenario: Scenario) -> Outcome:
        """Run a command."""
        return self.start(scenario).wait(self._processes)


@dataclass
class Client:
    """Represent a running command."""

    session: Session
    pid: int
    stdout: Path
    stderr: Path

    def wait(self, processes: WarmProcesses) -> Outcome:
        """Wait for the end of the command."""
        code = processes.wait(self.pid)
        return Outcome(code, self.stdout.read_bytes(), self.stderr.read_text(), _read_files(self.session.work))

    def wait_for(self, text: str, stream: str = "stderr") -> None:
        """Wait until stdout or stderr contains a text."""
        path: Path = getattr(self, stream)
        wait_until(lambda: path.exists() and text in path.read_text())


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _wait_for_socket(runtime: Path) -> None:
    """Wait until a worker accepts connections. Its folder is the only one in `runtime`."""

    def accepts() -> bool:
        with socket.socket(socket.AF_UNIX) as connected:
            return any(connected.connect_ex(str(path)) == 0 for path in runtime.glob("*/worker.sock"))

    wait_until(accepts)


def _write_inputs(folder: Path) -> None:
    (folder / "photos").mkdir(parents=True)
    Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "in.png")
    for number in range(2):
        Image.effect_noise((64, 64), 50).convert("RGB").save(folder / "photos" / f"{number}.png")
    (folder / "prompts.txt").write_text("a fox\na car\na house\n")
    (folder / "many.txt").write_text("".join(f"a fox {number}\n" for number in range(8)))
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
    found.processes.close()


QUICK = ("several images", "stdout", "prompt from a pipe", "frames", "batch")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SCENARIOS]
)
def test_killed_at_messages(crashes: Crashes, name: str) -> None:
    scenario = SCENARIOS[name]
    rng = random.Random(name)
    num_messages = crashes.num_messages(scenario)
    for kill_at in {*rng.sample(range(1, num_messages + 1), min(2, num_messages)), num_messages}:
        after = rng.random() < 0.5
        outcome = crashes.run(scenario, kill_at=kill_at, after=after)
        assert_equal(crashes.expected(scenario), outcome)
        is_finished = after and kill_at == num_messages
        assert (NOTE in outcome.stderr) == (not is_finished and "--quiet" not in scenario.arguments)


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_killed_at_every_message(crashes: Crashes, name: str) -> None:
    scenario = SCENARIOS[name]
    for kill_at in range(1, crashes.num_messages(scenario) + 1):
        outcome = crashes.run(scenario, kill_at=kill_at)
        assert_equal(crashes.expected(scenario), outcome)
        assert outcome.stderr.count(NOTE) <= 1


@pytest.mark.slow
def test_killed_at_random_times(crashes: Crashes) -> None:
    rng = random.Random(0)
    for _ in range(20):
        scenario = SCENARIOS[rng.choice(list(SCENARIOS))]
        if scenario.existing:
            continue
        expected = crashes.expected(scenario)
        with crashes.session() as session:
            worker = session.start_worker()
            client = session.start(scenario)
            time.sleep(rng.uniform(0, 1.5))
            crashes.processes.kill(worker)
            assert_equal(expected, client.wait(crashes.processes))


def test_random_seeds_are_kept(crashes: Crashes) -> None:
    unseeded = Scenario(("txt2img", "a {red|blue|green|gray} fox", *FAST, "--count", "3", "--json"))
    with crashes.session() as session:
        session.start_worker(kill_at=12)
        outcome = session.run(unseeded)
    assert NOTE in outcome.stderr
    records = [json.loads(line) for line in outcome.stdout.splitlines()]
    first = records[0]["seed"]
    assert [record["seed"] for record in records] == [first, first + 1, first + 2]
    with crashes.session() as session:
        again = session.run(replace(unseeded, arguments=(*unseeded.arguments, "--seed", str(first))))
    assert_equal(again, outcome)


def test_eight_clients(crashes: Crashes) -> None:
    prompts = ["fox", "car", "house", "cat", "tree", "dog", "boat", "bird"]
    scenarios = [
        Scenario(("txt2img", f"a {prompt}", *FAST, "--seed", str(number), "-o", f"{prompt}.png"))
        for number, prompt in enumerate(prompts)
    ]
    with crashes.session() as session:
        ordinary = [session.run(scenario) for scenario in scenarios]
    with crashes.session() as session:
        session.start_worker()
        clients = [session.start(scenario) for scenario in scenarios]
        outcomes = [client.wait(crashes.processes) for client in clients]
    assert [outcome.stdout for outcome in outcomes] == [outcome.stdout for outcome in ordinary]
    assert {outcome.code for outcome in outcomes} == {0}
    assert outcomes[-1].files.keys() == ordinary[-1].files.keys()
    assert [name for name, data in ordinary[-1].files.items() if outcomes[-1].files[name] != data] == []


LONG = Scenario(("txt2img", "a fox", "-m", "tiny", "--steps", "300", "--seed", "7", "--count", "2"))


def test_interrupted_second_attempt(crashes: Crashes) -> None:
    with crashes.session() as session:
        session.start_worker(kill_at=2)
        client = session.start(LONG)
        client.wait_for(NOTE)
        client.wait_for("Using tiny")
        os.kill(client.pid, signal.SIGINT)
        outcome = client.wait(crashes.processes)
    assert outcome.code == 130
    assert outcome.stderr.endswith("error: Interrupted.\n")
    assert outcome.files.keys() == _read_files(crashes.inputs).keys()


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGSEGV, marks=pytest.mark.slow),
    ],
)
def test_ended_while_clients_wait(crashes: Crashes, number: int) -> None:
    names = ("frames", "stdout", "batch")
    with crashes.session() as session:
        ordinary = [session.run(SCENARIOS[name]) for name in names]
    with crashes.session() as session:
        worker = session.start_worker()
        first = session.start(LONG)
        first.wait_for("Using tiny")
        clients = [session.start(SCENARIOS[name]) for name in names]
        for client in clients:
            client.wait_for("Waiting for the worker")
        os.kill(worker, number)
        outcomes = [client.wait(crashes.processes) for client in clients]
        os.kill(first.pid, signal.SIGINT)
        assert first.wait(crashes.processes).code == 130
    assert [(outcome.code, outcome.stdout) for outcome in outcomes] == [(each.code, each.stdout) for each in ordinary]
    assert ordinary[-1].files.keys() == outcomes[-1].files.keys()


def test_interrupted_before_the_crash(crashes: Crashes) -> None:
    with crashes.session() as session:
        worker = session.start_worker()
        client = session.start(LONG)
        client.wait_for("Using tiny")
        os.kill(worker, signal.SIGSTOP)
        os.kill(client.pid, signal.SIGINT)
        time.sleep(0.2)
        os.kill(worker, signal.SIGKILL)
        outcome = client.wait(crashes.processes)
    assert outcome.code == 130
    assert outcome.stderr.endswith("error: Interrupted.\n")
    assert outcome.files.keys() == _read_files(crashes.inputs).keys()


def test_interrupted_batch_continues_elsewhere(crashes: Crashes) -> None:
    scenario = Scenario(("batch", "many.txt", *SEEDED, "--steps", "20", "--batch-size", "1", "-o", "out/"))
    expected = crashes.expected(scenario)
    with crashes.session() as session:
        session.start_worker()
        client = session.start(scenario)
        client.wait_for("out/00001", "stdout")
        os.kill(client.pid, signal.SIGINT)
        first = client.wait(crashes.processes)
        second = session.start(scenario, ARTGEN_WORKER="off").wait(crashes.processes)
    assert first.code == 130
    assert second.code == 0
    assert sorted((first.stdout + second.stdout).splitlines()) == sorted(expected.stdout.splitlines())
    assert second.files.keys() == expected.files.keys()


def test_batches_in_and_outside_the_worker_share_a_folder(crashes: Crashes) -> None:
    scenario = Scenario(("batch", "many.txt", *SEEDED, "--steps", "20", "--batch-size", "1", "-o", "out/"))
    expected = crashes.expected(scenario)
    with crashes.session() as session:
        session.start_worker()
        clients = [session.start(scenario), session.start(scenario, ARTGEN_WORKER="off"), session.start(scenario)]
        outcomes = [client.wait(crashes.processes) for client in clients]
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], [outcome.stderr for outcome in outcomes]
    assert outcomes[-1].files == expected.files
    lines = [line for outcome in outcomes for line in outcome.stdout.splitlines()]
    assert set(lines) == set(expected.stdout.splitlines())


@pytest.mark.slow
def test_worker_processes_of_a_batch(crashes: Crashes) -> None:
    scenario = Scenario(("batch", "prompts.txt", *SEEDED, "-o", "out/", "--workers", "2"))
    with crashes.session() as session:
        session.start_worker(kill_at=1)
        outcome = session.run(scenario)
    assert NOTE not in outcome.stderr
    assert outcome.code == 0
    assert len(outcome.stdout.splitlines()) == 3


def test_stopped_client_blocks_no_other_client(crashes: Crashes) -> None:
    scenario = Scenario(("txt2img", "a fox", *SEEDED, "--steps", "50", "--count", "3", "--batch-size", "1"))
    expected = crashes.expected(scenario)
    with crashes.session() as session:
        session.start_worker(max_reply_seconds=1)
        client = session.start(scenario)
        client.wait_for("outputs/", "stdout")
        os.kill(client.pid, signal.SIGSTOP)
        other = session.run(SCENARIOS["stdout"])
        os.kill(client.pid, signal.SIGCONT)
        outcome = client.wait(crashes.processes)
    assert other.stdout == crashes.expected(SCENARIOS["stdout"]).stdout
    assert_equal(expected, outcome)
    assert NOTE in outcome.stderr
