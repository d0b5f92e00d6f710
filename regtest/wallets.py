"""Money of people, in wallets of one bitcoind: the miner's and the depositor's."""

from dataclasses import dataclass
from typing import Any

from regtest.bitcoind import Bitcoind
from regtest.network import SATS_PER_BTC


@dataclass(frozen=True, slots=True)
class Payment:
    """An output that a wallet paid; the txid in display order."""

    txid: str
    vout: int

    def __str__(self) -> str:
        return f"{self.txid}:{self.vout}"


class Wallet:
    """One wallet of a bitcoind, loaded or made when first used."""

    def __init__(self, bitcoind: Bitcoind, name: str) -> None:
        """Remember which; nothing is made yet."""
        self.bitcoind, self.name = bitcoind, name

    def rpc(self) -> Any:
        """A fresh proxy on this wallet: for one call."""
        self.bitcoind.ensure_wallet(self.name)
        return self.bitcoind.rpc(self.name)

    def address(self, kind: str = "bech32m") -> str:
        """A new address to be paid at."""
        return str(self.rpc().getnewaddress("", kind))

    def pay(self, address: str, sats: int) -> Payment:
        """Pay an address; the transaction is unconfirmed."""
        txid = str(self.rpc().sendtoaddress(address, btc(sats)))
        outputs = self.bitcoind.rpc().getrawtransaction(txid, True)["vout"]
        paid = next(out["n"] for out in outputs if out["scriptPubKey"].get("address") == address)
        return Payment(txid, int(paid))

    def received(self, address: str) -> int:
        """What the address received, in sats, at one confirmation."""
        return sats(self.rpc().getreceivedbyaddress(address, 1))


def btc(amount: int) -> str:
    """Sats as the decimal text that bitcoind takes, so that no float ever touches money."""
    return f"{amount // SATS_PER_BTC}.{amount % SATS_PER_BTC:08d}"


def sats(amount: Any) -> int:
    """What bitcoind states in BTC (a Decimal), in sats."""
    return int(amount * SATS_PER_BTC)
