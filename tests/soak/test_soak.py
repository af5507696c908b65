"""A short soak test. The plan of its faults is always the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import REPOSITORY
from tests.soak.faults import plan

pytestmark = pytest.mark.soak


def test_a_minute_of_faults_violates_nothing(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--minutes", "1", "--seed", "7", "--json", str(report)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.soak", *options], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    found = json.loads(report.read_text())
    assert found["violations"] == []
    assert found["recovery"]["all"]["faults"] > 4
    assert found["rows"]["insights"]["completed"] > 0


def test_a_seed_determines_the_faults() -> None:
    def first(seed: int) -> list[object]:
        faults = plan("processes", seed=seed)
        return [next(faults) for _ in range(50)]

    assert first(1) == first(1)
    assert first(1) != first(2)
