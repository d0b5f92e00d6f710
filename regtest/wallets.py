"""Money of people, in wallets of one bitcoind: the miner's and the depositor's."""

from dataclasses import dataclass
from typing import Any

from regtest.bitcoind import Bitcoind
from regtest.network import SATS_PER_BTC

FEE = 5_000  # of a payment made by hand


@dataclass(frozen=True, slots=True)
class Payment:
    """An output that a wallet paid; the txid in display order."""

    txid: str
    vout: int

    def __str__(self) -> str:
        return f"{self.txid}:{self.vout}"


@dataclass(frozen=True, slots=True)
class Rivals:
    """Two payments of one coin: the one that was sent, and the signed bytes (hex) of its double-spend."""

    payment: Payment
    double_spend: str


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
        same = address.lower()  # bech32 may be written in capitals
        paid = next(out["n"] for out in outputs if out["scriptPubKey"].get("address", "").lower() == same)
        return Payment(txid, int(paid))

    def rivals(self, address: str, amount: int) -> Rivals:
        """Pay an address, and keep a signed transaction that would take the coin back instead."""
        coin = max(self.rpc().listunspent(1), key=lambda each: each["amount"])
        spent, change = [{"txid": coin["txid"], "vout": coin["vout"]}], sats(coin["amount"]) - amount - FEE
        sent = self._signed(spent, {address: btc(amount), self.address(): btc(change)})
        taken = self._signed(spent, {self.address(): btc(amount + change)})
        txid = str(self.rpc().sendrawtransaction(sent))
        return Rivals(Payment(txid, 0), taken)

    def raw(self, txid: str) -> str:
        """The bytes of one of its own transactions, in hex."""
        return str(self.rpc().gettransaction(txid)["hex"])

    def received(self, address: str) -> int:
        """What the address received, in sats, at one confirmation."""
        return sats(self.rpc().getreceivedbyaddress(address, 1))

    def _signed(self, inputs: list[dict[str, Any]], outputs: dict[str, str]) -> str:
        raw = self.rpc().createrawtransaction(inputs, outputs)
        return str(self.rpc().signrawtransactionwithwallet(raw)["hex"])


def btc(amount: int) -> str:
    """Sats as the decimal text that bitcoind takes, so that no float ever touches money."""
    return f"{amount // SATS_PER_BTC}.{amount % SATS_PER_BTC:08d}"


def sats(amount: Any) -> int:
    """What bitcoind states in BTC (a Decimal), in sats."""
    return int(amount * SATS_PER_BTC)
