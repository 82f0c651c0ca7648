"""Test that the tests of this folder do not import torch."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

LIST_TESTS = """
import sys, pytest
status = pytest.main(["--collect-only", "-qq", "-p", "no:cacheprovider", sys.argv[1]])
print("STATUS", int(status), sorted({"torch", "diffusers", "transformers"} & set(sys.modules)))
"""


def test_unit_tests_are_collected_without_torch() -> None:
    folder = Path(__file__).parent
    completed = subprocess.run(
        [sys.executable, "-c", LIST_TESTS, str(folder)],
        cwd=folder.parents[1], capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert completed.stdout.endswith("STATUS 0 []\n"), completed.stdout[-2000:] + completed.stderr


@pytest.mark.parametrize("name", ["torch", "diffusers", "transformers"])
def test_import_of_torch_in_a_unit_test_fails(name: str) -> None:
    with pytest.raises(AssertionError, match=f"a test in tests/unit imports {name}"):
        importlib.import_module(name)
