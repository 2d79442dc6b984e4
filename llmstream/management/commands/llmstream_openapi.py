"""``manage.py llmstream_openapi``"""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from ...openapi.document import NotMounted, openapi_document


class Command(BaseCommand):
    """Prints the document; exit status 1 when llmstream.urls is not mounted."""

    help = "Prints the OpenAPI 3.1 document of the HTTP interface as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where the site is."""
        parser.add_argument("--url", default="", help="scheme and host of the site, such as https://example.com")

    def handle(self, *, url: str, **options: Any) -> None:
        """Print."""
        try:
            self.stdout.write(json.dumps(openapi_document(url), indent=2))
        except NotMounted as error:
            raise CommandError(str(error)) from None
