from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import validate_email
from django.db import transaction

from relivchats.accounts import tokens
from relivchats.accounts.models import User


class Command(BaseCommand):
    help = "Print a new API token for this person, alone on one line. Makes the person if they are new."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")

    @transaction.atomic
    def handle(self, *, email: str, **options: Any) -> str:
        email = email.strip().lower()
        try:
            validate_email(email)
        except ValidationError:
            raise CommandError("That is not an e-mail address. Write it like ann@example.org.") from None
        user = User.objects.filter(email=email).first() or User.objects.create_user(email)
        return tokens.issue(user)
