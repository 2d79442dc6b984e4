"""``manage.py llmstream_fetch_model``"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...providers.local_model import ModelUnavailable, default_path, fetch_model, is_fetched


class Command(BaseCommand):
    """Fetches the embedded model's file once; later calls do nothing."""

    help = "Downloads and checks the embedded model (93 MB), unless it is there already."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take another place for the file."""
        parser.add_argument(
            "--path", type=Path, help="where the file goes (default: %(default)s)", default=default_path()
        )

    def handle(self, *args: Any, path: Path, verbosity: int, **options: Any) -> None:
        """Fetch the file; ends with a non-zero status and the reason when it cannot be had."""
        there = is_fetched(path)
        try:
            fetch_model(path)
        except ModelUnavailable as error:
            raise CommandError(str(error)) from error
        if verbosity and not there:
            self.stdout.write(f"The embedded model is in {path}")
