"""What users install is written down, allowed, and looked up; each of the three can fail."""

from __future__ import annotations

import json
import re
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.supply_chain import audit, licences
from tests.supply_chain.sbom import LOCK, bill, locked, main

ROOT = Path(__file__).resolve().parents[1]


def test_the_bill_has_every_package_of_the_lock_with_its_hashes_and_who_needs_it(tmp_path: Path) -> None:
    main(tmp_path / "build" / "sbom.cdx.json")
    found = json.loads((tmp_path / "build" / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", found["serialNumber"])
    lines = re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(one["name"], one["version"]) for one in found["components"]] == lines
    hashes = [one["content"] for part in found["components"] for one in part["externalReferences"][0]["hashes"]]
    assert len(hashes) == LOCK.read_text(encoding="utf-8").count("--hash=sha256:")
    refs = {found["metadata"]["component"]["bom-ref"], *(one["bom-ref"] for one in found["components"])}
    assert {one["ref"] for one in found["dependencies"]} == refs
    needed = {ref for one in found["dependencies"] for ref in one["dependsOn"]}
    assert needed == refs - {found["metadata"]["component"]["bom-ref"]}
    direct = next(one["dependsOn"] for one in found["dependencies"] if one["ref"].startswith("pkg:pypi/medres@"))
    declared = re.search(r"^dependencies = \[(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)
    assert declared
    assert len({ref.partition("@")[0] for ref in direct}) == declared[1].count(">=")


def test_a_lock_that_is_not_understood_is_an_error_and_not_half_a_bill() -> None:
    with pytest.raises(ValueError, match="no package, hash or comment"):
        locked("-e .\n")
    with pytest.raises(KeyError):
        bill(locked("a==1 \\\n    --hash=sha256:00\n    # via nobody-here\n"))


def test_what_users_install_is_under_no_gpl() -> None:
    assert licences.main() == 0
    assert {"torch", "monai", "pydicom", "streamlit"} <= set(licences.installed("medres"))
    assert "pytest" not in licences.installed("medres", licences.EXTRAS)
    assert all(len(reason) > 20 for reason in licences.EXPLAINED.values())


@pytest.mark.parametrize(
    ("said", "complains"),
    [
        ({"License-Expression": "GPL-3.0-only"}, True),
        ({"Classifier": "License :: OSI Approved :: GNU Affero General Public License v3"}, True),
        ({"License": "GPLv3+"}, True),
        ({}, True),
        ({"License-Expression": "MIT OR GPL-2.0-or-later"}, False),
        ({"Classifier": "License :: OSI Approved :: GNU Library or Lesser General Public License (LGPL)"}, False),
        ({"License": "Some terms\n" * 30}, False),
    ],
)
def test_a_licence_that_is_refused_or_missing_is_named(said: dict[str, str], complains: bool) -> None:
    told = Message()
    for name, value in {"Name": "Some_Package", **said}.items():
        told[name] = value
    found = licences.licence(SimpleNamespace(metadata=told))  # type: ignore[arg-type]
    assert found.package == "some-package"
    assert bool(found.complaint) == complains


WEAK = {"name": "pillow", "version": "1", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["2"]}]}


def test_a_known_weakness_fails_unless_it_is_accepted() -> None:
    output = json.dumps({"dependencies": [WEAK, {"name": "click", "version": "8", "vulns": []}], "fixes": []})
    assert audit.judged(output, {}) == ["pillow 1: PYSEC-1, mended in 2"]
    assert audit.judged(output, {"CVE-1": "not used"}) == []
    assert all(len(reason) > 20 for reason in audit.ACCEPTED.values())


@pytest.mark.parametrize("output", ["", "Traceback …", "[]", '{"errors": 1}'])
def test_a_database_that_cannot_be_asked_is_said_and_fails_nothing(
    output: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.judged(output, {}) is None
    silent = tmp_path / "python"
    silent.write_text("#!/bin/sh\necho 'ConnectionError: nobody there' >&2\nexit 1\n", encoding="utf-8")
    silent.chmod(0o755)
    assert audit.main(str(silent)) == 0
    assert "not looked for" in capsys.readouterr().out


def test_ci_asks_all_three() -> None:
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for name in ("sbom", "licences", "audit"):
        assert f"python -m tests.supply_chain.{name}" in steps
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "/build/" in ignored


def test_what_a_weakness_looks_like_ends_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loud: Any = tmp_path / "python"
    loud.write_text(f"#!/bin/sh\necho '{json.dumps({'dependencies': [WEAK]})}'\nexit 1\n", encoding="utf-8")
    loud.chmod(0o755)
    assert audit.main(str(loud)) == 1
    assert "PYSEC-1" in capsys.readouterr().out
