"""A server that answers as a gateway does, or as a test wants it to; nothing runs behind it."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "a key for tests"


def write_heartbeat(models: Sequence[str]) -> str:
    payload = json.dumps({"models": models, "pending_tasks": [0, 0]}).encode()
    return json.dumps({"message": base64.b64encode(payload).decode()})


class StandIn(ThreadingHTTPServer):
    """The server.

    Attributes:
        served: the models that its heartbeats name; change it as you like.
        answers: what paths get instead of the usual: status, body, headers.
        asked: how often each path was asked for.
    """

    daemon_threads = True

    def __init__(self, *served: str, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.served = list(served)
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.asked: Counter[str] = Counter()
        self.scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def answer(self, path: str, key: str | None) -> tuple[int, bytes, dict[str, str]]:
        self.asked[path] += 1
        if path in self.answers:
            return self.answers[path]
        if path == "/health":
            return 200, b"Node is healthy", {}
        if key != KEY:
            return 401, b'{"error": "no such key"}', {}
        results = [write_heartbeat(self.served)] if self.served else []
        return 200, json.dumps({"data": {"results": results}}).encode(), {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that break off, as some tests do."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        status, body, headers = self.server.answer(self.path, self.headers["x-api-key"])
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""


@contextlib.contextmanager
def stand_in(*served: str, context: ssl.SSLContext | None = None) -> Iterator[StandIn]:
    """Run a stand-in in threads of this process."""
    with StandIn(*served, context=context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
