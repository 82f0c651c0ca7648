"""Test the page of the gallery in Chromium: search, filters, comparison, copying, keyboard and accessibility."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import (
    CONTRAST,
    chromium,
    console_messages,
    needs_chromium,
    requested_addresses,
    set_media,
    set_size,
    unnamed_elements,
)
from gallery_images import save_image

import artgen

pytestmark = needs_chromium

HOSTILE = "<img src=x onerror=\"window.hacked=1\"> </script><script>window.hacked=1</script> 'a' \u2028 fox"
SECONDS = 20.0
"""Timeout for what takes less than a second."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with five images and the gallery `site`."""
    root = tmp_path_factory.mktemp("page")
    day = 86_400
    fox = save_image(root / "in/fox #1.png", "a red fox, in the snow", time=day, seed=7, lora=["oil.safetensors:0.8"])
    blue = save_image(
        root / "in/blue.png", "a blue fox, in the snow", time=2 * day, seed=8, task="img2img", image="fox #1.png",
        image_sha256=fox, strength=0.5,
    )  # fmt: skip
    save_image(root / "in/wide.png", "a wide fox", time=3 * day, task="outpaint", image="blue.png", image_sha256=blue)
    save_image(root / "in/car.png", "a car", time=4 * day, size=(64, 64), model="sdxl", negative_prompt="snow")
    save_image(root / "in/hostile.png", HOSTILE, time=5 * day)
    artgen.gallery(root / "in", root / "site", title="Foxes <b>")
    return root


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser: Any, folder: Path) -> Iterator[Any]:
    """Yield the browser with the page. Afterwards the console must be empty: no errors, no violations of the CSP."""
    set_media(browser)
    open_page(browser, folder)
    yield browser
    assert console_messages(browser) == []


def open_page(driver: Any, folder: Path, address: str = "") -> None:
    driver.get("about:blank")
    driver.get(f"{(folder / 'site/index.html').as_uri()}{address}")
    wait(lambda: driver.execute_script("return performance.getEntriesByName('complete').length"))


def wait(condition: Callable[[], Any]) -> Any:
    """Return the first true value of a condition."""
    end = time.monotonic() + SECONDS
    while not (value := condition()):
        assert time.monotonic() < end, "the page did not change in time"
        time.sleep(0.02)
    return value


def press(driver: Any, *keys: str) -> None:
    from selenium.webdriver import ActionChains, Keys

    actions = ActionChains(driver, duration=0)
    for key in keys:
        actions.send_keys(getattr(Keys, key, key))
    actions.perform()


def find(driver: Any, selector: str) -> list[Any]:
    return list(driver.find_elements("css selector", selector))


def texts(driver: Any, selector: str) -> list[str]:
    return [each.text for each in find(driver, selector)]


def names(driver: Any) -> list[str]:
    return list(driver.execute_script("return gallery.shown.map((each) => each.name)"))


def status(driver: Any) -> str:
    return str(find(driver, "#status")[0].text)


def open_image(driver: Any, name: str) -> None:
    driver.execute_script("gallery.showImage(gallery.entries.find((each) => each.name === arguments[0]))", name)
    wait(lambda: find(driver, "#viewer dl"))


def test_search_and_filters_select_images_and_are_in_the_address(page: Any, folder: Path) -> None:
    from selenium.webdriver.support.ui import Select

    assert names(page) == ["hostile.png", "car.png", "wide.png", "blue.png", "fox #1.png"]
    press(page, "/", *"fox -blue")
    assert wait(lambda: status(page) == "3 of 5 images")
    page.execute_script("arguments[0].value = ''", find(page, "#search")[0])
    press(page, *' "fox, in"')
    assert names(page) == ["blue.png", "fox #1.png"]
    find(page, "#show-filters")[0].click()
    assert find(page, "#show-filters")[0].get_attribute("aria-expanded") == "true"
    assert texts(page, "#task option") == ["All", "img2img (1)", "outpaint (1)", "txt2img (3)"]
    Select(find(page, "#task")[0]).select_by_value("img2img")
    wait(lambda: names(page) == ["blue.png"])
    address = page.current_url.split("#")[1]
    open_page(page, folder, f"#{address}")
    assert names(page) == ["blue.png"]
    find(page, "#clear")[0].click()
    assert len(names(page)) == 5
    for query, found in (
        ("lora=oil.safetensors", ["fox #1.png"]),
        ("size=64 × 64", ["car.png"]),
        ("model=sdxl&q=fox", []),
        ("from=2026-01-03&to=2026-01-04&sort=oldest", ["blue.png", "wide.png"]),
        ("sort=name&q=.png", ["blue.png", "car.png", "fox #1.png", "hostile.png", "wide.png"]),
    ):
        page.execute_script("location.hash = arguments[0]", query)
        wait(lambda expected=found: names(page) == expected)
    assert not find(page, "#empty")[0].is_displayed()


