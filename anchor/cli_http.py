"""How commands talk to a node: plain HTTP by the standard library, since a command makes one call and ends."""

import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from anchor.cli_tools import Failed

MAX_ANSWER = 64 << 20
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a node is never behind a proxy


class HttpClient:
    """One node's interface; every refusal becomes one sentence (Failed). `token` opens the admin port."""

    def __init__(
        self, url: str, *, who: str = "the node", option: str = "--node", token: str | None = None
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise Failed(f"{url[:80]!r} is no URL: give {option} http://host:port", 2)
        self.url, self._who, self._option, self._token = url.rstrip("/"), who, option, token

    def get(self, path: str, **query: object) -> Any:
        """GET a JSON answer; None values are left out of the query."""
        return self._json(self.raw(path, **query))

    def raw(self, path: str, **query: object) -> bytes:
        """GET the bytes of an answer."""
        kept = {name: str(value) for name, value in query.items() if value is not None}
        return self._ask("GET", path + (f"?{urlencode(kept)}" if kept else ""))

    def post(self, path: str, body: object, *, timeout: float = 60) -> Any:
        """POST JSON, return the JSON answer."""
        return self._json(self._ask("POST", path, json.dumps(body).encode(), timeout))

    def _ask(self, method: str, path: str, body: bytes | None = None, timeout: float = 30) -> bytes:
        request = urllib.request.Request(self.url + quote(path, "/?=&%:"), body, method=method)  # noqa: S310 scheme checked
        request.add_header("Content-Type", "application/json")
        if self._token is not None:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with _DIRECT.open(request, timeout=timeout) as answer:
                data: bytes = answer.read(MAX_ANSWER + 1)
        except urllib.error.HTTPError as refused:
            raise self._refused(refused) from refused
        except (OSError, ValueError) as error:  # URLError, timeouts, resets
            why = getattr(error, "reason", None) or error
            raise Failed(
                f"{self._who} at {self.url} does not answer ({why}): start it, or correct {self._option}"
            ) from error
        if len(data) > MAX_ANSWER:
            raise Failed(f"{self.url} answered with more than {MAX_ANSWER} bytes: is it {self._who}?")
        return data

    def _refused(self, refused: urllib.error.HTTPError) -> Failed:
        try:
            problem = json.loads(refused.read(1 << 20))
            title, detail, remedy = (str(problem.get(x) or "") for x in ("title", "detail", "remedy"))
        except (ValueError, AttributeError, OSError):
            return Failed(f"{self.url} answered {refused.code}: check that {self._option} is {self._who}")
        if problem.get("code") == "not_found":
            path = urlsplit(refused.url).path
            return Failed(f"{self.url} has no {path}: is it {self._who}? Correct {self._option}")
        said = ": ".join(part for part in (title, detail) if part) or f"HTTP {refused.code}"
        return Failed(f"{self._who} says: {said}" + (f"; {remedy}" if remedy and remedy not in said else ""))

    def _json(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            raise Failed(f"{self.url} does not speak like {self._who}: correct {self._option}") from error
