"""A web server on the loopback interface that misbehaves on cue.

``server.url("half", "file.bin")`` is the address of a file of which only half will come; the first
part of the path chooses the behavior, a method of `Handler`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TRICKLE_BYTES, TRICKLE_SECONDS = 1024, 0.01  # about 100 kB per second
BUSY_ANSWERS = 1  # how often "busy" says 503 before it gives the file


class Handler(BaseHTTPRequestHandler):
    """Answers ``/behavior/path/of/file`` in one of the ways below."""

    server: MisbehavingServer

    def do_GET(self) -> None:
        _, behavior, name = self.path.split("/", 2)
        self.server.asked.append(self.path)
        answer = getattr(self, f"answer_{behavior}")
        with suppress(BrokenPipeError, ConnectionResetError):  # the client gives up, as it should
            answer(self.server.files.get(name))

    def send(self, body: bytes, length: int | None, kind: str = "application/zip") -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(body)

    def answer_good(self, body: bytes | None) -> None:
        if body is None:
            self.send_error(404)
        else:
            self.send(body, len(body))

    def answer_missing(self, body: bytes) -> None:
        self.send_error(404)

    def answer_forbidden(self, body: bytes) -> None:
        self.send_error(403)

    def answer_busy(self, body: bytes) -> None:
        if self.server.asked.count(self.path) <= BUSY_ANSWERS:
            self.send_error(503)
        else:
            self.answer_good(body)

    def answer_login(self, body: bytes) -> None:
        page = b"<html><body>Welcome to the campus Wi-Fi. Please log in.</body></html>"
        self.send(page, len(page), "text/html; charset=utf-8")

    def answer_half(self, body: bytes) -> None:
        self.send(body[: len(body) // 2], len(body))

    def answer_half_unannounced(self, body: bytes) -> None:
        self.send(body[: len(body) // 2], None)

    def answer_hangup(self, body: bytes) -> None:
        self.connection.close()

    def answer_wrong(self, body: bytes) -> None:
        self.send(bytes(byte ^ 1 for byte in body), len(body))

    def answer_circle(self, body: bytes) -> None:
        self.send_response(302)
        self.send_header("Location", self.path)
        self.end_headers()

    def answer_silence(self, body: bytes) -> None:
        self.server.stopping.wait()

    def answer_trickle(self, body: bytes) -> None:
        self.send(b"", len(body))
        for i in range(0, len(body), TRICKLE_BYTES):
            self.wfile.write(body[i : i + TRICKLE_BYTES])
            if self.server.stopping.wait(TRICKLE_SECONDS):
                return

    def answer_pause(self, body: bytes) -> None:
        self.send(body[: len(body) // 2], len(body))
        self.server.stopping.wait()

    def answer_gate(self, body: bytes) -> None:
        self.send(body[: len(body) // 2], len(body))
        self.server.gate.wait()
        self.wfile.write(body[len(body) // 2 :])

    def answer_broken(self, body: bytes) -> None:
        self.send_error(500)

    def answer_endless(self, body: bytes) -> None:
        self.send(b"", None)
        while not self.server.stopping.is_set():
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


class MisbehavingServer(ThreadingHTTPServer):
    """The server: `files` by name, and the paths that were `asked` for."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.gate = threading.Event()  # opened by a test: the second halves may come
        self.stopping = threading.Event()

    def url(self, behavior: str, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{behavior}/{name}".rstrip("/")


@contextmanager
def running_server() -> Iterator[MisbehavingServer]:
    """Run a server in a thread until the block ends."""
    server = MisbehavingServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        server.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()
