"""What a run leaves behind: files of JSON lines, which the checker reads when everything is over."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self, TextIO

import orjson

from tests.live.servers import Database

#: What the checker needs of the database: the name of a file and the statement that fills it.
TABLES: Mapping[str, str] = {
    "conversations": "SELECT id, public_id, head, epoch FROM llmstream_conversation ORDER BY id",
    "events": (
        "SELECT conversation_id, seq, first_seq, generation_id, type, data FROM llmstream_event"
        " ORDER BY conversation_id, seq"
    ),
    "messages": (
        "SELECT id, public_id, conversation_id, role, status, text, client_id FROM llmstream_message ORDER BY id"
    ),
    "generations": (
        "SELECT id, public_id, conversation_id, message_id, model, status, end_seq, fence, takeovers, error_code"
        " FROM llmstream_generation ORDER BY id"
    ),
    "usage": "SELECT generation_id, input_tokens, output_tokens, estimated FROM llmstream_usagerecord ORDER BY id",
}


class Recorder:
    """Writes the history of one client, line by line as things happen, while the ``with`` block lasts."""

    def __init__(self, directory: Path, client: str, **about: Any) -> None:
        self.client = client
        self._file: TextIO = (directory / f"client-{client}.jsonl").open("w", encoding="utf-8")
        self.write("client", client=client, **about)

    def write(self, do: str, **members: Any) -> None:
        """Note something with the moment at which it happened."""
        self._file.write(json.dumps({"do": do, "at": round(time.time(), 4), **members}) + "\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def write_lines(file: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Write one JSON object a line."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of such a file."""
    with file.open("rb") as lines:
        for line in lines:
            yield orjson.loads(line)


def dump(database: Database, directory: Path) -> None:
    """Write the final database, as it is and past Django, into ``directory``."""
    for name, statement in TABLES.items():
        columns = [column.strip() for column in statement.partition(" FROM ")[0].removeprefix("SELECT").split(",")]
        rows = (dict(zip(columns, row, strict=True)) for row in database.execute(statement))
        write_lines(directory / f"table-{name}.jsonl", map(_plain, rows))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Make both databases look alike: SQLite has JSON as text and truth as a number."""
    if isinstance(row.get("data"), str):
        row["data"] = json.loads(row["data"])
    if "estimated" in row:
        row["estimated"] = bool(row["estimated"])
    return row
