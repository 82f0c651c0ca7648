"""Test the connection to a server: errors, cancellation, uploads, and the modules that a client imports."""

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from command_line import run, save_inputs
from local_server import run_server
from remote_server import RunningServer, running_server

from artgen.errors import UsageError
from artgen.events import Event, StepEvent
from artgen.remote import connection as remote_connection
from artgen.remote import job as remote_job
from artgen.remote.address import parse_server
from artgen.remote.connection import Connection, Server
from artgen.remote.job import Numbering, RemoteJob
from artgen.remote.upload import to_upload
from artgen.server.settings import ServerSettings
from artgen.spec.requests import Img2Img, Txt2Img
from artgen.worker_process.client import command
from artgen.worker_process.client.socket_file import WorkerUnavailable

FOX = ("txt2img", "a fox", "-m", "tiny", "--steps", "2", "--seed", "7")
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with running_server(ServerSettings(port=0, token=TOKEN, max_per_client=1)) as running:
        yield running


class Foreign(BaseHTTPRequestHandler):
    """Answer each request with JSON that artgen does not send."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"status": "ok"}')

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def connect(server: RunningServer) -> Connection:
    return Connection(Server(f"http://{server.address}", TOKEN))


def test_addresses_are_parsed() -> None:
    assert parse_server(None) is parse_server("none") is parse_server(" ") is None
    urls = {"gpu": "http://gpu:7860", "[::1]:80": "http://[::1]:80", "https://a.b/x/": "https://a.b/x"}
    assert {text: parse_server(text) for text in urls} == urls
    for text in ("a b", "gpu:0", "gpu:99999", "ftp://gpu", "http://", "http://me:secret@gpu", "a/b", "x" * 300):
        with pytest.raises(UsageError):
            parse_server(text)


def test_errors_of_the_connection_have_a_sentence_a_hint_and_an_exit_code(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_connection, "RETRY_SECONDS", (0.0,))

    def check(address: str, message: str, code: int) -> None:
        result = run(*FOX, "-o", "fox.png", "--server", address, code=code)
        lines = [line for line in result.stderr.splitlines() if not line.startswith("127.0.0.1 ")]  # log of the server
        assert len(lines) == 2, result.stderr
        assert message in lines[0]
        assert not Path("fox.png").exists()

    check("127.0.0.1:1", "Cannot connect to the server 'http://127.0.0.1:1': connection refused.", 4)
    check(server.address, "the server requires a token.", 5)
    monkeypatch.setenv("ARTGEN_SERVER_TOKEN", TOKEN[::-1])
    check(server.address, "the token is wrong.", 5)
    monkeypatch.setenv("ARTGEN_SERVER_TOKEN", TOKEN)
    check("a b", "server must be HOST:PORT or a URL, not 'a b'.", 2)
    with run_server(Foreign) as address:
        check(address, "it is not a server of artgen.", 2)
    monkeypatch.setattr(remote_connection, "__version__", "9.9.9")
    check(server.address, "it has artgen 0.1.0, and this program has artgen 9.9.9.", 2)


REFUSED = {
    ("--frames", "x.gif"): "Cannot combine --frames and --server",
    ("--batch-size", "2"): "Cannot combine --batch-size and --server",
    ("--count", "2", "--sweep", "steps=1,2", "--workers", "2"): "Cannot combine --workers and --server",
    ("--sweep", "steps=1,2", "--ray", "auto"): "Cannot combine --ray and --server",
    ("-m", "./models/x.safetensors"): "for --model with --server",
    ("--lora", "/loras/x.safetensors:0.5"): "for --lora with --server",
    ("-o", "-", "--json"): "Cannot combine -o - with --json",
    ("--steps", "0"): "steps must be 1 to 1,000",
}


@pytest.mark.parametrize("options", REFUSED, ids=" ".join)
def test_options_that_a_server_cannot_use_are_refused_without_a_connection(options: tuple[str, ...]) -> None:
    output = () if "-o" in options else ("-o", "out/")
    result = run("txt2img", "a fox", *options, *output, "--server", "127.0.0.1:1", code=2)
    assert REFUSED[options] in result.stderr


def test_errors_of_the_server_keep_their_exit_code(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_SERVER_TOKEN", TOKEN)
    monkeypatch.setenv("ARTGEN_SERVER", server.address)
    assert "On the server: `artgen models list`" in run("txt2img", "a fox", "-m", "no-such-model", code=4).stderr
    assert "Cannot find the LoRA" in run(*FOX, "--lora", "no-such-lora", code=3).stderr
    save_inputs()
    Path("broken.png").write_bytes(Path("in.png").read_bytes()[:60])
    assert "broken.png" in run("img2img", "broken.png", "a fox", code=3).stderr
    result = run("txt2img", "a fox", "-m", "tiny", "--sigmas", "karras", "--scheduler", "lcm", code=2)
    assert "lcm" in result.stderr


def test_unsupported_default_is_ignored_with_a_note(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_SERVER_TOKEN", TOKEN)
    monkeypatch.setenv("ARTGEN_TEXT_ENCODER_3", "none")
    result = run(*FOX, "-o", "fox.png", "--server", server.address)
    assert "The default of text_encoder_3 from the environment or a configuration file is ignored" in result.stderr
    assert Path("fox.png").exists()


def test_stopped_wait_cancels_the_job(server: RunningServer) -> None:
    request = Txt2Img(prompt="a fox", model="tiny", steps=900, seed=7)
    job = RemoteJob.submit(connect(server), request, to_upload(request))

    def stop_after_a_step(event: Event) -> None:
        if isinstance(event, StepEvent):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.wait(stop_after_a_step, Numbering())
    found = next(each for each in server.queue._jobs.values() if each.total_images == 1 and not each.images)
    assert found.wait(60)
    assert found.state == "canceled"


def test_full_queue_is_an_error_after_a_time(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_job, "RETRY_FULL_SECONDS", 0.01)
    request = Txt2Img(prompt="a fox", model="tiny", steps=900, seed=7)
    first = RemoteJob.submit(connect(server), request, to_upload(request))
    try:
        with pytest.raises(remote_job.errors.QueueFullError) as raised:
            RemoteJob.submit(connect(server), request, to_upload(request), full_queue_seconds=0.0)
        assert raised.value.exit_code == 75
        assert raised.value.hint
    finally:
        first.cancel()


@pytest.mark.parametrize("status", [429, 503])
def test_full_queue_of_a_client_and_of_the_server_is_the_same_error(status: int) -> None:
    body = {"error": {"message": "Cannot queue the job: 64 jobs are waiting.", "hint": "", "exit_code": 75}}
    answer = remote_connection.Answer(status, json.dumps(body).encode())
    with pytest.raises(remote_job.errors.QueueFullError):
        Connection(Server("http://127.0.0.1:1")).checked(answer, expected=202)


def test_upload_contains_each_file_once_and_no_path() -> None:
    save_inputs()
    folder = Path("secret")
    folder.mkdir()
    Path("in.png").rename(folder / "in.png")
    image = folder / "in.png"
    upload = to_upload(Img2Img(image=image, prompt="x", control=(f"canny={image},scale=0.5",), preset=("mine",)))
    body, content_type = upload.body()
    assert content_type.startswith("multipart/form-data; boundary=")
    assert b"secret" not in body
    assert list(upload.files) == ["image0"]
    assert upload.values == {
        "task": "img2img", "image": "upload:image0", "prompt": "x", "control": ["canny=upload:image0,scale=0.5"]
    }  # fmt: skip
    assert upload.facts == {"image": "in.png", "preset": ["mine"]}
    body, content_type = to_upload(Txt2Img(prompt="ein Füchs")).body()
    assert (json.loads(body), content_type) == ({"task": "txt2img", "prompt": "ein Füchs"}, "application/json")


def test_client_imports_no_torch(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARTGEN_SERVER_TOKEN", TOKEN)
    save_inputs()
    code = (
        "import sys\nfrom artgen.cli.main import app\n"
        "for arguments in (['txt2img', 'a fox'], ['img2img', 'in.png', 'a fox']):\n"
        "    try:\n        app([*arguments, '-m', 'tiny', '--steps', '2', *sys.argv[1:]], prog_name='artgen')\n"
        "    except SystemExit as exit:\n        assert exit.code in (0, None), exit.code\n"
        "print({'torch', 'diffusers', 'transformers', 'starlette'} & {*sys.modules})\n"
    )
    arguments = [sys.executable, "-c", code, "-o", "out/", "--server", server.address]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["set()"], done.stderr
    assert len(list(Path("out").iterdir())) == 2


def test_no_worker_runs_a_command_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    command._check_process(["txt2img", "a fox"])
    for arguments in (["txt2img", "a fox", "--server", "gpu"], ["batch", "p.txt", "--server=gpu"]):
        with pytest.raises(WorkerUnavailable, match="server"):
            command._check_process(arguments)
    run("config", "set", "server", "gpu:7860", "--project")
    with pytest.raises(WorkerUnavailable, match="server"):
        command._check_process(["txt2img", "a fox"])
    Path("artgen.toml").unlink()
    monkeypatch.setenv("ARTGEN_SERVER", "gpu")
    with pytest.raises(WorkerUnavailable, match="server"):
        command._check_process(["txt2img", "a fox"])


def test_configured_server_is_used_by_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_connection, "RETRY_SECONDS", ())
    save_inputs()
    run(*FOX, "-o", "fox.png")
    Path("prompts.txt").write_text("a fox\n")
    run("config", "set", "server", "127.0.0.1:1")
    run("config", "set", "server_token", TOKEN)
    assert TOKEN not in run("config", "show").stdout
    for arguments in (
        FOX, ("img2img", "in.png", "a fox"), ("upscale", "in.png", "--by", "2"), ("denoise", "in.png"),
        ("replay", "fox.png"), ("variations", "fox.png"), ("morph", "fox.png", "fox.png"), ("batch", "prompts.txt"),
        ("txt2img", "a fox", "--sweep", "seed=1,2"),
    ):  # fmt: skip
        assert "Cannot connect to the server" in run(*arguments, code=4).stderr, arguments
    for token in ("first\nsecond", "caf\u00e9", "\u20ac" * 20):
        monkeypatch.setenv("ARTGEN_SERVER_TOKEN", token)
        error = run(*FOX, code=2).stderr
        assert "must have printable ASCII characters" in error
        assert token not in error
    monkeypatch.delenv("ARTGEN_SERVER_TOKEN")
    run(*FOX, "-o", "local.png", "--server", "none")
