"""The structure of the code: imports go down only and without cycles, and migrations have descriptive names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
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
SETTINGS_MODULE = ROOT / "relivchats" / "settings.py"


def modules(package: str) -> Iterator[Path]:
    return (path for path in (ROOT / package).rglob("*.py"))


def imported_packages(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & set(MAY_IMPORT)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down_only(package: str) -> None:
    upward = {
        str(path.relative_to(ROOT)): sorted(up)
        for path in modules(package)
        if path != SETTINGS_MODULE and (up := imported_packages(path.read_text()) - MAY_IMPORT[package])
    }
    assert upward == {}


def test_an_upward_import_is_found() -> None:
    assert imported_packages("def f():\n    from insights.models import Insight\n") == {"insights"}


PURE = sorted(path for package in ("exports", "statistics") for path in (ROOT / "chats" / package).rglob("*.py"))
_IMPURE_MODULES = (
    "django",
    "rest_framework",
    "celery",
    "time",
    "random",
    "secrets",
    "socket",
    "subprocess",
    "tempfile",
)
_CLOCK_METHODS = {"now", "utcnow", "today"}


def impurities(source: str) -> set[str]:
    """Return the imports and calls by which a module could reach Django, the database, the network or the clock."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "chats":
            names = [f"chats.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Attribute) and node.attr in _CLOCK_METHODS:
            found.add(f".{node.attr}")
        for name in names:
            own = name.startswith("chats.") and not name.startswith(("chats.exports", "chats.statistics"))
            if name.split(".")[0] in _IMPURE_MODULES or own:
                found.add(name)
    return found


@pytest.mark.parametrize("path", PURE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_reading_and_counting_an_export_are_pure(path: Path) -> None:
    """They take values and return values: no Django, no database, no clock, no other module of chats."""
    assert impurities(path.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "from django.db import models",
        "from chats import models",
        "def f():\n    from chats.models import Chat\n",
        "import time",
        "today = datetime.now(UTC)",
    ],
)
def test_an_impure_module_is_found(source: str) -> None:
    assert impurities(source)


def import_cycles(imports: dict[str, set[str]] | None = None) -> list[list[str]]:
    """Return the import cycles between modules, each as the path from a module to itself.

    `imports` maps a module to the modules that it imports; by default, the imports of the whole product, including
    those inside functions, without those for type checking only.
    """
    if imports is None:
        graph = grimp.build_graph(*MAY_IMPORT, exclude_type_checking_imports=True, cache_dir=None)
        imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    imports, cycles = dict(imports), []
    while True:
        try:
            TopologicalSorter(imports).prepare()
        except CycleError as error:
            # A path lists each module after one of its importers. Without its first import, the next cycle is found.
            path = error.args[1]
            cycles.append(path)
            imports[path[1]] = imports[path[1]] - {path[0]}
        else:
            return cycles


def test_there_are_no_import_cycles() -> None:
    assert import_cycles() == []


def test_an_import_cycle_is_found() -> None:
    cycles = import_cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert [set(cycle) for cycle in cycles] == [{"a", "b", "c"}]


def test_no_migration_has_an_automatic_name() -> None:
    automatic = [
        path.name
        for path in ROOT.glob("**/migrations/0*.py")
        if ".venv" not in path.parts and re.search(r"_(initial|auto_|alter_|add_|remove_)", path.name)
    ]
    assert automatic == []
