"""Test the API of jobs, the queue and the security checks without the engine."""

import asyncio
import base64
import io
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from server_jobs import ControlledJobs, at_once
from starlette.testclient import TestClient

from artgen.errors import MemoryExhaustedError
from artgen.server.app import create_app
from artgen.server.job_queue import JobQueue, ServerJob
from artgen.server.security import has_token, is_allowed_host
from artgen.server.settings import ServerSettings

JOB = {"prompt": "a red fox", "model": "tiny"}
TOKEN = "0123456789abcdef-token"


def client_for(run_job: Any, **settings: Any) -> TestClient:
    """Return a client of a new server. Use it as a context manager."""
    used = ServerSettings(**settings)
    return TestClient(create_app(used, JobQueue(used, run_job)), base_url="http://127.0.0.1:7860")


@pytest.fixture
def jobs() -> ControlledJobs:
    return ControlledJobs()


@pytest.fixture
def client(jobs: ControlledJobs) -> Iterator[TestClient]:
    with client_for(jobs, max_queue=3, max_per_client=3, max_results=2) as found:
        yield found


def submit(client: TestClient, **values: Any) -> str:
    response = client.post("/api/jobs", json={**JOB, **values})
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def wait_for(client: TestClient, job_id: str, state: str) -> dict[str, Any]:
    end = time.monotonic() + 60
    while (found := client.get(f"/api/jobs/{job_id}").json())["state"] != state:
        assert time.monotonic() < end, found
        time.sleep(0.01)
    return dict(found)


def test_states_positions_limits_and_cancellation(client: TestClient, jobs: ControlledJobs) -> None:
    first, second, third = submit(client), submit(client, count=2), submit(client)
    assert jobs.started.wait(30)
    assert wait_for(client, first, "loading")["position"] == 0
    assert [client.get(f"/api/jobs/{each}").json()["position"] for each in (second, third)] == [1, 2]
    refused = client.post("/api/jobs", json=JOB)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "5")
    assert "3 jobs of this client" in refused.json()["error"]["message"]

    assert client.delete(f"/api/jobs/{third}").json()["state"] == "canceled"
    jobs.step()
    running = wait_for(client, first, "running")
    assert (running["step"], running["steps"], running["total_images"]) == (1, 3, 1)
    assert client.delete(f"/api/jobs/{first}").status_code == 200
    assert wait_for(client, first, "canceled")["images"] == []
    jobs.step(6)
    done = wait_for(client, second, "done")
    assert [image["url"] for image in done["images"]] == [f"/api/jobs/{second}/images/{n}" for n in (0, 1)]
    assert client.get(done["images"][1]["url"]).content == b"png"
    # Two ended jobs are kept: the third one, which ended first, is forgotten.
    for url in (f"/api/jobs/{third}", f"/api/jobs/{second}/images/2", "/api/jobs/unknown", "/unknown"):
        response = client.get(url)
        assert response.status_code == 404
        assert set(response.json()["error"]) == {"message", "hint", "exit_code", "type", "settings"}


def test_events_contain_each_change_until_the_end(client: TestClient, jobs: ControlledJobs) -> None:
    job_id = submit(client)
    jobs.step(3)
    events: list[tuple[str, dict[str, Any]]] = []
    with client.stream("GET", f"/api/jobs/{job_id}/events") as response:
        name = ""
        for line in response.iter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                events.append((name, json.loads(value)))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert [each for each, _ in events][-2:] == ["image", "done"]
    assert events[-2][1] == {"url": f"/api/jobs/{job_id}/images/0", "record": {"seed": 7}}
    assert events[-1][1]["state"] == "done"


def test_failed_jobs_have_an_error_and_the_queue_continues() -> None:
    def run(job: ServerJob, listener: Any) -> None:
        if job.parsed is not None and job.parsed.requests[0].seed == 1:
            raise MemoryExhaustedError("Out of memory.", "Use a smaller size.", settings=("width",))
        if job.parsed is not None and job.parsed.requests[0].seed == 2:
            raise ZeroDivisionError("a bug\x1b[2J")
        if job.parsed is not None and job.parsed.requests[0].seed == 3:
            raise BaseException("a panic of Rust code")
        at_once()(job, listener)

    with client_for(run) as client:
        ids = [submit(client, seed=seed) for seed in (1, 2, 3, 4)]
        assert wait_for(client, ids[0], "failed")["error"] == {
            "message": "Out of memory.",
            "hint": "Use a smaller size.",
            "exit_code": 6,
            "type": "MemoryExhaustedError",
            "settings": ["width"],
        }
        assert "ZeroDivisionError" in wait_for(client, ids[1], "failed")["error"]["message"]
        assert "a panic" in wait_for(client, ids[2], "failed")["error"]["message"]
        wait_for(client, ids[3], "done")
        text = client.get("/metrics").text
    assert 'artgen_jobs_total{state="failed"} 3.0' in text
    assert 'artgen_errors_total{type="MemoryExhaustedError"} 1.0' in text
    assert "artgen_image_seconds_count 1.0" in text
    assert "artgen_queue_depth 0.0" in text


