"""What kind of file something is. A client is not believed about images and PDF: their first bytes tell."""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Iterable
from typing import Final

#: Images that a browser shows and that hold nothing but pixels. No others are ever shown inline.
INLINE: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})

PDF: Final = "application/pdf"
#: Of a file without a better name for what it is.
UNKNOWN: Final = "application/octet-stream"

_HEAD_BYTES: Final = 32
_CONTENT_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,40}/[a-z0-9][a-z0-9.+-]{0,57}", re.ASCII)
_MAGIC: Final = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"RIFF.{4}WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"%PDF-"), PDF),
)
_TOLD_BY_MAGIC: Final = frozenset(found for _, found in _MAGIC)


def is_text(content_type: str) -> bool:
    """Whether files of a type are text in UTF-8."""
    return content_type.startswith("text/") or content_type == "application/json"


def is_accepted(content_type: str, patterns: Iterable[str]) -> bool:
    """Whether a type is one of ``patterns``, such as ``application/pdf`` or ``text/*``.

    ``image/*`` stands for those images that are safe to show: PNG, JPEG, GIF and WebP.
    """
    kind = content_type.partition("/")[0] + "/*"
    found = content_type in patterns or kind in patterns
    return found and (content_type in patterns or kind != "image/*" or content_type in INLINE)


def claimed_type(claimed: str, name: str) -> str:
    """Return what a client says that a file is, in its normal form, or what the file's name says."""
    claimed = claimed.partition(";")[0].strip().lower()
    if claimed in ("", UNKNOWN):
        claimed = mimetypes.guess_type(name)[0] or UNKNOWN
    return claimed if _CONTENT_TYPE.fullmatch(claimed) else UNKNOWN


def actual_type(claimed: str, chunks: Iterable[bytes]) -> str | None:
    """Return what a file is, by its content; None when that is not what ``claimed`` says it is.

    An image or a PDF may be claimed to be another kind of these. All of a text has to be UTF-8 without NUL characters.
    """
    pieces = iter(chunks)
    head = next(pieces, b"")
    found = next((kind for magic, kind in _MAGIC if magic.match(head[:_HEAD_BYTES])), "")
    if found:
        return found if claimed in (*_TOLD_BY_MAGIC, UNKNOWN) or claimed.startswith("image/") else None
    if claimed in _TOLD_BY_MAGIC:
        return None
    return claimed if not is_text(claimed) or _is_utf8(head, pieces) else None


def _is_utf8(head: bytes, pieces: Iterable[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in (head, *pieces):
            if b"\0" in piece:
                return False
            decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
