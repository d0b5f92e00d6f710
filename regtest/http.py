"""Asks nodes and rollup by HTTP, as a person with `curl` would: standard library, one request at a time."""

import json
import urllib.error
import urllib.request
from typing import Any

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy to 127.0.0.1


class HttpFault(Exception):
    """No answer, or a refusal: `status` 0 when nobody answered, `problem` the problem+json otherwise."""

    def __init__(self, url: str, status: int, problem: dict[str, Any]) -> None:
        self.url, self.status, self.problem = url, status, problem
        words = (problem.get(name) for name in ("title", "detail", "remedy"))
        said = ": ".join(str(word) for word in words if word)
        super().__init__(f"{url} answered {status or 'nothing'}: {said or 'no reason given'}")

    @property
    def code(self) -> str:
        """The stable word for programs."""
        return str(self.problem.get("code", ""))


def get(url: str, *, token: str | None = None, seconds: float = 20) -> Any:
    """The JSON answer to a GET. HttpFault otherwise."""
    return json.loads(get_bytes(url, token=token, seconds=seconds))


def get_bytes(url: str, *, token: str | None = None, seconds: float = 20) -> bytes:
    """The answer's bytes as they are. HttpFault otherwise."""
    return _ask(_request(url, None, token), seconds)


def post(url: str, body: object, *, token: str | None = None, seconds: float = 60) -> Any:
    """The JSON answer to a POST of a JSON body; None when it is empty. HttpFault otherwise."""
    answer = _ask(_request(url, json.dumps(body).encode(), token), seconds)
    return json.loads(answer) if answer else None


def answers(url: str) -> bool:
    """Whether somebody answers a GET there, with whatever status."""
    try:
        get_bytes(url, seconds=5)
    except HttpFault as fault:
        return fault.status != 0
    return True


def _request(url: str, body: bytes | None, token: str | None) -> urllib.request.Request:
    if not url.startswith("http://127.0.0.1:"):
        raise ValueError(f"regtest asks this machine only, not {url}")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if body is not None:
        headers["Content-Type"] = "application/json"
    return urllib.request.Request(url, body, headers)  # noqa: S310  http to this machine, see above


def _ask(request: urllib.request.Request, seconds: float) -> bytes:
    try:
        with _OPENER.open(request, timeout=seconds) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            raise HttpFault(request.full_url, error.code, _problem(error.read())) from error
    except OSError as error:
        raise HttpFault(request.full_url, 0, {"title": str(error)}) from error


def _problem(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    return found if isinstance(found, dict) else {"title": body[:200].decode(errors="replace")}
