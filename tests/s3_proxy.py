"""A small HTTP server between a store and SeaweedFS that records what passes and breaks one thing on request."""

import http.client
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

from minio.credentials import Credentials
from minio.signer import sign_v4_s3

from pipeline.settings import S3

HOP_HEADERS = {"connection", "content-length", "transfer-encoding"}


class S3Proxy(ThreadingHTTPServer):
    """Passes everything on unless one of the switches is set."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, s3: S3, *, seed: int | None = None) -> None:
        """`seed`: of what happens at a rate; with it, requests are not recorded, as a long run has many."""
        super().__init__(("127.0.0.1", 0), _Passing)
        self.upstream = s3
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers (names in small letters) of each request, in order."""
        self.records = seed is None
        self.chance = random.Random(seed)
        self.num_broken = 0
        """Requests that did not go as they should."""
        self.heal()

    def heal(self) -> None:
        """Pass everything on."""
        self.down = False
        """Cut each connection instead of answering."""
        self.slow_down_rate = 0.0
        """Share of all requests that are answered 503 SlowDown instead of being passed on."""
        self.lose_answer_rate = 0.0
        """Share of PUTs that are applied, but get no answer."""
        self.cut_body_rate = 0.0
        """Share of GETs of which half of the body arrives."""
        self.strip_conditions = False
        """Take If-None-Match away, as a store that does not know it would."""
        self.lose_answers = 0
        """Of this many PUTs apply the request, then cut the connection instead of answering."""
        self.cut_bodies = False
        """Send half of a GET's body, then cut the connection."""
        self.answers: list[tuple[int, str]] = []
        """Status and S3 error code to answer PUTs with, one each, without passing them on."""

    @property
    def settings(self) -> S3:
        return self.upstream.model_copy(update={"endpoint": f"127.0.0.1:{self.server_port}"})

    def sent(self, method: str) -> list[dict[str, str]]:
        """The headers of all requests of one method."""
        return [headers for seen, _, headers in self.requests if seen == method]


@contextmanager
def serving(s3: S3, *, seed: int | None = None) -> Iterator[S3Proxy]:
    with S3Proxy(s3, seed=seed) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield proxy
        proxy.shutdown()
        thread.join()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: S3Proxy
    switches: ClassVar[threading.Lock] = threading.Lock()

    def do_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        if self.server.records:
            self.server.requests.append((self.command, self.path, headers))
        if self.server.down:
            self.server.num_broken += 1
            self._cut()
            return
        if self.command == "PUT" and self.server.answers:
            self._refuse(*self.server.answers.pop(0))
            return
        if self._happens(self.server.slow_down_rate):
            self.server.num_broken += 1
            self._refuse(503, "SlowDown")
            return
        if self.server.strip_conditions and headers.pop("if-none-match", None):
            self._sign_again(headers)
        status, answer_headers, answer = self._pass_on(headers, body)
        if self.command == "PUT" and self._take_lost_answer():
            self.server.num_broken += 1
            self._cut()
        elif self.command == "GET" and status == 200 and self._cuts_body():
            self.server.num_broken += 1
            self._answer(status, answer_headers, answer, len(answer) // 2)
            self._cut()
        else:
            self._answer(status, answer_headers, answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

    def _pass_on(self, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        # The Host header stays the proxy's: the client signed it.
        connection = http.client.HTTPConnection(self.server.upstream.endpoint, timeout=20)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            kept = {name.lower(): value for name, value in response.getheaders() if name.lower() not in HOP_HEADERS}
            if self.command == "HEAD":
                kept["content-length"] = response.getheader("Content-Length", "0")
            return response.status, kept, response.read()
        finally:
            connection.close()

    def _sign_again(self, headers: dict[str, str]) -> None:
        s3 = self.server.upstream
        del headers["authorization"]
        signed = sign_v4_s3(
            method=self.command,
            url=urlsplit(f"http://{headers['host']}{self.path}"),
            region=s3.region or "us-east-1",
            headers={name: headers[name] for name in headers if name == "host" or name.startswith("x-amz-")},
            credentials=Credentials(s3.access_key, s3.secret_key.get_secret_value()),
            content_sha256=headers["x-amz-content-sha256"],
            date=datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC),
        )
        headers["authorization"] = str(signed["Authorization"])

    def _answer(self, status: int, headers: dict[str, str], body: bytes, num_bytes: int | None = None) -> None:
        """Send an answer, only the first `num_bytes` of its body when given."""
        self.send_response_only(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:num_bytes])

    def _refuse(self, status: int, code: str) -> None:
        xml = f"<Error><Code>{code}</Code><Message>on request</Message></Error>".encode()
        self._answer(status, {"content-type": "application/xml"}, xml)

    def _happens(self, rate: float) -> bool:
        return rate > 0 and self.server.chance.random() < rate

    def _cuts_body(self) -> bool:
        return self.server.cut_bodies or self._happens(self.server.cut_body_rate)

    def _take_lost_answer(self) -> bool:
        if self._happens(self.server.lose_answer_rate):
            return True
        with self.switches:
            if self.server.lose_answers:
                self.server.lose_answers -= 1
                return True
        return False

    def _cut(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(2)

    def log_message(self, format: str, *args: object) -> None:
        pass
