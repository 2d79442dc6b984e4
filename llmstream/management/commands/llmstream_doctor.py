"""``manage.py llmstream_doctor``"""

from __future__ import annotations

import signal
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError

from ...conf import get_settings
from ...doctor.examination import can_visit, examine_parts, examine_path
from ...doctor.site import Site, socket_url_of
from ...doctor.verdicts import Level, Verdict, as_json, lines, worst
from ...doctor.visitor import NoSuchVisitor, visit

#: Seconds beyond a heartbeat that a stream is left silent for.
_BEYOND_HEARTBEAT = 5.0


class Command(BaseCommand):
    """Changes nothing but rows of its own, which it removes: a session, and a conversation with a few events.

    Exit status: 0 when all is well; 1 when there are warnings; 2 when there is a fault, or it cannot be looked at.
    """

    help = (
        "Looks at settings, database and channel layer, and with --url at the way through the site's proxies; says "
        "what is wrong and what to do. Exit status: 0 all well, 1 warnings, 2 faults."
    )
    # Their faults are what this is about.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where the site is, who visits it, and for how long."""
        parser.add_argument("--url", default="", help="where clients find llmstream: https://example.com/llmstream/")
        parser.add_argument("--user", default="", help="visit as this user, with a session made for it")
        parser.add_argument("--cookie", default="", help="sign in by this Cookie header instead of a session made here")
        parser.add_argument("--model", default="", help="have this key of MODELS answer a prompt, at its price")
        parser.add_argument(
            "--socket", default=None, help="where the WebSocket is, if not at /ws/llmstream/; '' for none"
        )
        parser.add_argument(
            "--idle",
            type=float,
            default=None,
            metavar="SECONDS",
            help="leave streams silent for so long (HEARTBEAT + 5)",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *, json: bool, **options: Any) -> None:
        """Look, tell, and end with the worst that was found."""
        _check_options(options)
        found = []
        try:
            for verdict in self._verdicts(options):
                found.append(verdict)
                if not json:
                    self.stdout.write("\n".join(lines(verdict)))
        except NoSuchVisitor as error:
            raise CommandError(str(error), returncode=Level.FAULT) from None
        finally:
            if json:
                self.stdout.write(as_json(found))
        if level := worst(found):
            counts = {each: sum(verdict.level is each for verdict in found) for each in (Level.FAULT, Level.WARNING)}
            told = ", ".join(f"{each.name.lower()}s: {count}" for each, count in counts.items())
            raise CommandError(told, returncode=level)

    def _verdicts(self, options: dict[str, Any]) -> Iterator[Verdict]:
        yield from examine_parts()
        if options["url"] and can_visit():
            url = options["url"].rstrip("/") + "/"
            idle = get_settings().heartbeat + _BEYOND_HEARTBEAT if options["idle"] is None else options["idle"]
            socket_url = socket_url_of(url) if options["socket"] is None else options["socket"]
            with _ended_by_sigterm(), visit(options["user"], options["cookie"]) as visitor:
                yield from examine_path(
                    Site(url, socket_url, visitor.cookie, visitor.csrf_token), visitor, options["model"], idle
                )


def _check_options(options: dict[str, Any]) -> None:
    if not options["url"]:
        return
    if urlsplit(options["url"]).scheme not in ("http", "https"):
        raise CommandError("--url must begin with http:// or https://.", returncode=Level.FAULT)
    if not options["user"] and not options["cookie"]:
        raise CommandError("--url needs --user or --cookie: conversations belong to somebody.", returncode=Level.FAULT)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as an exception does, so that what was made is removed."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _end(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + signum)
