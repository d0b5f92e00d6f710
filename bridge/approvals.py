"""The approval port: the one place where a signature for coins or certificates is agreed to.

tss asks twice, when a request comes and again before a share leaves. Everything is rebuilt here from the payload,
this node's own bitcoind and its own copy of the rollup; what a leader says is never taken over.
"""

from collections.abc import Awaitable, Callable

from anchor.bitcoind import NodeError
from anchor.inscriber import NotApproved
from anchor.store import AnchorStore, StoredPackage
from bridge.certifier import Certifier
from bridge.desk import Desk, package_id
from bridge.lane import LaneOnChain
from bridge.succession import SuccessionDesk, SuccessionFault
from bridge.treasurer import TreasuryDesk
from bridge.treasury import builder, certificates
from bridge.treasury.refusal import Refusal
from tss.frost.path import INTERNAL, KEY_ONLY, SigningPath, key_with_root
from tss.signing.approval import Approved, Refused


class Approvals:
    """Answers for the purposes anchor, treasury and mint; refuses every other."""

    def __init__(
        self,
        lanes: LaneOnChain,
        treasury: TreasuryDesk,
        certifier: Certifier,
        successions: SuccessionDesk | None,
        anchors: AnchorStore,
        fresh: Callable[[], Awaitable[bool]],
        look_again: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
        outdated: Callable[[], str | None],
    ) -> None:
        self.lanes, self.treasury, self.certifier = lanes, treasury, certifier
        self.successions, self.anchors, self.fresh = successions, anchors, fresh
        self.look_again, self.clock, self.outdated = look_again, clock, outdated

    async def approve(self, purpose: str, payload: bytes, epoch: int) -> Approved | Refused:
        """Say yes with what is to be signed under the key of `epoch`, or no with the reason.

        A leader may have seen a block a moment before us: before a no that waiting can cure, look once more.
        """
        verdict = await self._judge(purpose, payload, epoch)
        if isinstance(verdict, Refused) and verdict.retryable:
            await self.look_again()
            verdict = await self._judge(purpose, payload, epoch)
        return verdict

    async def _judge(self, purpose: str, payload: bytes, epoch: int) -> Approved | Refused:
        try:
            if not await self.fresh():
                return Refused("this node has not read bitcoind's newest block yet", retryable=True)
        except NodeError as fault:
            return Refused(f"this node's bitcoind does not answer: {fault}", retryable=True)
        if (reason := self.outdated()) is not None:
            return Refused(reason, retryable=True)
        try:
            match purpose:
                case "anchor":
                    return await self._anchor(payload, epoch)
                case "treasury":
                    return await self._treasury(payload, epoch)
                case "mint":
                    return await self._mint(payload, epoch)
                case _:
                    return Refused(f"this node signs nothing for the purpose {purpose!r}", retryable=False)
        except NotApproved as no:
            return Refused(no.reason, no.retryable)
        except Refusal as no:
            return Refused(str(no), no.retryable)
        except SuccessionFault as no:
            return Refused(no.reason, no.retryable)
        except NodeError as fault:
            return Refused(f"this node's bitcoind does not answer: {fault}", retryable=True)

    async def _anchor(self, payload: bytes, epoch: int) -> Approved | Refused:
        package = self.lanes.approve(payload)
        if self.lanes.key_epoch(payload) != epoch:
            return Refused(_not_of(epoch), retryable=False)
        await self._remember(self.lanes, payload)
        paths = {"key": KEY_ONLY, "internal": INTERNAL}
        return Approved(tuple((message, paths[kind]) for message, kind in package.messages))

    async def _treasury(self, payload: bytes, epoch: int) -> Approved | Refused:
        messages = builder.messages(await self.treasury.approve(payload), epoch)
        if not messages:
            return Refused(_not_of(epoch), retryable=False)
        await self._remember(self.treasury, payload)
        return Approved(tuple((message, _path(root)) for message, root in messages))

    async def _mint(self, payload: bytes, epoch: int) -> Approved | Refused:
        if self.successions is not None and certificates.is_succession(payload):
            return Approved((((await self.successions.approve(payload, epoch)).message, INTERNAL),))
        statement = self.certifier.approve(payload)
        if statement.epoch != epoch:
            return Refused(_not_of(epoch), retryable=False)
        return Approved(((statement.message, INTERNAL),))

    async def _remember(self, desk: Desk, payload: bytes) -> None:
        """Keep the batch before a share leaves, so that a lost disk elsewhere loses no record."""
        name, (sequence, tip) = package_id(desk, payload), desk.spends(payload)
        now = int(self.clock())
        package = StoredPackage(name, desk.purpose, tip.encode(), sequence, payload, None, None, now)
        await self.anchors.add_package(package)


def _not_of(epoch: int) -> str:
    return f"nothing in this request is signed under the key of epoch {epoch}"


def _path(root: bytes | None) -> SigningPath:
    return KEY_ONLY if root is None else key_with_root(root)