def test_texts_are_never_interpreted_and_nothing_else_is_requested(page: Any, folder: Path) -> None:
    assert page.title == "Foxes <b>"
    requested_addresses(page)
    open_image(page, "hostile.png")
    assert texts(page, "#viewer .prompt")[0].startswith("<img src=x onerror")
    find(page, "#viewer .close")[0].click()
    open_page(page, folder, "#image=<b>x</b>&q=<img src=x onerror=alert(1)>")
    assert not find(page, "img[src=x], h1 b, #status b, .caption img")
    assert page.execute_script("return window.hacked") is None
    addresses = [each for each in requested_addresses(page) if not each.startswith(("data:", "about:"))]
    assert len(addresses) > 10
    assert all(each.startswith(folder.as_uri()) for each in addresses)


def test_the_keyboard_reaches_everything_and_the_dialog_keeps_the_focus(page: Any) -> None:
    press(page, "TAB", "ENTER")  # the link that skips the search
    focused = "return document.activeElement.querySelector('img')?.alt"
    moves = ("ARROW_RIGHT", "END", "ARROW_LEFT", "HOME", "ARROW_DOWN", "ARROW_UP")
    seen = [page.execute_script(focused)]
    for key in moves:
        press(page, key)
        seen.append(page.execute_script(focused))
    alts = page.execute_script("return gallery.shown.map((each) => each.prompt)")
    assert seen == [alts[0], alts[1], alts[4], alts[3], alts[0], alts[4], alts[0]]
    press(page, "ARROW_RIGHT", "ENTER")
    wait(lambda: find(page, "#viewer dl"))
    for _ in range(20):
        press(page, "TAB")
        assert page.execute_script(
            "return document.activeElement === document.body || viewer.contains(document.activeElement)"
        )
    press(page, "ARROW_RIGHT")
    wait(lambda: texts(page, "#viewer-name") == ["wide.png"])
    press(page, "ESCAPE")
    wait(lambda: page.execute_script("return !viewer.open"))
    assert page.execute_script(focused) == "a wide fox"
    outline = "return getComputedStyle(document.activeElement).outlineStyle"
    assert page.execute_script(outline) == "solid"
    press(page, " ", "ARROW_RIGHT", " ", "c")
    wait(lambda: find(page, "#comparison tbody tr"))
    assert texts(page, "#comparison thead span") == ["wide.png", "blue.png"]
    press(page, "ESCAPE", "?")
    wait(lambda: find(page, "#help")[0].is_displayed())


def test_a_comparison_shows_the_settings_that_differ(page: Any) -> None:
    ids = page.execute_script(
        "return gallery.entries.filter((each) => each.prompt.includes('snow')).map((each) => each.id)"
    )
    page.execute_script("location.hash = 'compare=' + arguments[0].join(',')", ids)
    wait(lambda: find(page, "#comparison tbody tr"))
    rows = {row.text.split("\n")[0].split(" a ")[0] for row in find(page, "#comparison tbody tr")}
    assert {each.split(" ")[0] for each in rows} >= {"prompt", "seed", "strength", "lora"}
    assert "steps" not in texts(page, "#comparison tbody th")
    assert sorted(texts(page, "#comparison mark")) == ["blue", "red"]
    find(page, "#all-settings")[0].click()
    assert "steps" in texts(page, "#comparison tbody th")
    find(page, "#comparison .actions button")[0].click()
    assert "zoomed" in find(page, "#comparison")[0].get_attribute("class")


@pytest.mark.parametrize("has_clipboard", [True, False])
def test_commands_are_copied_also_without_permission(page: Any, has_clipboard: bool) -> None:
    from selenium.webdriver import ActionChains, Keys

    if not has_clipboard:
        page.execute_script("navigator.clipboard.writeText = () => Promise.reject(new Error('denied'))")
    open_image(page, "car.png")
    find(page, "#viewer .command button")[1].click()
    wait(lambda: texts(page, "#viewer .message") == ["Copied."])
    press(page, "ESCAPE")
    wait(lambda: page.execute_script("return !viewer.open && document.activeElement.className === 'cell'"))
    press(page, "/")
    ActionChains(page).key_down(Keys.CONTROL).send_keys("v").key_up(Keys.CONTROL).perform()
    pasted = find(page, "#search")[0].get_attribute("value")
    assert pasted.startswith("artgen txt2img 'a car' --negative-prompt snow --steps 20 --model sdxl")


