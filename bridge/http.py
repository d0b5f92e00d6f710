"""The node's two HTTP sites: public (read mostly, CORS-open) and admin (this machine only, bearer token).

While both listen, the folder holds `admin.json` (0600) with the admin site's address and token; the commands read
it. The token is drawn anew at each start.
"""

import hmac
import json
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from anchor import problem
from anchor.http_server import Runner
from anchor.problem import Handler, Problem
from anchor.stream import Stream
from bridge.admin_client import ADMIN_FILE
from bridge.config import ListenSection
from bridge.node import Node
from bridge.papers import StartFault
from tss.files import write_atomically

MAX_PUBLIC_BODY = 64 << 10
MAX_ADMIN_BODY = 256 << 10


@dataclass(slots=True)
class Sites:
    """Both sites while they listen; `close` stops them and takes admin.json away."""

    admin_file: Path
    public_url: str = ""
    admin_url: str = ""
    stream: Stream | None = None
    _runners: list[web.AppRunner] = field(default_factory=list)

    async def listen(self, app: web.Application, where: ListenSection, name: str) -> str:
        """Serve `app`; return its URL. StartFault when the port is taken."""
        runner = Runner(app)
        self._runners.append(runner)
        await runner.setup()
        try:
            await web.TCPSite(runner, where.host, where.port).start()
        except (OSError, OverflowError) as fault:
            why = getattr(fault, "strerror", None) or fault
            raise StartFault(
                f"the {name} port {where.host}:{where.port} cannot be used ({why}): "
                f"stop what uses it, or change [{name}] in config.toml"
            ) from fault
        host, port = runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def close(self) -> None:
        """Stop answering."""
        self.admin_file.unlink(missing_ok=True)
        if self.stream is not None:
            self.stream.close()  # its answers end only so
        for runner in self._runners:
            await runner.cleanup()


async def serve(node: Node) -> Sites:
    """Open both sites of a node. StartFault names the port that is taken; nothing listens then."""
    from bridge.api import public_routes
    from bridge.api_admin import admin_routes

    sites = Sites(node.folder / ADMIN_FILE)
    sites.admin_file.unlink(missing_ok=True)  # left by a process that was killed
    token = secrets.token_hex(32)
    try:
        sites.stream = node.stream
        sites.public_url = await sites.listen(public_app(public_routes(node)), node.config.public, "public")
        admin = admin_app(admin_routes(node, sites.public_url), token)
        sites.admin_url = await sites.listen(admin, node.config.admin, "admin")
        found = json.dumps({"url": sites.admin_url, "token": token, "pid": os.getpid()})
        write_atomically(sites.admin_file, found.encode() + b"\n")
    except BaseException:
        await sites.close()
        raise
    return sites


def public_app(routes: list[web.RouteDef]) -> web.Application:
    """The public application: open to scripts of any origin, small bodies."""
    app = problem.app(max_body=MAX_PUBLIC_BODY)
    app.middlewares.insert(0, _preflight)
    app.on_response_prepare.append(_allow_origin)
    app.add_routes(routes)
    return app


def admin_app(routes: list[web.RouteDef], token: str) -> web.Application:
    """The admin application: every request needs the token."""
    app = problem.app(max_body=MAX_ADMIN_BODY)

    @web.middleware
    async def authorised(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            raise Problem(
                401,
                "unauthorised",
                "this port needs the node's token",
                remedy="use the commands on the node's machine, or the token of admin.json",
            )
        return await handler(request)

    app.middlewares.append(authorised)
    app.add_routes(routes)
    return app


@web.middleware
async def _preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method != "OPTIONS":
        return await handler(request)
    allowed = {"Access-Control-Allow-Methods": "GET, POST", "Access-Control-Allow-Headers": "Content-Type"}
    return web.Response(status=204, headers={**allowed, "Access-Control-Max-Age": "86400"})


async def _allow_origin(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Access-Control-Allow-Origin"] = "*"
