"""One real bitcoind as a handle: it starts, answers, survives, and never outlives us."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from bitcoinrpc.authproxy import JSONRPCException

from regtest.bitcoind import Bitcoind, BitcoindError
from regtest.waiting import wait_until
from tests.regtest.processes import gone

pytestmark = pytest.mark.regtest


def test_it_answers_and_knows_its_addresses(bitcoind: Bitcoind) -> None:
    assert bitcoind.rpc().getblockchaininfo()["chain"] == "regtest"
    assert not bitcoind.rpc().getblockchaininfo()["initialblockdownload"]
    assert [n["address"] for n in bitcoind.rpc().getzmqnotifications()] == [bitcoind.zmq_url]
    assert bitcoind.rpc_url.startswith("http://127.0.0.1:")
    assert bitcoind.log.is_file()


def test_it_listens_on_this_machine_only(bitcoind: Bitcoind) -> None:
    mine = set()
    for descriptor in Path(f"/proc/{bitcoind.pid}/fd").iterdir():
        try:
            link = descriptor.readlink()
        except FileNotFoundError:
            continue  # closed while we looked
        if link.name.startswith("socket:["):
            mine.add(link.name[8:-1])
    for table in ("tcp", "tcp6"):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            columns = row.split()
            if columns[9] in mine and columns[3] == "0A":  # 0A: listening
                assert columns[1].startswith("0100007F:"), row


def test_its_wallet_and_chain_survive_a_restart_on_the_same_ports(bitcoind: Bitcoind) -> None:
    address = bitcoind.rpc("miner").getnewaddress()
    bitcoind.rpc().generatetoaddress(2, address)
    before = (bitcoind.rpc_url, bitcoind.p2p, bitcoind.zmq_url)
    bitcoind.restart()
    assert (bitcoind.rpc_url, bitcoind.p2p, bitcoind.zmq_url) == before
    assert bitcoind.rpc().getblockcount() == 2
    assert bitcoind.rpc("miner").getaddressinfo(address)["ismine"]


def test_it_starts_again_after_a_power_failure(bitcoind: Bitcoind) -> None:
    bitcoind.kill()
    assert not bitcoind.running
    bitcoind.start()
    assert bitcoind.rpc().getblockcount() == 0


def test_a_proxy_that_saw_an_error_harms_no_later_call(bitcoind: Bitcoind) -> None:
    with pytest.raises(JSONRPCException) as caught:
        bitcoind.rpc().getblockhash(99)
    assert caught.value.code == -8
    assert bitcoind.rpc().getblockcount() == 0


def test_two_on_one_folder_are_refused_with_cores_own_words(
    bitcoind: Bitcoind, new_bitcoind: Callable[..., Bitcoind]
) -> None:
    with pytest.raises(BitcoindError, match="lock"):
        new_bitcoind("bitcoind").start()
    assert bitcoind.rpc().getblockcount() == 0  # the winner, its ports and its cookie are unharmed


def test_a_wrong_flag_is_reported_in_cores_own_words(new_bitcoind: Callable[..., Bitcoind]) -> None:
    with pytest.raises(BitcoindError, match="no-such-flag"):
        new_bitcoind(extra=("-no-such-flag=1",)).start()


def test_asking_before_the_start_says_what_to_do(new_bitcoind: Callable[..., Bitcoind]) -> None:
    with pytest.raises(BitcoindError, match="start it first"):
        _ = new_bitcoind().rpc_url


def test_many_at_once_get_ports_of_their_own(new_bitcoind: Callable[..., Bitcoind]) -> None:
    nodes = [new_bitcoind(f"n{i}") for i in range(4)]
    for node in nodes:
        node.launch()
    for node in nodes:
        node.wait_ready()
    urls = [url for node in nodes for url in (node.rpc_url[7:], node.p2p, str(node.zmq_url)[6:])]
    assert len(set(urls)) == 12


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["a crash", "Ctrl-C"])
def test_no_bitcoind_outlives_us_after(ending: signal.Signals, bitcoind_path: Path, tmp_path: Path) -> None:
    story = textwrap.dedent(
        """
        import sys, time
        from pathlib import Path
        from regtest.bitcoind import Bitcoind
        node = Bitcoind(Path(sys.argv[1]), binary=Path(sys.argv[2])).start()
        print(node.pid, flush=True)
        time.sleep(600)
        """
    )
    command = [sys.executable, "-c", story, str(tmp_path / "node"), str(bitcoind_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid)
        os.kill(parent.pid, ending)
        parent.wait(timeout=20)
        wait_until(lambda: gone(pid), "bitcoind to end with its parent", seconds=90)
