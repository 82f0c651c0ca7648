"""Control Chromium without a window, for the tests of pages."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM, CHROMEDRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER), reason="chromium and chromedriver are not installed: apt install chromium-driver"
)

CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = (text) => {
  const linear = (value) => (value <= 10.31 ? value / 255 / 12.92 : ((value / 255 + .055) / 1.055) ** 2.4);
  const [r, g, b] = parse(text).slice(0, 3).map(linear);
  return .2126 * r + .7152 * g + .0722 * b;
};
const background = (element) => {
  for (let each = element; each; each = each.parentElement) {
    const color = getComputedStyle(each).backgroundColor;
    if (parse(color)[3] !== 0) return color;
  }
  return "rgb(255, 255, 255)";
};
const found = [];
for (const element of document.querySelectorAll(arguments[0])) {
  const isText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!isText || !element.checkVisibility() || element.disabled) continue;
  const [a, b] = [light(getComputedStyle(element).color), light(background(element))].sort((x, y) => y - x);
  found.push([(a + .05) / (b + .05), element.tagName + "." + element.className, element.textContent.slice(0, 30)]);
}
return found;
"""
"""Script that returns the contrast of each element with text below the selector: ratio, element, text."""

_NAMED_ROLES = {"button", "checkbox", "combobox", "dialog", "grid", "gridcell", "image", "link", "searchbox", "textbox"}


@contextmanager
def chromium(width: int = 1200, height: int = 800) -> Iterator[Any]:
    """Yield a WebDriver of a new browser with an empty profile."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"):
        options.add_argument(each)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service(str(CHROMEDRIVER)))
    try:
        set_size(driver, width, height)
        yield driver
    finally:
        driver.quit()


def set_size(driver: Any, width: int, height: int) -> None:
    """Set the size of the page in CSS pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def set_media(driver: Any, **features: str) -> None:
    """Set media features, such as `prefers_color_scheme="dark"`."""
    listed = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": listed})


def console_messages(driver: Any) -> list[str]:
    """Return the messages of the console since the last call: errors of scripts, and violations of the CSP."""
    return [each["message"] for each in driver.get_log("browser")]


def requested_addresses(driver: Any) -> list[str]:
    """Return the addresses that the page requested since the last call."""
    messages = [json.loads(each["message"])["message"] for each in driver.get_log("performance")]
    return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


def unnamed_elements(driver: Any) -> list[str]:
    """Return the roles of the elements without an accessible name that need one."""
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    shown = [each for each in nodes if not each.get("ignored") and each["role"]["value"] in _NAMED_ROLES]
    assert shown
    return [each["role"]["value"] for each in shown if not each.get("name", {}).get("value", "").strip()]
