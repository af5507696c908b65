"""The supply chain: packages, their licences, and what the scanners of ./dev lint find."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests import dependencies
from tests.dependencies import ELSEWHERE
from tests.processes import REPOSITORY
from tests.stack.test_dev import dev

RULES: Mapping[str, Any] = {
    "allowed": ["MIT", "Apache-2.0"],
    "exceptions": {"lesser": {"licences": ["LGPL-3.0-only"], "reason": "a library"}},
}


@pytest.mark.parametrize("licence", ["MIT", "MIT OR Apache-2.0", "(MIT AND Apache-2.0)", "Apache-2.0; MIT"])
def test_a_licence_that_is_allowed_passes(licence: str) -> None:
    assert dependencies.find_refusals({"one": licence, "lesser": "LGPL-3.0-only"}, RULES) == []


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "MIT AND AGPL-3.0-only", "MIT OR GPL-2.0", "MIT; GPL", "UNKNOWN"])
def test_a_licence_that_is_not_allowed_is_refused(licence: str) -> None:
    (refusal,) = dependencies.find_refusals({"one": licence, "lesser": "LGPL-3.0-only"}, RULES)
    assert refusal.startswith("one is under ")
    assert refusal.endswith(", which is not allowed.")


@pytest.mark.parametrize(
    ("licences", "refusal"),
    [
        ({"lesser": "GPL-3.0-only"}, "lesser is under GPL-3.0-only, which is not allowed."),
        ({"lesser": "MIT"}, "lesser needs no exception: MIT is allowed."),
        ({}, "lesser needs no exception: it is not installed."),
    ],
)
def test_an_exception_is_for_one_package_and_one_licence(licences: dict[str, str], refusal: str) -> None:
    assert dependencies.find_refusals(licences, RULES) == [refusal]


def test_every_exception_has_a_reason() -> None:
    exceptions = dependencies.PYPROJECT["tool"]["licences"]["exceptions"]
    assert all(exception["reason"] for exception in exceptions.values())


@pytest.mark.slow
def test_the_bill_of_materials_lists_each_locked_package_with_hashes_and_licence(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    status, output, errors = dev("sbom", str(file))
    assert (status, output, errors) == (0, "", "")
    document = json.loads(file.read_text())
    packages = {dependencies.normalize(component["name"]): component for component in document["components"]}
    assert sorted(packages) == dependencies.locked_packages()
    for name, package in packages.items():
        assert package["externalReferences"][0]["hashes"], name
    unlicensed = {name for name, package in packages.items() if not package.get("licenses")}
    assert unlicensed == {name for name, licence in dependencies.find_licences().items() if licence == ELSEWHERE}
    (ours,) = (row["dependsOn"] for row in document["dependencies"] if row["ref"] == "root-component")
    assert packages["django"]["purl"] in ours
    assert packages["sqlparse"]["purl"] not in ours, "Django needs it"


@pytest.mark.slow
def test_the_licence_of_every_package_is_allowed() -> None:
    status, output, errors = dev("licences")
    assert (status, errors) == (0, "")
    assert len(output.splitlines()) == len(dependencies.locked_packages())


def test_the_scanner_of_lint_finds_a_shell_and_a_weak_hash(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("import hashlib, subprocess\nsubprocess.run(input(), shell=True)\nhashlib.md5(b'')\n")
    command = [sys.executable, "-m", "bandit", "--quiet", "--configfile", "pyproject.toml", str(bad)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert all(check in done.stdout for check in ("B602", "B324"))
