"""The approval port: the one place where a signature for coins or certificates is agreed to.

tss asks twice, when a request comes and again before a share leaves. Everything is rebuilt here from the payload,
this node's own bitcoind and its own copy of the rollup; what a leader says is never taken over.
"""

from collections.abc import Awaitable, Callable

from anchor.btc.ids import OutPoint
from anchor.inscriber import LaneDesk, NotApproved
from anchor.store import AnchorStore, StoredPackage
from bridge.certifier import Certifier
from bridge.library import Library
from bridge.treasurer import TreasuryDesk
from bridge.treasury import builder
from bridge.treasury.refusal import Refusal
from tss.frost.path import INTERNAL, KEY_ONLY, SigningPath, key_with_root
from tss.signing.approval import Approved, Refused
from tss.signing.slots import request_id


class Approvals:
    """Answers for the purposes anchor, treasury and mint; refuses every other."""

    def __init__(
        self,
        lanes: LaneDesk,
        treasury: TreasuryDesk,
        certifier: Certifier,
        anchors: AnchorStore,
        library: Library,
        look_again: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self.lanes, self.treasury, self.certifier = lanes, treasury, certifier
        self.anchors, self.library = anchors, library
        self.look_again, self.clock = look_again, clock

    async def approve(self, purpose: str, payload: bytes) -> Approved | Refused:
        """Say yes with what is to be signed, or no with the reason.

        A leader may have seen a block a moment before us: before a no that waiting can cure, look once more.
        """
        verdict = await self._judge(purpose, payload)
        if isinstance(verdict, Refused) and verdict.retryable:
            await self.look_again()
            verdict = await self._judge(purpose, payload)
        return verdict

    async def _judge(self, purpose: str, payload: bytes) -> Approved | Refused:
        try:
            match purpose:
                case "anchor":
                    return await self._anchor(payload)
                case "treasury":
                    return await self._treasury(payload)
                case "mint":
                    return Approved(((self.certifier.approve(payload).message, INTERNAL),))
                case _:
                    return Refused(f"this node signs nothing for the purpose {purpose!r}", retryable=False)
        except NotApproved as no:
            return Refused(no.reason, no.retryable)
        except Refusal as no:
            return Refused(str(no), no.retryable)

    async def _anchor(self, payload: bytes) -> Approved:
        package = self.lanes.approve(payload)
        await self._remember("anchor", payload, *self.lanes.spends(payload))
        paths = {"key": KEY_ONLY, "internal": INTERNAL}
        return Approved(tuple((message, paths[kind]) for message, kind in package.messages))

    async def _treasury(self, payload: bytes) -> Approved:
        batch = await self.treasury.approve(payload)
        await self.library.add(payload)
        await self._remember("treasury", payload, *self.treasury.spends(payload))
        return Approved(tuple((message, _path(root)) for message, root in builder.messages(batch)))

    async def _remember(self, purpose: str, payload: bytes, sequence: int, tip: OutPoint) -> None:
        """Keep the batch before a share leaves, so that a lost disk elsewhere loses no record."""
        name = request_id(purpose, payload)
        coin = tip.encode()
        package = StoredPackage(name, purpose, coin, sequence, payload, None, None, int(self.clock()))
        await self.anchors.add_package(package)


def _path(root: bytes | None) -> SigningPath:
    return KEY_ONLY if root is None else key_with_root(root)
