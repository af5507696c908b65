"""`manage.py token`: issue, list and revoke API tokens."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken, User
from relivchats.staff.bulk_actions import run_batch
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report, Table


class Command(OpsCommand):
    """Print a new token, or list or revoke the tokens of a user."""

    help = (
        "Print a new API token for this user, alone on one line; create the user if there is none."
        " With an option, list or revoke the user's tokens instead."
        " Example: manage.py token ann@example.org --list"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the e-mail address and the options, of which one may be given."""
        parser.add_argument("email")
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--list", action="store_true", dest="listing", help="list the user's tokens")
        choice.add_argument("--revoke", metavar="ID", type=int, help="revoke the token with this id of the list")
        choice.add_argument("--revoke-all", action="store_true", help="revoke all tokens of the user")
        parser.add_argument("--reason", default="", help="why the token is revoked, for the audit log")

    def report(
        self, *, email: str, listing: bool, revoke: int | None, revoke_all: bool, reason: str, **options: Any
    ) -> Report:
        """Return the token, the list or what was revoked. Raise CommandError if the address or token does not exist."""
        email = email.strip().lower()
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError("That is not an e-mail address. Write it like ann@example.org.") from None
        if not (listing or revoke_all or revoke is not None):
            with transaction.atomic():
                user = User.objects.filter(email=email).first() or User.objects.create_user(email)
                token = tokens.issue(user)
            # The token alone is the text, so that a shell can assign it.
            return Report(token, data={"token": token})
        if not User.objects.filter(email=email).exists():
            raise CommandError("There is no user with this e-mail address.")
        rows = AccessToken.objects.filter(user__email=email).order_by("pk")
        if listing:
            cells = tuple((token.pk, token.created_at, token.revoked_at) for token in rows)
            return Report("Tokens", table=Table(("id", "created", "revoked"), cells))
        rows = rows.filter(revoked_at=None) if revoke is None else rows.filter(pk=revoke)
        if revoke is not None and not rows.exists():
            raise CommandError(f"This user has no token {revoke}. --list shows the ids.")
        batch = run_batch("revoke token", rows, tokens.revoke, context=self.context(reason))
        if batch.refused:
            raise CommandError(batch.listed[0].outcome)
        return Report(f"{batch.done} revoked", data={"revoked": batch.done})
