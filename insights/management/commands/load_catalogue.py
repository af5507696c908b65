from typing import Any

from django.core.management.base import BaseCommand, CommandError

from insights import catalogue


class Command(BaseCommand):
    help = "Load the categories and insight types of insights/catalogue. What staff edited stays as it is."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            summary = catalogue.load()
        except ValueError as error:
            raise CommandError(f"The catalogue cannot be loaded. {error}") from error
        self.stdout.write(f"Catalogue: {summary}.")
        for kept in summary.kept:
            self.stdout.write(f"{kept} was edited in the admin and stays as it is.")
