"""Limits per user, by settings: what each limit is, and how much of it a user uses. `GET /api/me` shows them.

Each app registers its own limits. They are checked where something is stored, with the user locked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from relivchats.accounts.models import User
from relivchats.errors import AccountDeleted, Conflict


class LimitReached(Conflict):
    """The user has as much as one user may have (409). `limit` is its name in `GET /api/me`. Nothing was lost."""

    title = "You have reached a limit"


@dataclass(frozen=True)
class UserLimit:
    """At most `settings.<setting>` × `unit` for each user; any number if the setting is 0.

    `count_used` returns how much of it a user uses, in the same unit as `allowed`.
    """

    name: str
    setting: str
    count_used: Callable[[User], int]
    unit: int = 1

    @property
    def allowed(self) -> int | None:
        """The limit, or None if there is none."""
        return getattr(settings, self.setting) * self.unit or None


_limits: dict[str, UserLimit] = {}


def register(limit: UserLimit) -> UserLimit:
    """Show the limit to users, and return it."""
    _limits[limit.name] = limit
    return limit


def describe(user: User) -> dict[str, dict[str, int | None]]:
    """Return `limit` (None: no limit) and `used` of each limit by its name."""
    return {name: {"limit": each.allowed, "used": each.count_used(user)} for name, each in sorted(_limits.items())}


def lock(user: User) -> None:
    """Lock the user until the transaction ends, so that two requests cannot pass a limit together.

    The lock comes after that of a chat and before all others. Raise AccountDeleted if there is no such user any more.
    """
    # NO KEY UPDATE: rows that refer to the user take a KEY SHARE lock, which FOR UPDATE would block.
    if not User.objects.select_for_update(no_key=True).filter(pk=user.pk).values_list("pk"):
        raise AccountDeleted("This account was deleted, so nothing more can be stored in it.")