def test_queue_continues_after_a_failed_import_of_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [ImportError("torch is damaged")]

    def create_runner(_: ServerSettings) -> Any:
        if errors:
            raise errors.pop()
        return at_once()

    monkeypatch.setattr("artgen.server.generation.create_runner", create_runner)
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)  # the log cannot be written
    settings = ServerSettings()
    queue = JobQueue(settings)
    queue.preload()
    with TestClient(create_app(settings, queue), base_url="http://127.0.0.1:7860") as client:
        wait_for(client, submit(client), "done")


def test_job_is_canceled_if_the_connection_is_closed_during_the_validation(jobs: ControlledJobs) -> None:
    settings = ServerSettings()
    queue = JobQueue(settings, jobs)
    messages = [{"type": "http.request", "body": json.dumps(JOB).encode()}, {"type": "http.disconnect"}]
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/api/jobs", "query_string": b"", "headers": headers}

    async def receive() -> Any:
        return messages.pop(0)

    async def send(_: Any) -> None:
        pass

    asyncio.run(create_app(settings, queue)(scope, receive, send))
    assert all(job.wait(30) and job.state == "canceled" for job in queue._copy_jobs())
    assert queue.num_kept == 1


def test_results_have_a_limit_of_bytes_but_the_newest_result_is_kept() -> None:
    with client_for(at_once(b"x" * 1000), max_result_bytes=2500) as client:
        ids = [submit(client) for _ in range(4)]
        wait_for(client, ids[3], "done")
        assert [client.get(f"/api/jobs/{each}").status_code for each in ids] == [404, 404, 200, 200]
        large = submit(client, count=5)
        wait_for(client, large, "done")
        assert [client.get(f"/api/jobs/{each}").status_code for each in (*ids, large)] == [404] * 4 + [200]


def test_bodies_are_checked(client: TestClient, jobs: ControlledJobs) -> None:
    def post(**arguments: Any) -> tuple[int, str]:
        response = client.post("/api/jobs", **arguments)
        return response.status_code, response.json()["error"]["message"]

    json_type = {"Content-Type": "application/json"}
    assert post(content=b"{", headers=json_type)[0] == 400
    assert post(content=b"[1]", headers=json_type)[1] == "Cannot use the JSON as a job: it is not an object."
    assert post(content=b'{"prompt": "a", "prompt": "b"}', headers=json_type)[0] == 400
    assert post(content=b'{"prompt": "\xff"}', headers=json_type)[0] == 400
    assert post(content=b"[" * 100_000, headers=json_type)[0] == 400
    assert post(content=b"{}", headers={"Content-Type": "text/plain"})[0] == 415
    assert post(files={"photo": b"x"})[1] == "The request has no field 'job'."
    assert "the content is text" in post(data={"job": json.dumps(JOB)}, files={"photo": b"x"})[1]
    assert "Each file".lower() in post(data={"job": json.dumps(JOB)}, files={"a b": b"x"})[1]
    many = [(f"f{number}", b"x") for number in range(65)]
    assert post(data={"job": json.dumps(JOB)}, files=many)[0] == 400
    more = post(data={"job": json.dumps(JOB), "more": "x"}, files={"photo": b"x"})
    assert more == (400, "The part 'more' must be a file; settings are in the field 'job'.")
    assert post(data={"job": [json.dumps(JOB)] * 2}, files={"photo": b"x"})[1] == "The field 'job' occurs twice."
    assert post(json={"prompt": "a", "text": "x" * (5 << 20)})[0] == 413
    assert post(content=b"--x--", headers={"Content-Type": "multipart/form-data"})[0] == 400
    wrong_method = client.put("/api/jobs")
    assert (wrong_method.status_code, wrong_method.headers["allow"]) == (405, "POST")
    assert wrong_method.json()["error"]["message"] == "The address does not support PUT."
    assert not jobs.started.is_set()


