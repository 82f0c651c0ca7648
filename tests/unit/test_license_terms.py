"""Test the terms of licenses, and the note about models that are not for commercial use."""

import dataclasses
import json
from pathlib import Path

import pytest
from helpers import command_line

from artgen.jobs.license_notes import license_notes
from artgen.jobs.prepare import prepare_jobs
from artgen.registry.catalog import builtin_models
from artgen.registry.license_terms import license_terms
from artgen.registry.model_license import license_of_card
from artgen.spec.requests import Txt2Img


@pytest.mark.parametrize(
    ("name", "commercial", "share_alike"),
    [
        ("Apache-2.0", "yes", False),
        ("mit", "yes", False),
        ("CreativeML Open RAIL++-M", "yes", False),
        ("openrail", "yes", False),
        ("GPL-3.0", "yes", True),
        ("Fair AI Public License 1.0-SD", "yes", True),
        ("cc-by-sa-4.0", "yes", True),
        ("CC-BY-NC-4.0 (see the model card)", "no", False),
        ("cc-by-nc-sa-4.0", "no", True),
        ("flux-1-dev-non-commercial-license", "no", None),
        ("Stability AI Non-Commercial Community", "no", None),
        ("Qwen Research License (non-commercial)", "no", None),
        ("CC BY 4.0", "yes", False),
        ("CC BY NC 4.0", "no", False),
        ("Creative Commons Attribution NonCommercial ShareAlike 4.0", "no", True),
        ("Creative Commons Attribution-ShareAlike 4.0", "yes", True),
        ("Non Commercial", "no", None),
        ("some_non_commercial_license", "no", None),
        ("sai-nc-community", "no", None),
        ("stabilityai-nc-research-community", "no", None),
        ("Playground v2.5 Community", "limited", None),
        ("Krea 2 Community", "limited", None),
        ("Stability AI Community", "limited", None),
        ("stabilityai-ai-community", "limited", None),
        ("Tencent Hunyuan Community", "limited", None),
        ("Civitai (commercial use: no)", "no", False),
        ("Civitai (commercial use: Image, Sell; derivatives: same permissions)", "yes", True),
        ("Civitai (commercial use: Image)", "limited", False),
        ("Civitai (commercial use: unknown)", "unknown", False),
        ("see the model card", "unknown", None),
        ("a license that nobody knows", "unknown", None),
        ("", "unknown", None),
    ],
)
def test_terms_of_known_licenses(name: str, commercial: str, share_alike: bool | None) -> None:
    terms = license_terms(name)
    assert (terms.commercial_use, terms.share_alike) == (commercial, share_alike)


def test_licenses_of_the_catalog_have_terms_unless_they_are_not_stated() -> None:
    unknown = {
        info.license for info in builtin_models().values() if license_terms(info.license).commercial_use == "unknown"
    }
    assert unknown <= {"see the model card"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("---\nlicense: cc-by-nc-4.0\ntags:\n- a\n---\n# Model\nlicense: mit\n", "cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: 'flux-1-dev'\n---\n", "flux-1-dev"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("# Model\nlicense: mit\n", ""),
        ("", ""),
    ],
)
def test_the_license_of_a_card_is_in_its_header(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(text.encode())
    assert license_of_card(tmp_path) == expected


def test_one_note_names_all_models_that_are_not_for_commercial_use() -> None:
    job = prepare_jobs([Txt2Img(prompt="x", model="tiny")])[0]
    assert license_notes([job, job]) == []
    limited = dataclasses.replace(job, model=dataclasses.replace(job.model, name="m", license="CC-BY-NC-4.0"))  # type: ignore[attr-defined]
    expected = "The license does not allow commercial use: model 'm' (CC-BY-NC-4.0)."
    assert license_notes([limited, job, limited]) == [expected]


def test_models_show_prints_the_terms_in_one_line() -> None:
    line = "commercial use: no; share-alike: unknown; gated: yes"
    assert f"license terms: {line}\n" in command_line.run("models", "show", "flux-dev").stdout
    assert json.loads(command_line.run("models", "show", "flux-dev", "--json").stdout)["license_terms"] == line
