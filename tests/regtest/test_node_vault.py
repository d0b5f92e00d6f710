"""Real nodes under passphrases: sealed, hardened, backed up, rehearsed on every member, and told in node status."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from regtest.command import attempt, holdfast_json
from regtest.operators import start_all
from regtest.waiting import wait_until
from tests.bridge.commands import holdfast
from tests.regtest.grounds import ground

pytestmark = pytest.mark.regtest

PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def sealed(tmp_path, bitcoind, monkeypatch):
    """Three operators with sealed folders; the nodes get their passphrase as systemd gives it."""
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "holdfast-passphrase").write_text(PASSPHRASE + "\n")
    with ground(tmp_path / "world", bitcoind, 3) as found:
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
        for node in found.operators:
            assert "lay open" in holdfast("node", "passphrase", "--dir", node.folder)[0]
        yield found


def checks_of(node):
    return {c["name"]: c for c in holdfast_json("node", "status", "--dir", node.folder)["checks"]}


def ready(nodes):
    for node in nodes:
        others = [peer["up"] for peer in node.admin.get("/v1/tss/peers")["peers"]]
        if not all(others):
            return False
    return True


def test_every_member_proves_its_backup_beside_its_running_hardened_node(sealed, tmp_path):
    nodes = sealed.operators
    start_all(nodes)
    wait_until(lambda: ready(nodes), "the nodes to hear each other", seconds=90)
    before = checks_of(nodes[0])
    assert before["vault"]["ok"]
    assert before["process"]["ok"], before["process"]
    assert not before["rehearsal"]["ok"]
    assert "never: run `holdfast node rehearse" in before["rehearsal"]["text"]
    assert not {"vault", "process", "backup", "rehearsal"} & {
        check["name"] for check in nodes[0].get("/v1/health")["checks"]
    }, "what helps a thief is not public"
    for node in nodes:
        kernel = _status(node.process.pid)
        assert kernel["Umask"] == "0077"
        limits = Path(f"/proc/{node.process.pid}/limits").read_text().splitlines()
        assert next(x for x in limits if "core" in x).split()[4:6] == ["0", "0"]
        assert PASSPHRASE not in Path(f"/proc/{node.process.pid}/environ").read_text()
    for purpose in ("anchor", "treasury"):
        holdfast_json("tss", "dkg", "--dir", nodes[0].folder, "--purpose", purpose)
    boots = {node.name: node.get("/v1/info")["boot_id"] for node in nodes}
    with ThreadPoolExecutor(3) as pool:
        for done in pool.map(lambda node: _rehearsed(node, tmp_path), nodes):
            assert done["keys"] == ["anchor", "treasury"]
    assert {node.name: node.get("/v1/info")["boot_id"] for node in nodes} == boots
    for node in nodes:
        after = checks_of(node)
        assert after["backup"]["ok"], after["backup"]
        assert after["rehearsal"]["ok"], after["rehearsal"]
        assert "0 days ago" in after["rehearsal"]["text"]
        assert not (node.folder / "rehearsal").exists()
        log = node.process.log.read_text()
        assert "Traceback" not in log
        assert PASSPHRASE not in log
        assert node.process.peak_memory < 150e6
    holdfast_json("tss", "sign-test", "--dir", nodes[1].folder, "--key", "treasury", "still one committee")
    made = holdfast_json("tss", "certificate", "rotate", "--dir", nodes[0].folder, "--overlap", "0")
    assert made["missing"] == {}
    wait_until(lambda: ready(nodes), "the nodes to hear each other under the new certificate", seconds=90)
    after = checks_of(nodes[0])
    assert after["certificate"]["ok"], after["certificate"]
    assert "certificate was rotated since the backup" in after["backup"]["text"]
    holdfast_json("tss", "sign-test", "--dir", nodes[1].folder, "--key", "treasury", "as before")
    assert _rehearsed(nodes[0], tmp_path / "again")["keys"] == ["anchor", "treasury"]
    assert nodes[0].get("/v1/info")["boot_id"] == boots[nodes[0].name], "nothing was started anew"


def test_a_wrong_or_missing_passphrase_stops_the_start_in_one_sentence(sealed, monkeypatch):
    node = sealed.operators[0]
    before = {p: p.read_bytes() for p in node.folder.rglob("*") if p.is_file() and "lock" not in p.name}
    run = ("node", "run", "--dir", node.folder)
    _, err, _ = holdfast(*run, given={"--passphrase-fd": "a wrong passphrase"}, status=2)
    assert "the passphrase is wrong: nothing was changed" in err.splitlines()[-1]
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    _, err, _ = holdfast(*run, status=2)
    assert "--passphrase-fd N" in err
    assert "Traceback" not in err
    assert {p: p.read_bytes() for p in before} == before
    config = node.folder / "config.toml"
    config.write_text(config.read_text().replace('network = "regtest"', 'network = "signet"', 1))
    assert "regtest" in attempt(*run).err


def _rehearsed(node, folder):
    folder.mkdir(exist_ok=True)
    file = folder / f"{node.name}.recovery.json"
    words = holdfast("node", "backup", "--dir", node.folder, "-o", file, collect="--words-fd")[2]
    rehearse = ("node", "rehearse", "--dir", node.folder, "--recovery", file, "--json")
    return json.loads(holdfast(*rehearse, given={"--words-fd": words})[0])


def _status(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
