"""A small OpenAI-compatible server that answers as it is told: in any shape, at any speed, in any order."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "a/model"


@dataclass(frozen=True)
class Answer:
    """What goes over the wire."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    declared: int | None = None  #: Content-Length, when it is not the body's; -1: none
    drip_seconds: float = 0.0  #: pause after each byte
    is_cut: bool = False  #: hang up without any answer


def saying(text: str | None, finish: str | None = "stop") -> Answer:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return Answer(body=json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def failing(status: int, words: str = "on request", **headers: str) -> Answer:
    """An error in vLLM's shape."""
    return Answer(status, json.dumps({"error": {"message": words, "code": status}}).encode(), headers)


def said(body: dict[str, Any]) -> str:
    """The last words of a request."""
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else content[-1]["text"]


class OpenAIServer(ThreadingHTTPServer):
    """`answer` is called with the parsed body of each completion, in a thread of its own."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Callable[[dict[str, Any]], Answer] = lambda body: saying(f"heard {said(body)}")
        self.models: Answer = listing({"id": MODEL, "root": "weights/of-it", "created": 1})
        self.health: Answer = Answer()
        self.version: Answer = Answer(body=b'{"version": "1.2.3"}')
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.arrivals: list[float] = []
        self.gone = threading.Event()
        """Set when a client hung up before its answer."""
        self.inside = 0
        self.most_inside = 0
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


def listing(*models: dict[str, Any]) -> Answer:
    """A list of models."""
    return Answer(body=json.dumps({"object": "list", "data": models}).encode())


@contextmanager
def openai_server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: OpenAIServer

    def do_GET(self) -> None:
        self.server.headers.append(dict(self.headers.items()))
        places = {"/v1/models": self.server.models, "/health": self.server.health, "/version": self.server.version}
        self._send(places.get(self.path, Answer(404)))

    def do_POST(self) -> None:
        server = self.server
        with server.counting:
            server.arrivals.append(time.monotonic())
            server.inside += 1
            server.most_inside = max(server.most_inside, server.inside)
        try:
            self._complete()
        finally:
            with server.counting:
                server.inside -= 1

    def _complete(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.headers.append(dict(self.headers.items()))
        self.server.bodies.append(body)
        self._send(self.server.answer(body))

    def _send(self, answer: Answer) -> None:
        if answer.is_cut:
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        try:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name.replace("_", "-"), value)
            if answer.declared != -1:
                self.send_header("Content-Length", str(answer.declared or len(answer.body)))
            self.end_headers()
            step = 1 if answer.drip_seconds else max(1, len(answer.body))
            for start in range(0, len(answer.body), step):
                self.wfile.write(answer.body[start : start + step])
                time.sleep(answer.drip_seconds)
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
        except OSError:
            self.server.gone.set()

    def log_message(self, format: str, *args: Any) -> None:
        del format, args