def test_the_lineage_contains_parents_and_children(page: Any, folder: Path) -> None:
    open_image(page, "blue.png")
    tree = texts(page, "#viewer .tree .relative")
    assert tree == ["txt2img a red fox, in the snow", "img2img a blue fox, in the snow", "outpaint a wide fox"]
    assert texts(page, "#viewer [aria-current]") == [tree[1]]
    find(page, "#viewer .tree .relative")[2].click()
    wait(lambda: texts(page, "#viewer-name") == ["wide.png"])
    address = page.current_url
    wait(lambda: page.execute_script("return document.querySelector('.picture img')?.src.includes('/in/wide.png')"))
    open_page(page, folder, f"#{address.split('#')[1]}")
    wait(lambda: texts(page, "#viewer-name") == ["wide.png"])
    page.back()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_have_contrast_and_elements_have_names(page: Any, scheme: str) -> None:
    set_media(page, prefers_color_scheme=scheme, prefers_reduced_motion="reduce")
    find(page, "#show-filters")[0].click()
    low = [each for each in page.execute_script(CONTRAST, "header *, #tray *") if each[0] < 4.5]
    page.execute_script("gallery.selected = gallery.entries.slice(0, 3); gallery.showSelected()")
    assert unnamed_elements(page) == []
    open_image(page, "blue.png")
    low += [each for each in page.execute_script(CONTRAST, "#viewer *") if each[0] < 4.5]
    assert unnamed_elements(page) == []
    press(page, "ESCAPE", "c")
    wait(lambda: find(page, "#comparison tbody tr"))
    low += [each for each in page.execute_script(CONTRAST, "#comparison *") if each[0] < 4.5]
    assert low == []
    background = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(247, 245, 242)") == (scheme == "light")


def test_the_page_fits_a_narrow_window(page: Any) -> None:
    set_size(page, 400, 800)
    try:
        wait(lambda: page.execute_script("return document.documentElement.clientWidth") == 400)
        page.execute_script("gallery.selected = gallery.entries.slice(0, 4); gallery.showSelected()")
        for action in ("", "gallery.showImage(gallery.entries[2])"):
            page.execute_script(action)
            assert page.execute_script("return document.documentElement.scrollWidth") == 400
            rights = (
                "return [...document.querySelectorAll('#viewer *')].map((each) => each.getBoundingClientRect().right)"
            )
            assert max(page.execute_script(rights), default=0) <= 400
    finally:
        set_size(page, 1200, 800)


def test_only_visible_images_of_a_large_gallery_exist(page: Any) -> None:
    page.execute_script(
        "const one = gallery.entries[0];"
        "const copy = (_, number) => ({...one, prompt: `${number}`, aspect: 0.5 + (number % 7) / 4});"
        "gallery.showEntries(Array.from({length: 10000}, copy))"
    )
    wait(lambda: 20 < len(find(page, ".cell")) < 200)
    page.execute_script("gallery.activate(0)")
    press(page, "END")
    assert page.execute_script("return document.activeElement.querySelector('img').alt") == "9999"
    assert len(find(page, ".cell")) < 200
    page.execute_script("window.scrollTo(0, 0)")
    wait(lambda: page.execute_script("return document.querySelector('.row[aria-rowindex=\"1\"]')"))
    press(page, "ARROW_LEFT")
    assert page.execute_script("return document.activeElement.querySelector('img').alt") == "9998"
    page.execute_script("gallery.showEntries([...gallery.shown])")  # more images were loaded
    assert page.execute_script("return document.activeElement.querySelector('img').alt") == "9998"


def test_the_live_page_shows_the_history(page: Any, folder: Path) -> None:
    import uvicorn
    from starlette.applications import Starlette

    from artgen.gallery_site.scan_files import scan_image
    from artgen.image_history.database import open_history
    from artgen.server.live_gallery import gallery_routes

    with open_history(folder / "history.sqlite") as history:
        for path in sorted((folder / "in").glob("*.png")):
            scanned = scan_image(path)
            history.add(scanned.entry, path.stat().st_size, scanned.thumbnail)
        server = uvicorn.Server(
            uvicorn.Config(Starlette(routes=gallery_routes(lambda: history)), port=0, log_level="error")
        )
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait(lambda: server.started)
            port = server.servers[0].sockets[0].getsockname()[1]
            page.get(f"http://127.0.0.1:{port}/#q=fox")
            wait(lambda: page.execute_script("return performance.getEntriesByName('complete').length"))
            assert names(page) == ["hostile.png", "wide.png", "blue.png", "fox #1.png"]
            open_image(page, "blue.png")
            assert len(texts(page, "#viewer .tree .relative")) == 3
            assert texts(page, "#viewer .command code")[0].startswith("artgen replay history:")
            wait(lambda: page.execute_script("return document.querySelector('.picture img').naturalWidth") == 96)
            assert not find(page, "form:not([method=dialog])")
        finally:
            page.get("about:blank")
            server.should_exit = True
            thread.join(SECONDS)