@pytest.mark.parametrize(
    ("header", "is_allowed_on_loopback", "is_allowed_on_network"),
    [
        ("127.0.0.1:7860", True, True),
        ("localhost", True, True),
        ("LOCALHOST.:80", True, True),
        ("[::1]:7860", True, True),
        ("127.8.9.1", True, True),
        ("192.168.1.7:7860", False, True),
        ("nas.example", True, True),  # of --allow-host
        ("evil.example", False, False),
        ("127.0.0.1.evil.example", False, False),
        ("localhost.evil.example", False, False),
        ("127.0.0.1:80:evil", False, False),
        ("127.0.0.1@evil", False, False),
        ("[::1", True, True),
        ("", False, False),
        ("0x7f.1", False, False),
        ("2130706433", False, False),
    ],
)
def test_host_headers(header: str, is_allowed_on_loopback: bool, is_allowed_on_network: bool) -> None:
    local = ServerSettings(allowed_hosts=("nas.example",))
    public = ServerSettings(host="0.0.0.0", token=TOKEN, allowed_hosts=("nas.example",))
    assert is_allowed_host(header, local) is is_allowed_on_loopback
    assert is_allowed_host(header, public) is is_allowed_on_network


def test_requests_of_other_sites_are_refused() -> None:
    refused = [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    ]
    accepted = [
        {"Origin": "http://127.0.0.1:7860", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "none"},
    ]
    with client_for(at_once()) as client:
        for headers in refused:
            response = client.post("/api/jobs", json=JOB, headers=headers)
            assert response.status_code == 403, headers
            assert "access-control-allow-origin" not in response.headers
        for headers in accepted:
            assert client.get("/health", headers=headers).status_code == 200, headers
    page = "http://nas.example:3000"
    with client_for(at_once(), allowed_origins=(page,)) as client:
        assert client.get("/health", headers={"Origin": page}).headers["access-control-allow-origin"] == page
        assert client.get("/health", headers={"Origin": "http://evil.example"}).status_code == 403
        preflight = {"Origin": page, "Access-Control-Request-Method": "POST"}
        assert client.options("/api/jobs", headers=preflight).status_code == 200


def test_token() -> None:
    basic = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    for header, is_valid in [
        (f"Bearer {TOKEN}", True),
        (f"bearer  {TOKEN} ", True),
        (f"Basic {basic}", True),
        ("Basic !!!", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        ("Bearer é\udcff", False),
        (f"Digest {TOKEN}", False),
        (TOKEN, False),
        ("", False),
    ]:
        assert has_token(header, TOKEN) is is_valid, header
    with client_for(at_once(), token=TOKEN) as client:
        response = client.post("/api/jobs", json=JOB)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        browser = client.get("/", headers={"Accept": "text/html"})
        assert (browser.status_code, browser.headers["www-authenticate"]) == (401, 'Basic realm="artgen"')
        assert client.get("/health").json()["server"] == "artgen"
        for path in ("/metrics", "/api/jobs/x", "/health/", "//health", "/v1/images/files/../../metrics"):
            assert client.get(path).status_code == 401, path
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        wait_for(client, submit(client), "done")


def test_log_contains_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    with client_for(at_once()) as client:
        client.get("/%1b%5b2J%0d%0ainjected%20line%e2%80%ae")
    text = capsys.readouterr().err
    assert "GET /" in text
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()


def test_memory_for_bodies_is_limited_and_released() -> None:
    large = {
        "content": json.dumps({**JOB, "negative_prompt": "x" * 2000}),
        "headers": {"Content-Type": "application/json"},
    }
    with client_for(at_once(), max_body_bytes=1000) as client:
        assert [client.post("/api/jobs", **large).status_code for _ in range(3)] == [413] * 3
        wait_for(client, submit(client), "done")
    with client_for(at_once(), max_total_body_bytes=1000) as client:
        assert [client.post("/api/jobs", **large).status_code for _ in range(3)] == [503] * 3
        for _ in range(12):  # together larger than the limit
            wait_for(client, submit(client), "done")


def test_a_full_queue_and_an_ending_server_refuse_jobs(jobs: ControlledJobs) -> None:
    settings = ServerSettings(max_queue=1)
    queue = JobQueue(settings, jobs)
    with TestClient(create_app(settings, queue), base_url="http://127.0.0.1") as client:
        submit(client)
        assert jobs.started.wait(30)
        waiting = submit(client)
        refused = client.post("/api/jobs", json=JOB)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert queue.close()
        assert client.get(f"/api/jobs/{waiting}").json()["state"] == "canceled"
        assert "the server is ending" in client.post("/api/jobs", json=JOB).json()["error"]["message"]
