"""The matrix's corners with real processes over mutual TLS: its smallest and its largest committee.

Each member is a process with its own database and certificate. In every row as many as may be are away or lie, and
the signature must come, with the liar named by evidence that everybody holds. One more away is refused by name, and
when that one returns the next request succeeds.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.soak.committee import Counts, Node, committee
from tests.soak.faults import SoakFault

CORNERS = ((3, 2), (21, 14))
_KEY = "corner"
_QUIET: dict[str, object] = {"ping_every": 8.0, "share_timeout": 8.0}  # 420 lines on two cores


async def corner(folder: Path, n: int, t: int, counts: Counts, say: Callable[[str], None]) -> None:
    """One size: key generation, signing with 0, some and n - t away, with a liar, with too few, key work."""
    settings = _QUIET if n > 5 else {}
    async with committee(folder, n, t, **settings) as nodes:
        first = nodes[0]
        await first.persist("/v1/tss/dkg", purpose=_KEY)
        for node in (first, nodes[-1]):
            await _signs(node, "all are here", counts)
        await first.persist("/v1/tss/refresh", purpose=_KEY)
        await first.persist("/v1/tss/repair", purpose=_KEY)
        await _with_a_liar(nodes, counts)
        away: list[Node] = []
        for number in sorted({1, (n - t + 1) // 2, n - t}):
            while len(away) < number:
                away.append(nodes[-1 - len(away)])
                await away[-1].kill()
            await _signs(first, f"{number} away", counts)
            await _signs(nodes[1], f"{number} away, another leads", counts)
        last = nodes[-1 - len(away)]
        await last.kill()
        status, told = await first.ask("POST", "/v1/tss/sign-test", key=_KEY, text="too few")
        if status != 503 or f"of the {t} signers needed" not in told.get("detail", ""):
            raise SoakFault(f"{t} of {n} with {n - t + 1} away: {status} {told}")
        await last.start()
        await last.until_up({node.name for node in nodes[: t - 1]})
        await first.until_up({last.name})
        await _signs(first, "one came back", counts)
        await _signs(last, "and leads", counts)
        for node in away:
            await node.start()
        await first.until_up({node.name for node in nodes if node is not first})
        await first.persist("/v1/tss/refresh", purpose=_KEY)
        await _signs(nodes[-1], "all are back", counts)
        counts.take(nodes)
    how = f"{n} processes, up to {n - t} away or lying, key work, too few refused by name"
    counts.troubles[f"corner ({n}, {t})"] = how
    say(f"corner ({n}, {t}): {how}")


async def _signs(node: Node, text: str, counts: Counts) -> None:
    await node.sign(_KEY, text)
    counts.signatures += 1


async def _with_a_liar(nodes: list[Node], counts: Counts) -> None:
    """One member signs wrong shares; once a leader takes it among its signers, all hold what convicts it."""
    liar, others = nodes[1], [node for node in nodes if node is not nodes[1]]
    await _anew(liar, nodes, lie=True)
    for number in range(24):
        leader = others[number % len(others)]
        if number >= len(others):  # who holds commitments of others asks nobody else; a new start holds none
            await _anew(leader, nodes)
        await _signs(leader, f"with a liar {number}", counts)
        if await _convicted(leader, liar.name):
            break
    else:
        raise SoakFault(f"nobody took {liar.name} among its signers")
    async with asyncio.timeout(60):
        for node in others:
            while not await _convicted(node, liar.name):
                await asyncio.sleep(0.1)
    await _anew(liar, nodes)


async def _anew(node: Node, nodes: list[Node], **settings: object) -> None:
    others = [other for other in nodes if other is not node]
    await node.kill()
    await node.start(**settings)
    await node.until_up({other.name for other in others})
    for other in others:
        await other.until_up({node.name})


async def _convicted(node: Node, name: str) -> bool:
    _, told = await node.ask("GET", "/v1/tss/evidence")
    return any(
        (one.get("member"), one.get("kind")) == (name, "bad-signature-share")
        for one in told.get("evidence", [])
    )
