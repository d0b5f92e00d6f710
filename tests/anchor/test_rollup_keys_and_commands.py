"""Key files and the rollup's commands: one sentence for every mistake, and nothing of a secret shown."""

import json
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from anchor import rollup_keys
from anchor.rollup.genesis import Genesis
from anchor.rollup_cli import rollup
from anchor.rollup_keys import KeyFileError, RollupKey
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import GEN, MALLORY


def call(*args: object) -> Result:
    return CliRunner().invoke(rollup, [str(a) for a in args])


def test_a_key_file_is_readable_by_its_owner_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "alice.json"
    key = RollupKey.new()
    rollup_keys.save(path, [key])
    assert path.stat().st_mode & 0o777 == 0o600
    assert rollup_keys.load_one(path) == key
    with pytest.raises(KeyFileError, match="never overwritten"):
        rollup_keys.save(path, [RollupKey.new()])
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        rollup_keys.load(path)


def test_a_key_never_shows_its_secret() -> None:
    key = RollupKey.new()
    assert key.secret.hex() not in f"{key!r} {key}"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"keys": []}', '{"keys": [{"public": "00", "secret": "zz"}]}']
)
def test_a_damaged_key_file_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "k.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(KeyFileError):
        rollup_keys.load(path)


def test_a_public_key_that_does_not_fit_is_noticed_and_the_secret_is_not_told(tmp_path: Path) -> None:
    path, secret = tmp_path / "k.json", RollupKey.new().secret.hex()
    path.write_text(json.dumps({"keys": [{"public": MALLORY.x.hex(), "secret": secret}]}))
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="does not fit") as caught:
        rollup_keys.load(path)
    assert secret not in str(caught.value)


def test_keys_are_made_and_shown_by_command(tmp_path: Path) -> None:
    made = call("key", "new", "-o", tmp_path / "v.json", "--count", 4, "--json")
    assert made.exit_code == 0
    publics = json.loads(made.output)["keys"]
    assert len(publics) == 4
    assert call("key", "show", tmp_path / "v.json").output.split() == publics
    again = call("key", "new", "-o", tmp_path / "v.json")
    assert again.exit_code == 1
    assert "never overwritten" in again.output


def test_every_command_shows_an_example() -> None:
    for path in (["run"], ["validator", "run"], ["key", "new"], ["key", "show"], ["balance"], ["transfer"]):
        assert "Example: holdfast rollup" in call(*path, "--help").output
    assert "Example:" in call("genesis", "make", "--help").output
    assert "Example:" in call("block", "--help").output


@pytest.fixture
def genesis_file(tmp_path: Path) -> Path:
    path = tmp_path / "genesis.json"
    path.write_text(GEN.to_json())
    return path


def test_mistakes_end_in_one_sentence_and_a_status(tmp_path: Path, genesis_file: Path) -> None:
    away = "http://127.0.0.1:1"
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    key = tmp_path / "key.json"
    assert call("key", "new", "-o", key).exit_code == 0
    run = ("run", "--node", away, "--port", 0)
    vote = ("validator", "run", "--rollup", away, "--bitcoind-url", away, "--cookie", tmp_path / "cookie")
    for args, words in [
        (("balance", "ab", "--rollup", away), "64 hex digits"),
        (("balance", "00" * 32, "--rollup", away), "does not answer"),
        (("block", 1, "--rollup", away), "does not answer"),
        (("transfer", "--key", key, "--to", "00" * 32, "--amount", 5, "--rollup", away), "does not answer"),
        (
            ("transfer", "--key", broken, "--to", "00" * 32, "--amount", 5, "--rollup", away),
            "chmod|no key file",
        ),
        ((*run, "--genesis", broken, "--db", tmp_path / "a.db"), "not a genesis file"),
        ((*vote, "--genesis", genesis_file, "--keys", key, "--db", tmp_path / "b.db"), "cookie"),
    ]:
        result = call(*args)
        assert result.exit_code != 0, args
        assert any(word in result.output for word in words.split("|")), result.output
        assert "Traceback" not in result.output
        assert not isinstance(result.exception, AssertionError)


