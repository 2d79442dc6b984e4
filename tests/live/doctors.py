"""``python -m tests.live.doctors ARGUMENTS ...``: the doctor's command at several sites at once, started once.

Each of the ARGUMENTS is a JSON list. Prints a list of ``[exit status, output]`` as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from io import StringIO
from pathlib import Path

import django
from django.core.management import CommandError, call_command


def visit(arguments: list[str]) -> tuple[int, str]:
    """Run the command."""
    out = StringIO()
    try:
        call_command("llmstream_doctor", "--json", *arguments, stdout=out)
    except CommandError as error:
        return error.returncode, out.getvalue()
    return 0, out.getvalue()


def main(visits: list[str]) -> None:
    """Run each visit in a process of its own, which has imported everything before it begins."""
    django.setup()
    children = {}
    with tempfile.TemporaryDirectory() as directory:
        files = [Path(directory) / str(number) for number in range(len(visits))]
        for file, told in zip(files, visits, strict=True):
            if not (child := os.fork()):
                file.write_text(json.dumps(visit(json.loads(told))))
                os._exit(0)
            children[child] = file
        for child in children:
            os.waitpid(child, 0)
        print(json.dumps([json.loads(file.read_text()) for file in files]))


if __name__ == "__main__":
    main(sys.argv[1:])
