"""The house: imports point down only, and every model and migration has a name and a face."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAY_IMPORT = {
    "relivchats": {"relivchats"},
    "chats": {"chats", "relivchats"},
    "billing": {"billing", "relivchats"},
    "insights": {"insights", "chats", "billing", "relivchats"},
    "ops": {"ops", "insights", "chats", "billing", "relivchats"},
}
#: The settings import the registries whose names are valid values.
READS_REGISTRIES = ROOT / "relivchats" / "settings.py"


def modules(room: str) -> Iterator[Path]:
    return (path for path in (ROOT / room).rglob("*.py"))


def imported_rooms(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & set(MAY_IMPORT)


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_point_down_only(room: str) -> None:
    upward = {
        str(path.relative_to(ROOT)): sorted(up)
        for path in modules(room)
        if path != READS_REGISTRIES and (up := imported_rooms(path.read_text()) - MAY_IMPORT[room])
    }
    assert upward == {}


def test_an_arrow_that_runs_up_would_be_seen() -> None:
    assert imported_rooms("def f():\n    from insights.models import Insight\n") == {"insights"}


@pytest.mark.parametrize("module", ["intake", "whatsapp", "parsed", "dialect", "dates"])
def test_reading_an_export_is_pure(module: str) -> None:
    source = (ROOT / "chats" / "exports" / f"{module}.py").read_text()
    assert not re.search(r"^\s*(from|import) (django|time\b|chats\.models)", source, re.MULTILINE)


def test_no_migration_has_an_automatic_name() -> None:
    automatic = [
        path.name
        for path in ROOT.glob("**/migrations/0*.py")
        if ".venv" not in path.parts and re.search(r"_(initial|auto_|alter_|add_|remove_)", path.name)
    ]
    assert automatic == []
