"""`manage.py load_catalogue`."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser

from insights import catalogue
from insights.validation import InvalidData
from relivchats.staff.commands import OpsCommand
from relivchats.staff.reports import Report


class Command(OpsCommand):
    """Load the catalogue into the database."""

    help = (
        "Load the categories and insight types of insights/catalogue. Rows that staff edited stay unchanged."
        " Example: manage.py load_catalogue --dry-run"
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the options that overwrite edits of staff, and that only show what would change."""
        parser.add_argument(
            "--overwrite",
            nargs="+",
            metavar="ID",
            default=[],
            help="replace what staff edited in these rows; definitions can be restored in the admin",
        )
        parser.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")

    def report(self, *, overwrite: list[str], dry_run: bool, **options: Any) -> Report:
        """Return the number of rows by result, and the diff of each row that differs from the files."""
        try:
            result = catalogue.load(overwrite=overwrite, dry_run=dry_run)
        except InvalidData as error:
            errors = "\n".join(f"  {sentence}" for sentence in error.errors)
            raise CommandError(f"The catalogue cannot be loaded.\n{errors}") from error
        details = [
            f"{sentence.format(pk)}\n{result.diffs[pk]}"
            for ids, sentence in (
                (result.updated, "{} follows the files."),
                (result.overwritten, "{} was edited in the admin and is overwritten."),
                (
                    result.kept,
                    "{0} was edited in the admin and stays unchanged. load_catalogue --overwrite {0} would change it:",
                ),
            )
            for pk in ids
        ]
        title = f"Catalogue: {result}." + (" Nothing was written." if dry_run else "")
        return Report(title, data={**asdict(result), "dry_run": dry_run}, details="\n".join(details))
