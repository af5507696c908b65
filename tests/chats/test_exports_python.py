"""Exports are read the same by every Python 3.11 and later.

Python before 3.11.5 matches a possessive repetition of a group wrongly
(https://github.com/python/cpython/issues/106052): with it, no export can be read on Debian 12, which has 3.11.2.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A group, or an operand that another literal or an argument supplies, with `*+`, `++`, `?+` or `{…}+` after it.
POSSESSIVE_GROUP = re.compile(r"(?:(?<!\\)\)|%[bs]|^)(?:[*+?]|\{[^{}]*\})\+")
POSSESSIVE = re.compile(r"[*+?}]\+")
TESTS = ("dialects", "platforms")
TIMEOUT_SECONDS = 300


def literals(source: str) -> Iterator[str]:
    # Parsing every file would take seconds.
    if not POSSESSIVE.search(source):
        return
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
            yield node.value if isinstance(node.value, str) else node.value.decode("latin-1")


def test_no_pattern_repeats_a_group_possessively() -> None:
    folders = ("relivchats", "chats", "billing", "insights", "ops", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if path != Path(__file__)]
    found = {
        f"{path.relative_to(ROOT)}: {literal}"
        for path in paths
        for literal in literals(path.read_text(encoding="utf-8"))
        if POSSESSIVE_GROUP.search(literal)
    }
    assert len(paths) > 100
    assert found == set(), "write (?>(?:…)*) instead, or use chats/exports/patterns.py"


@pytest.mark.parametrize(
    "source",
    [
        "re.compile(r'(?:ab?c)*+')",
        "re.compile(r'(ab?c)++')",
        "re.compile(rb'(?:ab?c){0,3}+d')",
        "re.compile(rb'(?:%b)?+' % letters)",
        "letters + b'{%d,%d}+' % (1, 2)",
        "f'(?:{letters}){{0,3}}+'",
    ],
)
def test_a_possessive_repetition_of_a_group_would_be_found(source: str) -> None:
    assert any(map(POSSESSIVE_GROUP.search, literals(source)))


@pytest.mark.parametrize("source", [r"r'[^:\n]*+'", r"r'\s*+,'", r"r'\)++'", r"r'(?>(?:ab?c)*)'", "'a' + 'b'"])
def test_other_repetitions_are_allowed(source: str) -> None:
    assert not any(map(POSSESSIVE_GROUP.search, literals(source)))


def run(interpreter: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", PYTHONDONTWRITEBYTECODE="1")
    # The extension modules among the packages are built for one minor version.
    packages = sysconfig.get_path("purelib") if version(interpreter)[:2] == sys.version_info[:2] else ""
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), packages]))
    return subprocess.run(
        [interpreter, *arguments], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS
    )


def version(interpreter: str) -> tuple[int, ...]:
    """Return major, minor and patch; nothing if it is only the shim of a version manager."""
    code = "import sys; print(*sys.version_info[:3])"
    printed = subprocess.run([interpreter, "-c", code], capture_output=True, text=True).stdout
    return tuple(map(int, printed.split()))


def other_interpreters() -> list[str]:
    """Return the installed interpreters from 3.11 on whose version differs from this one's, one of each version."""
    names = ["/usr/bin/python3", "/usr/local/bin/python3", *(f"python3.{minor}" for minor in range(11, 16))]
    versions = {version(path): path for name in names if (path := shutil.which(name))}
    return [path for found, path in sorted(versions.items()) if (3, 11) <= found != sys.version_info[:3]]


def test_other_installed_pythons_read_exports_the_same() -> None:
    """Run the tests of reading, with their literal expectations, on each Python that has the packages."""
    able = [
        interpreter
        for interpreter in other_interpreters()
        if run(interpreter, "-c", "import chats.exports, chats.statistics, hypothesis, pytest").returncode == 0
    ]
    if not able:
        pytest.skip("no other Python from 3.11 on is installed that has the packages")
    files = [f"tests/chats/test_exports_{name}.py" for name in TESTS]
    # Without the plugin and the conftest, which start servers and need every package.
    options = ["--noconftest", "-c", os.devnull, "--rootdir", str(ROOT), "-p", "no:cacheprovider"]
    # Generated examples need the profile of the conftest.
    options += ["-p", "_hypothesis_pytestplugin", "-m", "not hypothesis", "-q"]
    for interpreter in able:
        finished = run(interpreter, "-m", "pytest", *options, *files)
        assert finished.returncode == 0, f"{interpreter} {version(interpreter)}\n{finished.stdout[-4000:]}"
