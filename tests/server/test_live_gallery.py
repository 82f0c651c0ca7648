"""Test the live page: its addresses are read-only and serve only images of the history."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gallery_images import save_image
from PIL import Image
from starlette.testclient import TestClient

from artgen.gallery_site.scan_files import scan_image
from artgen.image_history.database import History, open_history
from artgen.images.thumbnails import encode_thumbnail
from artgen.server.app import create_app
from artgen.server.settings import ServerSettings


@pytest.fixture
def history() -> Iterator[History]:
    """Yield the history of the user with three images."""
    with open_history() as opened:
        for number in range(3):
            path = Path(f"in/{number}.png")
            save_image(path, f"fox {number}", time=number)
            scanned = scan_image(path)
            with Image.open(path) as image:
                opened.add(scanned.entry, path.stat().st_size, encode_thumbnail(image))
        yield opened


def client(**settings: Any) -> TestClient:
    return TestClient(create_app(ServerSettings(**settings)), base_url="http://127.0.0.1")


def test_the_page_and_its_data_are_read_only(history: History) -> None:
    browser = client()
    page = browser.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "frame-ancestors 'none'" in policy
    assert page.text.count("connect-src 'self'") == 1
    config = browser.get("/gallery/data/config.json").json()
    assert config["count"] == 3
    entries = browser.get(f"/gallery/data/entries-0.json?last={config['last']}").json()
    assert [each["prompt"] for each in entries] == ["fox 2", "fox 1", "fox 0"]
    assert [len(browser.get(f"/gallery/data/entries-0.json?last={each}").json()) for each in ("1", "x", "9" * 40)] == [
        1,
        3,
        3,
    ]
    details = browser.get(f"/gallery/data/details-{entries[0]['id']}.json").json()[0]
    assert details["replay"] == f"artgen replay history:{history.find_sha256(entries[0]['id'])[0].id}"
    thumbnail = browser.get(f"/{entries[0]['thumbnail']}")
    assert (thumbnail.headers["content-type"], thumbnail.content[:3]) == ("image/jpeg", b"\xff\xd8\xff")
    original = browser.get(f"/{details['image']}")
    assert original.content == Path("in/2.png").read_bytes()
    assert "sandbox" in original.headers["content-security-policy"]
    assert str(Path.cwd()) not in page.text + str(entries) + str(details)
    for address in ("/", f"/{details['image']}", "/gallery/data/config.json"):
        assert browser.post(address).status_code == 405
        assert browser.delete(address).status_code == 405


def test_other_files_are_not_served(history: History) -> None:
    browser = client()
    identifier = history.newest_ids()[0]
    entry = history.get(identifier)
    assert entry
    Path("in/2.png").write_text("another file")
    assert browser.get(f"/gallery/images/{entry.sha256[:16]}").status_code == 404
    for path in (
        *("images/0000000000000000", "images/..%2f..%2fin%2f1.png", f"images/{entry.sha256[:4]}", "thumbnails/*"),
        *("masks/0000000000000000.webp", "state.json", "index.html", "%2e%2e/pyproject.toml", "data/details-x.json"),
        *(f"masks/{entry.sha256[:16]}.webp", f"frames/{entry.sha256[:16]}"),
    ):
        assert browser.get(f"/gallery/{path}").status_code == 404, path


def test_the_page_needs_the_token_and_can_be_disabled(history: History) -> None:
    assert client(token="secret").get("/gallery/data/config.json").status_code == 401
    assert client(token="secret").get("/", auth=("", "secret")).status_code == 200
    assert client(history=False).get("/").status_code == 404
    assert client().get("/", headers={"host": "evil.example"}).status_code == 403
    assert client().get("/gallery/data/entries-0.json", headers={"sec-fetch-site": "cross-site"}).status_code == 403


def test_a_deleted_history_is_not_shown(history: History) -> None:
    browser = client()
    assert browser.get("/gallery/data/config.json").json()["count"] == 3
    identifier = browser.get("/gallery/data/entries-0.json").json()[0]["id"]
    history.path.parent.rename("moved")
    assert browser.get("/gallery/data/config.json").json()["count"] == 0
    assert browser.get(f"/gallery/images/{identifier}").status_code == 404
    scanned = scan_image(Path("in/1.png"))
    with open_history() as opened:
        opened.add(scanned.entry, 1, scanned.thumbnail)
    assert browser.get("/gallery/data/config.json").json()["count"] == 1


def test_a_missing_history_gives_an_empty_page() -> None:
    assert client().get("/gallery/data/config.json").json()["count"] == 0
    assert client().get("/gallery/data/entries-0.json").json() == []
