"""Password checks. Failed attempts are limited per account and per address, over all processes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest, HttpResponse

from relivchats import error_events
from relivchats.accounts.models import User
from relivchats.throttling import Limit, TooManyRequests, client_address

logger = logging.getLogger(__name__)

FAILURE_WINDOW_SECONDS = 300
PER_ACCOUNT = Limit("login-account", "LOGIN_FAILURES_PER_ACCOUNT", FAILURE_WINDOW_SECONDS)
PER_ADDRESS = Limit("login-address", "LOGIN_FAILURES_PER_ADDRESS", FAILURE_WINDOW_SECONDS)


class Attempt:
    """One password check. Set `succeeded` if the password was right."""

    succeeded = False


@contextmanager
def attempt(email: str, request: HttpRequest | None) -> Iterator[Attempt]:
    """Count a password check for the block. Raise TooManyRequests if the account or the address has failed too often.

    The attempt is counted before the check and taken back if it succeeds. Counting failures afterwards would let
    parallel requests all pass before the first of them is counted. An unknown account is counted as well: otherwise
    the response would tell which accounts exist.
    """
    subjects = [(PER_ACCOUNT, email.strip().lower())]
    if request is not None:
        subjects.append((PER_ADDRESS, client_address(request)))
    counted = []
    for limit, subject in subjects:
        if (window := limit.hit(subject)) is None:
            continue
        if window.exceeded:
            if window.is_first_refusal:
                # Once per window: somebody who guesses must not fill the table of events.
                account = User.objects.filter(email=email.strip().lower()).values_list("pk", flat=True).first()
                extra = {"user": account, "reason": limit.name, error_events.REFUSAL: True}
                logger.info("logins refused", extra=extra)
            raise TooManyRequests(
                f"There were too many failed logins. Try again in {window.reset_seconds} s.",
                retry_after_seconds=window.reset_seconds,
            )
        counted.append((limit, window))
    this = Attempt()
    failed = False
    try:
        yield this
        failed = not this.succeeded
    finally:
        # An error, such as a database that is down, says nothing about the password.
        if not failed:
            for limit, window in counted:
                limit.undo(window)


class PasswordBackend(ModelBackend):
    """Django's check of e-mail address and password, with limits on failures."""

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the user, or None if the password is wrong. Raise TooManyRequests."""
        email = kwargs.get(User.USERNAME_FIELD) if username is None else username
        if email is None or password is None:
            return None
        with attempt(email, request) as this:
            user = super().authenticate(request, username=email, password=password)
            this.succeeded = user is not None
        return user


def is_controlled_by(account: UUID, person: UUID) -> bool:
    """Return whether the person set the account's password, or that of somebody who did.

    A change of the own password does not end this: somebody who knows the first password may have made the change.
    """
    seen: set[UUID] = set()
    setter: UUID | None = account
    while setter is not None and setter not in seen:
        seen.add(setter)
        setter = User.objects.filter(pk=setter).values_list("password_set_by", flat=True).first()
        if setter == person:
            return True
    return False


def change_own_password(request: HttpRequest) -> HttpResponse:
    """Return the admin's page for a new password. It checks the old one, so its failures are limited too."""
    if request.method != "POST" or not isinstance(request.user, User):
        return admin.site.password_change(request)
    with attempt(request.user.email or str(request.user.pk), request) as this:
        response = admin.site.password_change(request)
        this.succeeded = response.status_code == HTTPStatus.FOUND
    return response
