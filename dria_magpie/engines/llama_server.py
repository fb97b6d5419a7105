"""The process behind `LlamaEngine`: loads a GGUF with xllamacpp and serves it on loopback."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from dria_magpie.engines.child import answer, read_order, when_parent_ends


def main() -> None:
    """Serve what the order on stdin says; end at once when stdin is closed."""
    order = read_order()
    # The server's destructor can hang with calls in flight, so there is no orderly end
    when_parent_ends(lambda: os._exit(0))
    try:
        server = serve(order)
    except ImportError as error:
        answer({"missing": str(error)})
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells of it
        answer({"error": str(error)})
    else:
        answer({"address": server.listening_address})
        threading.Event().wait()
    os._exit(1)


def serve(order: Mapping[str, Any]) -> Any:
    """Load the model and start serving in threads.

    Args:
        order: ``path``, ``name``, ``api_key``, ``slots``, ``context`` (tokens of each slot).

    Returns:
        The ``xllamacpp.Server``.

    Raises:
        ImportError: xllamacpp is not installed.
        RuntimeError: the model cannot be loaded.
    """
    # Threads that spin long while they wait for each other take a machine down to a tenth of its
    # speed as soon as another program wants a core; those that sleep at once lose a third of it on
    # a machine of their own
    os.environ.setdefault("GOMP_SPINCOUNT", "500")
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["path"]
    params.model_alias = {order["name"]}
    params.api_keys = [order["api_key"]]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.n_parallel = order["slots"]
    params.n_ctx = order["slots"] * order["context"]
    # A cancelled call keeps its slot until the batch is through that its prompt is part of
    params.n_batch = params.n_ubatch = 64
    # Two speakers alternate on a slot: without this cache each evicts the other's prompt
    params.cache_ram_mib = 1024
    # Errors only: they say why a file cannot be loaded
    params.verbosity = 1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
