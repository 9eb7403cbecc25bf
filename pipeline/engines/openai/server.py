"""The server: how it is reached, what it says of itself, and what to do when it is not as it should be."""

import json
from collections.abc import Mapping
from typing import Any

from pipeline.engines import Reply, Request, Turn
from pipeline.engines.openai.chat import completion
from pipeline.engines.openai.exchange import (
    SETTING,
    Address,
    BrokenOffError,
    Exchange,
    NotConnectedError,
    OverdueError,
    Received,
)
from pipeline.engines.openai.outcomes import CHECK_KEY, CHECK_PLACE, NO_KEY, outcome, server_words
from pipeline.errors import WorldError
from pipeline.settings import Engine as EngineSettings

ASK_SECONDS = 10.0  # for what a server knows without its model
HIDDEN = "[key]"
OK, NOT_FOUND = 200, 404


class Server:
    """An OpenAI-compatible server. Safe for threads. Raises WorldError when the settings cannot be right."""

    def __init__(self, settings: EngineSettings) -> None:
        self.address = Address.parse(settings.url)
        self.model = settings.model
        self._seconds = settings.request_seconds
        self._key = settings.api_key.get_secret_value().strip()
        if not (self._key.isascii() and self._key.isprintable()):
            raise WorldError("REELMILL_ENGINE__API_KEY holds characters that no key has")
        self._is_listed = True

    def completion(self) -> Exchange:
        """An exchange for one chat completion, to be given to `complete`."""
        return Exchange(self.address, self._seconds)

    def complete(self, exchange: Exchange, body: bytes) -> Received:
        """Raises what `Exchange.run` raises."""
        headers = {**self._headers(), "Content-Type": "application/json"}
        return self._hiding(exchange.run("POST", f"{self.address.path}/chat/completions", headers, body))

    def find_model(self) -> str:
        """What the server calls the weights of the model, its `root` if it tells, else the model's own name.

        Its `created` is not looked at: vLLM fills in the time of the question. Raises WorldError that says what to do
        when the server is away, refuses the key or does not serve the model.
        """
        listed = self._list_models()
        self._is_listed = self.model in listed
        if not self._is_listed:
            self._prove_unlisted(sorted(listed))
            return self.model
        root = listed[self.model].get("root")
        return root if isinstance(root, str) and root else self.model

    def version(self) -> str | None:
        """The server's version, where it tells (vLLM does)."""
        try:
            found = _json(self._get(f"{self.address.root}/version"))
        except (NotConnectedError, BrokenOffError, OverdueError):
            return None
        version = found.get("version") if isinstance(found, dict) else None
        return version if isinstance(version, str) else None

    def is_well(self) -> bool:
        """Whether it would take other work: it calls itself healthy, if it knows that question, and has the model."""
        try:
            health = self._get(f"{self.address.root}/health").status
            if health not in (OK, NOT_FOUND) or (health == OK and not self._is_listed):
                return health == OK
            models = self._get(f"{self.address.path}/models")
        except (NotConnectedError, BrokenOffError, OverdueError):
            return False
        return models.status == OK and (not self._is_listed or self.model in _entries(models))

    def _list_models(self) -> dict[str, dict[str, Any]]:
        """What it says that it serves, by name; nothing when it keeps no list."""
        where = self.address.url
        try:
            received = self._get(f"{self.address.path}/models")
        except NotConnectedError as error:
            raise WorldError(
                f"nothing answers at {where} ({error}): start the server there, or set {SETTING} to where it is"
            ) from error
        except (BrokenOffError, OverdueError) as error:
            raise self._silent(error) from error
        if received.status in NO_KEY:
            raise WorldError(f"the server at {where} refuses the key: {CHECK_KEY} ({server_words(received.body)})")
        return _entries(received)

    def _prove_unlisted(self, listed: list[str]) -> None:
        """Some servers do not list all they serve (`transformers serve` of a directory): ask for one token."""
        request = Request(id="proof", turns=(Turn("user", ("Hello",)),), max_tokens=1)
        try:
            received = self.complete(self.completion(), completion(request, self.model))
        except (NotConnectedError, BrokenOffError, OverdueError) as error:
            raise self._silent(error) from error
        if received.status == OK and isinstance(outcome(received), Reply):
            return
        said = f"(HTTP {received.status}: {server_words(received.body)})"
        if listed:
            raise WorldError(
                f"the server at {self.address.url} does not serve {self.model!r}: set REELMILL_ENGINE__MODEL to one of "
                f"{', '.join(listed)} {said}"
            )
        raise WorldError(
            f"no OpenAI-compatible server answers at {self.address.url} for the model {self.model!r}: {CHECK_PLACE}; "
            f"the address mostly ends in /v1 {said}"
        )

    def _silent(self, error: Exception) -> WorldError:
        return WorldError(f"the server at {self.address.url} does not answer ({error}): look at its log")

    def _get(self, path: str) -> Received:
        return self._hiding(Exchange(self.address, ASK_SECONDS).run("GET", path, self._headers()))

    def _headers(self) -> Mapping[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "reelmill"}
        return {**headers, "Authorization": f"Bearer {self._key}"} if self._key else headers

    def _hiding(self, received: Received) -> Received:
        """An error may repeat the key that it refuses: keep it out of reasons and logs."""
        if not self._key or received.status == 200:
            return received
        body = received.body.replace(self._key.encode(), HIDDEN.encode())
        return Received(received.status, received.headers, body)


def _json(received: Received) -> Any:
    try:
        return json.loads(received.body)
    except ValueError:
        return None


def _entries(received: Received) -> dict[str, dict[str, Any]]:
    """The models of a list, by name."""
    found = _json(received)
    listed = found.get("data") if isinstance(found, dict) else None
    entries = listed if isinstance(listed, list) else []
    return {entry["id"]: entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)}
