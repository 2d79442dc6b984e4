"""The process that holds the embedded model, ``python -m llmstream.providers.local_server``; ``LocalEngine`` starts it.

It reads one line of JSON (``Order``), serves the OpenAI API with llama.cpp, prints one line of JSON with ``url`` or
``error``, and lives until its standard input ends, that is, as long as the process that started it.

A process of its own, because llama.cpp's server cannot be stopped while it answers (it waits for its requests, which
wait for it), crashes an interpreter that ends before it does, and hangs in forked children.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import dataclass
from typing import Any

#: Tokens of a prompt between two looks at whether somebody still wants the answer, and before others get their turn.
_BATCH = 64
#: Seconds between comments on a stream that waits for its turn.
_PING = 5


@dataclass(frozen=True, slots=True)
class Order:
    """What to serve. ``context`` is the room of one conversation in tokens, ``slots`` how many are answered at once."""

    model: str
    api_key: str
    context: int
    slots: int
    threads: int


def serve(order: Order) -> Any:
    """Load the model and return the server, which is ready; raises ImportError or RuntimeError."""
    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = order.model
    params.model_alias = {"local"}
    params.hostnames = ["127.0.0.1"]
    # Chosen as it is bound: a free one that was looked for before could be somebody else's by then.
    params.port = 0
    params.api_keys = [order.api_key]
    params.n_ctx = order.context * order.slots
    params.n_parallel = order.slots
    params.n_batch = params.n_ubatch = _BATCH
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = order.threads
    params.sse_ping_interval = _PING
    # Half the memory of the default, at the same speed.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.fit_params = params.warmup = params.ui = params.endpoint_slots = False
    return xllamacpp.Server(params)


def main() -> None:
    """Do what the order on standard input says, until standard input ends."""
    # What the model uses must not be missing to the web server that it works for.
    os.nice(5)
    answer: dict[str, str]
    try:
        server = serve(Order(**json.loads(sys.stdin.readline())))
        answer = {"url": server.listening_address}
    except Exception as error:
        server, answer = None, {"error": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
    if server is not None:
        sys.stdin.read()
    # Past all destructors.
    os._exit(server is None)


if __name__ == "__main__":
    main()
