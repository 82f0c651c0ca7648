"""Check the metadata of the package, as a package index shows it."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
ADDRESS = re.compile(
    r"https://(?:github\.com/artgen/artgen/blob|raw\.githubusercontent\.com/artgen/artgen)/main/([^#]+)"
)


def readme_of_the_package() -> str:
    """Return README with the substitutions of `hatch-fancy-pypi-readme`."""
    text = (ROOT / "README.md").read_text("utf-8")
    for each in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    return text


def test_links_and_images_are_complete_addresses_of_existing_files() -> None:
    targets = re.findall(r"\]\(([^)#]+)", readme_of_the_package())
    assert targets
    own = [match for target in targets if (match := ADDRESS.fullmatch(target))]
    assert len(own) >= 20
    assert all((ROOT / match[1]).exists() for match in own)
    assert not [target for target in targets if not target.startswith("https://")]
    images = re.findall(r"!\[[^\]]*\]\(([^)]+)", readme_of_the_package())
    assert images
    assert all(image.startswith("https://raw.githubusercontent.com/") for image in images)


def test_the_package_has_addresses() -> None:
    assert {"Homepage", "Documentation", "Changelog", "Source", "Issues"} <= PROJECT["project"]["urls"].keys()


def test_extras_of_the_tests_contain_all_extras_that_run_on_a_cpu() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    tested = set(re.search(r"\[(.+)\]", extras["test"][0])[1].split(","))  # type: ignore[index]
    assert extras.keys() - {"nf4", "test", "dev"} == tested
