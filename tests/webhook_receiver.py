"""A server that takes webhooks, as a user would write one: it verifies them with the public library and keeps them."""

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

#: A status, or None: hang up without a word.
Answer = Callable[[str], int | None]


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    body: str
    status: int | None  #: that was answered
    is_signed: bool
    event: dict[str, Any]

    @property
    def is_taken(self) -> bool:
        return self.status is not None and self.status < 300

    @property
    def subject(self) -> str:
        """The job or the collection."""
        return str(self.event["data"].get("job") or self.event["data"]["collection"])


class Receiver:
    """Answers as it is told to."""

    def __init__(self, secret: str, answer: Answer = lambda body: 204) -> None:
        self.answer = answer
        self.deliveries: list[Delivery] = []
        self._webhook = Webhook(secret)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                body = self.rfile.read(length)
                if len(body) == length:  # else its sender died, and this is no message
                    receiver.take(self, body.decode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hook?for=tests"

    def take(self, handler: BaseHTTPRequestHandler, body: str) -> None:
        headers = dict(handler.headers.items())
        try:
            event, is_signed = self._webhook.verify(body, headers), True
        except WebhookVerificationError:
            event, is_signed = {"data": {"collection": ""}}, False
        status = self.answer(body)
        self.deliveries.append(Delivery(headers["webhook-id"], body, status, is_signed, event))
        if status is None:
            handler.close_connection = True
            return
        handler.send_response(status)
        if 300 <= status < 400:
            handler.send_header("location", self.url)
        handler.end_headers()

    @contextmanager
    def serving(self) -> Iterator["Receiver"]:
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def moody(seed: int) -> Answer:
    """One that now and then is busy or hangs up, and fails over a message once: then it is left alone for minutes."""
    chance = random.Random(seed)
    failed: set[str] = set()

    def answer(body: str) -> int | None:
        (status,) = chance.choices((204, 503, 500, None), weights=(90, 4, 2, 4))
        if status == 500 and body in failed:
            return 204
        if status == 500:
            failed.add(body)
        return status

    return answer
