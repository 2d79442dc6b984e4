"""Requests like those of a page: whether the site knows the visitor, lets them write, and has a model answer."""

from __future__ import annotations

from time import monotonic
from typing import Final

from ..events import MESSAGE_END, PART_KINDS
from .site import FAILURES, Answer, Site
from .stream import Stream
from .verdicts import Verdict, fault, ok, warning
from .visitor import TITLE, Visitor

#: Seconds that a model may take for its answer.
_ANSWER: Final = 60.0
_PROMPT: Final = "Count from one to twenty, in words."
_LOGS: Final = "See the server's and the proxy's logs"


def check_entrance(site: Site, visitor: Visitor) -> Verdict:
    """Ask the site for the visitor's conversation: whether it is this site, and whether it knows the visitor."""
    try:
        answer = site.get(f"conversations/{visitor.conversation.public_id}/", {"Accept": "application/json"})
    except FAILURES as error:
        seen = f"{site.url} cannot be reached: {type(error).__name__}: {error}"
        return fault("site", seen, "Correct --url, or start the server and its proxy.")
    try:
        return _entrance(site, answer)
    finally:
        answer.close()


def _entrance(site: Site, answer: Answer) -> Verdict:
    status, code = answer.status, answer.error_code()
    if status == 200:
        return ok("site", f"{site.url} answers and knows the visitor.")
    if target := answer.header("Location"):
        return fault("site", f"It redirects ({status}) to {target}.", "Give --url as the site's clients have it.")
    fixes = {
        "not_authenticated": "The server does not take a session made here: give both the same SECRET_KEY,"
        " SESSION_ENGINE and store of sessions, or sign in by --cookie.",
        "not_found": "Give the server and this command the same database; or the site's POLICY hides a user's own"
        " conversation.",
    }
    told = f" {code}" if code else ""
    fix = fixes.get(code, "See the server's and the proxy's logs; --url must lead to where llmstream.urls is mounted.")
    return fault("site", f"{site.url} answers {status}{told}.", fix)


def check_writing(site: Site, visitor: Visitor) -> Verdict:
    """Rename the visitor's conversation: whether requests that change something pass the CSRF check."""
    try:
        answer = site.write("PATCH", f"conversations/{visitor.conversation.public_id}/", {"title": TITLE})
    except FAILURES as error:
        return fault("writing", f"A PATCH breaks off: {type(error).__name__}.", f"{_LOGS}.")
    try:
        status, code = answer.status, answer.error_code()
    finally:
        answer.close()
    if status == 200:
        return ok("writing", "Requests that change something pass.")
    if code != "csrf_failed":
        return fault("writing", f"A PATCH is answered with {status} {code}.".replace(" .", "."), f"{_LOGS}.")
    fix = (
        "Have the proxy pass Host and Origin on as they came, behind TLS set SECURE_PROXY_SSL_HEADER, or name the site"
        " in CSRF_TRUSTED_ORIGINS. With --cookie and CSRF_USE_SESSIONS the doctor has no token: use --user."
    )
    return fault("writing", "The CSRF check refuses the site's own pages.", fix)


def check_model(site: Site, visitor: Visitor, model: str) -> Verdict:
    """Have a model answer, and see the text arrive piece by piece."""
    url = f"conversations/{visitor.conversation.public_id}"
    try:
        with Stream(site, f"{url}/events/") as stream:
            begun = monotonic()
            answer = site.write("POST", f"{url}/messages/", {"content": _PROMPT, "model": model})
            status, code = answer.status, answer.error_code()
            answer.close()
            if status != 201:
                return fault("model", f"The prompt is answered with {status} {code}.".replace(" .", "."), f"{_LOGS}.")
            end = stream.wait(lambda arrival: arrival.type == MESSAGE_END, begun + _ANSWER)
            deltas = [arrival.at for arrival in stream.arrivals if arrival.type in PART_KINDS]
    except FAILURES as error:
        return fault("model", f"The prompt breaks off: {type(error).__name__}.", f"{_LOGS}.")
    if end is None:
        fix = "See that workers run when RUNNER needs them, and the log of llmstream."
        return fault("model", f"No answer within {_ANSWER:g} s.", fix)
    if end.data["status"] != "completed":
        failure = (end.data.get("error") or {}).get("code", "no error")
        seen = f"The answer ended as {end.data['status']}: {failure}."
        return fault("model", seen, "See the log of llmstream, and docs/providers.md.")
    if not deltas:
        return warning("model", "The answer has no text.", "See docs/providers.md.")
    return ok("model", f"Text after {deltas[0] - begun:.2f} s, {len(deltas)} pieces in {deltas[-1] - deltas[0]:.2f} s.")
