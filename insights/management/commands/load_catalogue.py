"""`manage.py load_catalogue`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from insights import catalogue


class Command(BaseCommand):
    """Load the catalogue into the database."""

    help = "Load the categories and insight types of insights/catalogue. Rows that staff edited stay unchanged."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the number of rows by result, and the rows that staff edited."""
        try:
            result = catalogue.load()
        except ValueError as error:
            raise CommandError(f"The catalogue cannot be loaded. {error}") from error
        self.stdout.write(f"Catalogue: {result}.")
        for kept in result.kept:
            self.stdout.write(f"{kept} was edited in the admin and stays unchanged.")