def test_a_busy_port_is_named(tmp_path: Path, genesis_file: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        node = "http://127.0.0.1:1"
        result = call(
            "run", "--genesis", genesis_file, "--db", tmp_path / "s.db", "--port", port, "--node", node
        )
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in result.output
    assert not (tmp_path / "s.db").exists()


@pytest.mark.parametrize("url", ["nonsense", "127.0.0.1:8101", "http://", "ftp://127.0.0.1", "http://a:b"])
def test_what_is_no_url_is_refused_before_anything_is_made(
    tmp_path: Path, genesis_file: Path, url: str
) -> None:
    result = call("run", "--genesis", genesis_file, "--db", tmp_path / "s.db", "--port", 0, "--node", url)
    assert (result.exit_code, "is no URL: give --node" in result.output) == (2, True)
    assert not (tmp_path / "s.db").exists()
    assert call("balance", "00" * 32, "--rollup", url).exit_code == 2


SHOWN = {
    "hash": "ab" * 32,
    "chain": "regtest",
    "threshold": 2,
    "members": [{"host_key": key.hex()} for key in GEN.host_keys],
}


def making(tmp_path: Path, url: str, *more: object) -> tuple[object, ...]:
    where = ("--bitcoind-url", url, "--cookie", tmp_path / "bitcoind" / "regtest" / ".cookie")
    return ("genesis", "make", "-o", tmp_path / "g.json", "--id", 3, "--name", "mine", *where, *more)


@pytest.mark.regtest
def test_a_genesis_is_made_from_the_committee_as_shown_a_key_file_and_the_right_bitcoind(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    (tmp_path / "shown.json").write_text(json.dumps(SHOWN))
    keys = json.loads(call("key", "new", "-o", tmp_path / "v.json", "--count", 3, "--json").output)["keys"]
    papers = ("--committee", tmp_path / "shown.json", "--validators", tmp_path / "v.json", "--k", 2)
    rpc = bitcoind.rpc("miner")
    rpc.generatetoaddress(5, rpc.getnewaddress())
    made = call(*making(tmp_path, bitcoind.rpc_url, *papers))
    assert made.exit_code == 0, made.output
    found = Genesis.from_json((tmp_path / "g.json").read_bytes())
    assert (found.network, found.committee_hash, found.bitcoin_height) == ("regtest", bytes([0xAB] * 32), 3)
    assert [v.key.hex() for v in found.validators] == keys
    assert (found.host_keys, found.threshold) == (GEN.host_keys, 2)
    assert "exists: choose another name" in call(*making(tmp_path, bitcoind.rpc_url, *papers)).output
    (tmp_path / "g.json").unlink()
    (tmp_path / "shown.json").write_text(json.dumps(SHOWN | {"chain": "signet"}))
    other = call(*making(tmp_path, bitcoind.rpc_url, *papers))
    assert "is on 'regtest', not on signet" in other.output
    assert not (tmp_path / "g.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--network", "regtest"), "give --committee"),
        (("--network", "regtest", "--committee-hash", "ab" * 32, "--host-key", "ab" * 32), "and --threshold"),
        (
            ("--network", "regtest", "--committee-hash", "ab" * 32, "--host-key", "xyz", "--threshold", 1),
            "is no host key",
        ),
        (("--network", "regtest", "--committee-hash", "zz" * 32, "--host-key", "ab" * 32), "64 hex digits"),
    ],
)
def test_a_committee_that_is_not_told_right_is_refused(
    tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    result = call(*making(tmp_path, "http://127.0.0.1:1", *words, "--validator", "00" * 32))
    assert result.exit_code == 2
    assert said in result.output
    (tmp_path / "committee.json").write_text("{}")
    file = ("--committee", tmp_path / "committee.json")
    odd = call(*making(tmp_path, "http://127.0.0.1:1", *file, "--validator", "00" * 32))
    assert "holdfast tss committee show committee.json --json" in " ".join(odd.output.split())
