"""The health checks. Every module of this package is imported, so that its `@health_check` functions are registered."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from ops.checks.registry import Check, registered_checks

#: Checks run, and are listed, in the order of these modules; the checks of any other module follow. The servers and
#: the machine come first because they answer even when the database hangs and every other check waits for it.
_FIRST_MODULES = ("servers", "machine", "ledger", "payments", "database", "processes", "work")

_other_modules = sorted({module.name for module in pkgutil.iter_modules(__path__)} - set(_FIRST_MODULES))
for _name in (*_FIRST_MODULES, *_other_modules):
    import_module(f"{__name__}.{_name}")

ALL: tuple[Check, ...] = tuple(check for check in registered_checks() if not check.verbose)

#: The checks that `health --verbose` adds.
VERBOSE: tuple[Check, ...] = tuple(check for check in registered_checks() if check.verbose)


def get_check(name: str) -> Check:
    """Return the check with this name. Raise KeyError if there is none."""
    return {check.name: check for check in registered_checks()}[name]
