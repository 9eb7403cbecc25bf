"""What a server's answer means for the request. Pure functions of what came over the wire."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from pipeline.engines import Outcome, Reply, untimed
from pipeline.engines.openai.exchange import MAX_BODY_BYTES, Received
from pipeline.errors import PermanentError, ResourceError, TransientError

MAX_WORDS = 300  # characters of the server's message in a reason
MAX_DETAIL = 2000

NO_KEY = frozenset({401, 403})
#: The server read the request and will not have it.
REFUSED = frozenset({400, 413, 415, 422})
#: Either the request is to blame or the server: it depends on whether the server is well otherwise.
DOUBTFUL = frozenset({404, 500})

CHECK_KEY = "check REELMILL_ENGINE__API_KEY"
CHECK_PLACE = "check REELMILL_ENGINE__URL and REELMILL_ENGINE__MODEL"


def outcome(received: Received, *, is_well: bool = True) -> Outcome:
    """The reply, or the verdict on the request.

    `is_well`: whether the server takes other work; asked for a status in DOUBTFUL only. A healthy server that fails
    on one request fails because of it, and that must count as a try, or the request would come back forever.
    """
    status, body = received.status, received.body
    if status == 200:
        return _reply(body)
    detail = f"HTTP {status}: {body[:MAX_DETAIL].decode(errors='replace')}"
    said = f"(HTTP {status}: {server_words(body)})"
    if status in NO_KEY:
        return TransientError(f"the server refuses the key: {CHECK_KEY} {said}", detail)
    if status in REFUSED or (status == 404 and is_well):
        return PermanentError(f"the server refuses the request {said}", detail)
    if status == 404 or 300 <= status < 400:
        return TransientError(f"the server no longer answers for the model there: {CHECK_PLACE} {said}", detail)
    if status == 500 and is_well:
        return ResourceError(f"the server fails on this request {said}", detail)
    return TransientError(f"the server cannot answer now {said}", detail)


def server_words(body: bytes) -> str:
    """The message in an error's body, whichever of the usual shapes it has."""
    text = body[: 64 * 1024].decode(errors="replace")
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    for name in ("error", "detail", "message"):
        while isinstance(found, dict) and name in found:
            found = found[name]
    words = found if isinstance(found, str) else json.dumps(found)
    return " ".join(words.split())[:MAX_WORDS] or "no reason given"


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float:
    """Seconds that the server asks to be left alone, 0 when it does not say; both forms of the header."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    return max(0.0, (then.astimezone(UTC) - (now or datetime.now(UTC))).total_seconds())


def _reply(body: bytes) -> Outcome:
    if len(body) > MAX_BODY_BYTES:
        return ResourceError(f"the server's answer is longer than {MAX_BODY_BYTES} bytes")
    try:
        found = json.loads(body)
    except ValueError:
        # A page of some gateway, or an answer cut in the middle: nothing that the request can help.
        return TransientError("the server's answer is no JSON", body[:MAX_DETAIL].decode(errors="replace"))
    choice = _first_choice(found)
    if choice is None:
        said = server_words(body)
        return ResourceError(f"the server's answer holds no completion ({said})", repr(found)[:MAX_DETAIL])
    text, finish = (choice["message"].get("content") or "").strip(), choice.get("finish_reason")
    if finish == "content_filter":
        return PermanentError("the server's content filter keeps the answer back")
    if finish in ("abort", "error"):
        return TransientError(f"the server gave up on the request (finish reason {finish!r})")
    flags = {"length": ("cut_short",), "repetition": ("suspect",)}.get(finish or "", ())
    return Reply(spans=untimed(text), flags=flags)


def _first_choice(found: Any) -> dict[str, Any] | None:
    """The first choice of a chat completion; None when this is none."""
    try:
        choice = found["choices"][0]
        content = choice["message"].get("content")
        finish = choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    is_plain = all(value is None or isinstance(value, str) for value in (content, finish))
    return choice if is_plain and isinstance(choice, dict) else None
