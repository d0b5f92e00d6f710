"""An operator's node over what is wrong: one sentence, exit status 2, and nothing that was stored has changed."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anchor import rollup_keys
from anchor.btc.network import SIGNET
from regtest.bitcoind import Bitcoind
from regtest.operators import Node, start_all
from regtest.ports import Port
from regtest.waiting import wait_until
from tests.regtest.grounds import (
    BURNT,
    Change,
    Ground,
    Refused,
    copied,
    genesis_of,
    ground,
    on_signet,
    refusal,
    refusals,
    set_config,
    signed_by_all,
    with_a_key,
)
from tests.regtest.quick_commands import attempt
from tests.regtest.spoiling import copy, cut, edit, folder_instead, gone, mode, sql, write
from tss import identity
from tss.dkg.committee import SignedCommittee

pytestmark = pytest.mark.regtest


@pytest.fixture(scope="module")
def bitcoind(bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    """The operators' bitcoind, a few blocks high."""
    with Bitcoind(tmp_path_factory.mktemp("bitcoin") / "regtest", binary=bitcoind_path) as node:
        node.rpc().generatetoaddress(5, BURNT)
        yield node


@pytest.fixture(scope="module")
def signet(bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    """A bitcoind on another network, alone."""
    with on_signet(tmp_path_factory.mktemp("bitcoin") / "signet", bitcoind_path) as node:
        yield node


@pytest.fixture(scope="module")
def behind(
    bitcoind: Bitcoind, bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bitcoind]:
    """A bitcoind that knows the headers of our chain and has none of its blocks."""
    with Bitcoind(tmp_path_factory.mktemp("bitcoin") / "behind", zmq=False, binary=bitcoind_path) as node:
        for height in range(1, 6):
            block = bitcoind.rpc().getblockhash(height)
            node.rpc().submitheader(bitcoind.rpc().getblockheader(block, False))
        yield node


@pytest.fixture(scope="module")
def made(bitcoind: Bitcoind, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """Two operators that have made a key together and are stopped."""
    with ground(tmp_path_factory.mktemp("ground"), bitcoind, 2) as found:
        with_a_key(found, "anchor")
        for node in found.operators:
            node.process.ask_to_stop()
        for node in found.operators:
            node.process.stop()
        yield found


@pytest.fixture(scope="module")
def stopped(made: Ground) -> Path:
    """A copy of alice's folder as she left it, that no later test runs on."""
    return copied(made.operators[0].folder, made.folder / "stopped", lambda _: None)


@pytest.fixture
def starts(stopped: Path, tmp_path: Path) -> Callable[..., dict[str, Refused]]:
    """Run alice's node over changed copies of her folder, each named and on ports of its own."""
    free = set_config(peer__port=0, public__port=0)

    def over(folder: Path, change: Change) -> Refused:
        copied(stopped, folder, free)
        change(folder)
        return refusal(folder, "node", "run", "--dir", folder)

    def run(cases: dict[str, Change]) -> dict[str, Refused]:
        return refusals({name: partial(over, tmp_path / name, change) for name, change in cases.items()})

    return run


def papers(committee: SignedCommittee, made: Ground) -> Change:
    """Another committee file, with the genesis that goes with it."""
    genesis = genesis_of(committee, rollup_keys.load(made.validator_keys))

    def change(folder: Path) -> None:
        (folder / "committee.json").write_text(committee.to_json())
        (folder / "genesis.json").write_text(genesis.to_json())

    return change


def asks(bitcoind: Bitcoind) -> Change:
    return set_config(bitcoind__url=bitcoind.rpc_url, bitcoind__cookie=str(bitcoind.cookie))


# The tests


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    refusal(tmp_path, "node", "run", "--dir", tmp_path / "nowhere").check("holdfast node init")
    assert not (tmp_path / "nowhere").exists()
    refusal(tmp_path, "node", "upgrade", "--dir", tmp_path).check("holdfast node init", status=1)


def test_a_damaged_config_is_refused_by_line_or_setting(starts) -> None:
    found = starts(
        {
            "syntax": edit("config.toml", "[peer]", "[peer"),
            "unknown": edit("config.toml", "[policy]", "[policy]\nspeed = 3 #"),
            "type": set_config(public__port="many"),
            "network": set_config(node__network="mars"),
            "binary": write("config.toml", bytes(range(256))),
            "no file": folder_instead("config.toml"),
            "no way to log in": set_config(bitcoind__cookie=""),
            "two ways to log in": set_config(bitcoind__user="me"),
            "no address": set_config(rollup__url="rollup.example"),
            "another's name": set_config(node__name="bob"),
        }
    )
    found["syntax"].check(r"config.toml is damaged .*line \d+.*mend that line")
    found["unknown"].check("unknown field `speed` - at `.*policy`", "config-reference")
    found["type"].check("Expected `int`, got `str` - at `.*public.port`", "config-reference")
    found["network"].check("mars", "node.network", "config-reference")
    found["binary"].check("config.toml is damaged", "restore")
    found["no file"].check("config.toml cannot be read")
    found["no way to log in"].check("set either cookie, or user", "bitcoind")
    found["two ways to log in"].check("set either cookie, or user", "bitcoind")
    found["no address"].check("rollup.url", "https")
    found["another's name"].check("this node is bob", "alice's", "correct")


def test_a_committee_file_that_is_damaged_or_not_ours_is_refused(starts, made: Ground, tmp_path) -> None:
    mine = [identity.load(node.folder) for node in made.operators]
    strangers = [
        identity.create(tmp_path / "x" / n, n, f"https://127.0.0.1:{9 + i}") for i, n in enumerate("xy")
    ]
    theirs, ours = signed_by_all(strangers), signed_by_all(mine, name="other")
    unsigned = SignedCommittee.unsigned(made.committee.committee).to_json()
    found = starts(
        {
            "missing": gone("committee.json"),
            "cut": cut("committee.json", 500),
            "no file": folder_instead("committee.json"),
            "changed": edit("committee.json", '"name": "ours"', '"name": "mine"'),
            "unsigned": write("committee.json", unsigned),
            "without us": papers(theirs, made),
            "other words": write("committee.json", ours.to_json()),
            "other words, other genesis": papers(ours, made),
            "other chain": write("committee.json", signed_by_all(mine, chain="signet").to_json()),
        }
    )
    found["missing"].check("committee.json", "holdfast tss committee accept")
    found["cut"].check("committee.json cannot be used", "no JSON")
    found["no file"].check("committee.json cannot be used", "Is a directory")
    found["changed"].check("alice's signature does not fit", "compare the words")
    found["unsigned"].check("not signed by alice and bob", "holdfast tss committee sign")
    found["without us"].check("no member with this node's host key", "member.json")
    found["other words"].check("compare the words", "with the other operators")
    found["other words, other genesis"].check(
        "node.db is of another rollup or committee", "folder of their own"
    )
    found["other chain"].check("for signet, config.toml says regtest")


def test_a_genesis_file_that_is_damaged_or_not_ours_is_refused(starts, made: Ground) -> None:
    keys = rollup_keys.load(made.validator_keys)
    elsewhere = genesis_of(made.committee, keys, network="signet")
    found = starts(
        {
            "missing": gone("genesis.json"),
            "cut": cut("genesis.json", 300),
            "no file": folder_instead("genesis.json"),
            "other chain": write("genesis.json", elsewhere.to_json()),
            "another rollup": write(
                "genesis.json", genesis_of(made.committee, keys, name="another").to_json()
            ),
        }
    )
    found["missing"].check("genesis.json", "copy the rollup's genesis there, from another operator")
    found["cut"].check("genesis.json cannot be used", "truncated")
    found["no file"].check("genesis.json cannot be used", "Is a directory")
    found["other chain"].check("genesis.json is for signet, config.toml says regtest")
    found["another rollup"].check("node.db is of another rollup", "put those back")


def test_keys_that_others_can_read_or_that_do_not_fit_are_refused(starts, made: Ground) -> None:
    bobs = made.operators[1].folder / "keys"
    found = starts(
        {
            "open host key": mode("keys/host.key", 0o644),
            "open tls key": mode("keys/tls.key", 0o640),
            "no host key": gone("keys/host.key"),
            "bad host key": write("keys/host.key", "zz" * 32),
            "bob's host key": copy(bobs / "host.key", "keys/host.key"),
            "bob's certificate": copy(bobs / "tls.crt", "keys/tls.crt"),
            "bad certificate": write("keys/tls.crt", "certificate"),
            "bob's tls key": copy(bobs / "tls.key", "keys/tls.key"),
            "bad member": write("member.json", "[]"),
        }
    )
    found["open host key"].check("host.key can be read by others", "chmod 600")
    found["open tls key"].check("tls.key can be read by others", "chmod 600")
    found["no host key"].check("host.key is missing", "restore it from a backup")
    found["bad host key"].check("damaged", "restore")
    found["bob's host key"].check("host.key", "member.json", "restore")
    found["bob's certificate"].check("pins another TLS certificate for alice", "restore that file")
    found["bad certificate"].check("tls.crt is no PEM certificate", "restore it")
    found["bob's tls key"].check("tls.key is no key of .*tls.crt", "restore both")
    found["bad member"].check("damaged", "restore")


def test_a_bitcoind_that_is_not_the_right_one_is_refused(
    starts, made: Ground, signet: Bitcoind, behind: Bitcoind
) -> None:
    nobody = Port()
    found = starts(
        {
            "wrong chain": asks(signet),
            "unsynced": asks(behind),
            "unreachable": set_config(bitcoind__url=f"http://127.0.0.1:{nobody.number}"),
            "wrong cookie": set_config(bitcoind__cookie=str(signet.cookie)),
            "no cookie": set_config(bitcoind__cookie=str(made.folder / "none")),
            "no bitcoind": set_config(bitcoind__url=str(made.bitcoind.zmq_url).replace("tcp", "http")),
            "no zmq": set_config(bitcoind__zmq="nonsense"),
        }
    )
    nobody.release()
    found["wrong chain"].check("is on 'signet', not on regtest", "correct the network")
    found["unsynced"].check("has 0 of 5 blocks", "wait until it has caught up")
    found["unreachable"].check("does not answer", "start it, or correct the URL")
    found["wrong cookie"].check("refuses the cookie file", "check rpcauth")
    found["no cookie"].check("cannot read bitcoind's cookie file", "start bitcoind, or give its real path")
    found["no bitcoind"].check("does not answer", "correct the URL")
    found["no zmq"].check("nonsense is no ZMQ address", "zmqpubsequence")


def test_a_busy_port_is_refused_by_its_name(starts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = starts({name: set_config(**{f"{name}__port": port}) for name in ("peer", "public", "admin")})
    for name, refused in found.items():
        refused.check(
            f"the {name} port 127.0.0.1:{port} is not free", rf"change \[{name}\] port in config.toml"
        )


def test_a_database_that_is_not_of_this_release_or_damaged_is_refused(starts, stopped: Path) -> None:
    newer = "UPDATE alembic_version SET version_num = 'x9999'"
    found = starts(
        {
            "newer node.db": sql("node.db", newer),
            "newer signer.db": sql("signer.db", newer),
            "no revision": sql("node.db", "DELETE FROM alembic_version"),
            "swapped": copy(stopped / "signer.db", "node.db"),
            "garbage": write("signer.db", os.urandom(8192)),
            "cut": cut("node.db", 3 * 4096),
            "hole": sql("signer.db", "DROP TABLE boots"),
            "activation": sql("node.db", "INSERT INTO documents VALUES ('activation', x'00')"),
            "no file": folder_instead("signer.db"),
        }
    )
    for name in ("node", "signer"):
        found[f"newer {name}.db"].check(
            f"{name}.db has the schema x9999, which is newer", "install the release"
        )
    found["no revision"].check("tables, but no revision", "restore it from a backup")
    found["swapped"].check("node.db has the schema s", "newer than this release")
    found["garbage"].check("signer.db cannot be read", "restore it from a backup")
    found["cut"].check("node.db cannot be read", "malformed", "the node builds it anew")
    found["hole"].check("signer.db cannot be used .*boots", "holdfast node restore")
    found["activation"].check("damaged activation record", "the node builds it anew")
    found["no file"].check("signer.db cannot be read")


def test_headers_of_another_chain_are_refused(starts) -> None:
    found = starts(
        {
            "signet's": write("headers/main.bin", SIGNET.genesis),
            "garbage": write("headers/main.bin", os.urandom(400)),
            "no file": folder_instead("headers/main.bin"),
        }
    )
    for name in ("signet's", "garbage"):
        found[name].check("begins with another header", "move it away")
    found["no file"].check("main.bin cannot be used", "Is a directory")


def test_an_upgrade_refuses_what_a_start_refuses(stopped: Path, tmp_path: Path) -> None:
    newer = sql("signer.db", "UPDATE alembic_version SET version_num = 'x9999'")
    folder = copied(stopped, tmp_path / "newer", newer)
    refusal(folder, "node", "upgrade", "--dir", folder).check("newer than this release", status=1)


@pytest.fixture(scope="module")
def up(made: Ground, stopped: Path) -> Ground:
    """Both nodes, started over damage that costs nothing: what it was is read or made again. Not stopped here."""
    assert stopped.exists(), "the others copy that folder, not this one"
    alice, bob = (node.folder for node in made.operators)
    share = alice / "keys" / "anchor-1.share"
    share.write_bytes(b"damaged")
    share.chmod(0o644)
    cut("headers/main.bin", 3 * 80 + 7)(alice)
    (alice / "node.db-wal").write_bytes(os.urandom(5000))
    (bob / "keys" / "peers" / "alice.crt").write_text("no certificate")
    with (bob / "headers" / "main.bin").open("ab") as headers:
        headers.write(b"x" * 80)
    start_all(made.operators)
    return made


def check_of(node: Node, name: str) -> dict[str, Any]:
    """One line of a node's health."""
    return next(c for c in node.get("/v1/health")["checks"] if c["name"] == name)


def test_what_can_be_made_again_is(up: Ground, bitcoind: Bitcoind) -> None:
    alice = up.operators[0]
    assert (alice.folder / "keys" / "anchor-1.share").stat().st_mode & 0o777 == 0o600
    assert "share restored" in alice.process.log.read_text()
    for node in up.operators:
        best = bitcoind.rpc().getbestblockhash()
        wait_until(
            lambda node=node, best=best: node.get("/v1/headers")["tip_hash"] == best, "the tip", seconds=20
        )


def test_a_second_process_on_a_folder_is_refused_by_the_firsts_number(up: Ground, tmp_path: Path) -> None:
    alice = up.operators[0]
    first = rf"in use by process {alice.process.pid}: stop that one first"
    refusal(tmp_path, "node", "run", "--dir", alice.folder).check(first)
    refusal(tmp_path, "node", "upgrade", "--dir", alice.folder).check(first, status=1)
    assert alice.get("/v1/info")["name"] == "alice"


def test_a_bitcoind_that_goes_away_is_told_in_health_and_followed_again(
    up: Ground, bitcoind: Bitcoind
) -> None:
    alice = up.operators[0]
    bitcoind.stop()
    wait_until(lambda: not check_of(alice, "bitcoind")["ok"], "alice to miss her bitcoind", seconds=90)
    assert re.search("does not answer .*start it", check_of(alice, "bitcoind")["text"])
    assert alice.get("/v1/info")["name"] == "alice"
    bitcoind.start()
    (block,) = bitcoind.rpc().generatetoaddress(1, BURNT)
    wait_until(lambda: alice.get("/v1/headers")["tip_hash"] == block, "alice to follow again", seconds=90)
    assert check_of(alice, "bitcoind")["ok"]
    assert "Traceback" not in alice.process.log.read_text()


def test_operators_with_different_committee_files_tell_each_other_both_words(up: Ground) -> None:
    alice, bob = up.operators
    other = signed_by_all([identity.load(node.folder) for node in up.operators], name="other")
    bob.process.stop()
    for name in ("node.db", "signer.db"):
        (bob.folder / name).unlink()
    papers(other, up)(bob.folder)
    start_all([bob])
    mine, theirs = up.committee.committee.words, other.committee.words
    for node, peer, words in ((alice, "bob", mine), (bob, "alice", theirs)):
        differs = f"differs from {peer}'s: compare words, yours {words}"
        told = lambda node=node, differs=differs: differs in check_of(node, "committee")["text"]  # noqa: E731
        wait_until(told, f"{node.name} to tell in health", seconds=90)
        assert not check_of(node, "committee")["ok"]
    refused = attempt("tss", "dkg", "--dir", alice.folder, "--purpose", "mint")
    assert refused.status == 1
    assert mine in refused.err
    assert theirs in refused.err
    assert not any("Traceback" in node.process.log.read_text() for node in up.operators)
