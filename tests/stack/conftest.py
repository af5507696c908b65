"""The stacks that the rehearsals of failures share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stack.installed import Installed
from tests.stack.rehearsal import Rehearsal


@pytest.fixture(scope="package")
def _rehearsals() -> Iterator[list[Rehearsal]]:
    """The stacks of the rehearsals, of which the last one runs."""
    stacks: list[Rehearsal] = []
    yield stacks
    for stack in stacks[-1:]:
        stack.stop()


@pytest.fixture
def rehearsal(_rehearsals: list[Rehearsal], tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """One stack for all rehearsals: each calls `expect_fine` at its end. After one that did not, another stack."""
    if _rehearsals and _rehearsals[-1].process.poll() is None and not _rehearsals[-1].is_fine:
        _rehearsals[-1].stop()
    if not _rehearsals or _rehearsals[-1].process.poll() is not None:
        _rehearsals.append(Rehearsal(tmp_path_factory.mktemp("rehearsal") / "data"))
        _rehearsals[-1].wait_until_ready()
        _rehearsals[-1].log_in()
    _rehearsals[-1].is_fine = False
    return _rehearsals[-1]


@pytest.fixture(scope="package")
def _installations() -> Iterator[list[Installed]]:
    """The stacks with providers, of which the last one runs."""
    stacks: list[Installed] = []
    yield stacks
    for stack in stacks[-1:]:
        stack.stop()


@pytest.fixture
def installed(_installations: list[Installed], tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """One stack with a model, Qdrant and a customer, in the same way."""
    if _installations and not _installations[-1].is_fine:
        _installations.pop().stop()
    if not _installations:
        _installations.append(Installed(tmp_path_factory.mktemp("installed") / "data"))
        _installations[-1].wait_until_ready()
        _installations[-1].log_in()
    _installations[-1].is_fine = False
    return _installations[-1]
