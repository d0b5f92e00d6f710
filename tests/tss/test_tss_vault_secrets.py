"""Where secrets must not be: three hardened nodes make keys and sign, then everything they left is searched.

Searched: both outputs at the most talkative level, every file of their folders (databases and their logs, keys,
recovery files), their command lines and environments. Not searched here: memory (tests/tss/frost/memory_scan.py
and the long run look there), the swap, and the terminal's own history.
"""

import asyncio
import base64
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import aiohttp
import pytest

from tests.tss.shells import free_ports, signed_committee
from tss import backup, identity
from tss.frost.engine import Engine
from tss.keyring import Keyring
from tss.store import Store
from tss.vault import Cost, HpkeSealer, ShareVault
from tss.words import to_words

ROOT = Path(__file__).parents[2]
PASSPHRASE = "correct horse battery staple"
CHEAP = Cost(64, 1, 1)


def forms(secret: bytes) -> list[bytes]:
    """A secret as it might lie about: raw, reversed, in hex, in base64, as Python writes it."""
    hexed = secret.hex().encode()
    return [secret, secret[::-1], hexed, hexed.upper(), base64.b64encode(secret)[:40], repr(secret).encode()]


def ask():
    return bytearray(PASSPHRASE.encode())


class Watched:
    """A node in a process of its own, all of whose output is kept."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.output, self.seen_of_it = folder, b"", b""

    async def start(self) -> None:
        read, write = os.pipe()
        os.write(write, PASSPHRASE.encode() + b"\n")
        os.close(write)
        program = (sys.executable, "-m", "tests.tss.one_node", str(self.folder), str(read))
        self.process = await asyncio.create_subprocess_exec(
            *program, cwd=ROOT, stdout=PIPE, stderr=STDOUT, pass_fds=[read]
        )
        os.close(read)
        self.reader = asyncio.create_task(self.process.stdout.read())
        async with asyncio.timeout(60):
            while not (self.folder / "admin.json").exists():
                assert self.process.returncode is None, await self.reader
                await asyncio.sleep(0.05)

    def look(self) -> None:
        """Keep what the kernel shows of the process."""
        for name in ("cmdline", "environ"):
            self.seen_of_it += Path(f"/proc/{self.process.pid}/{name}").read_bytes()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        self.output = await self.reader

    async def get(self, session, path):
        url = json.loads((self.folder / "admin.json").read_text())["url"]
        async with session.get(url + path) as response:
            return await response.json(content_type=None)

    async def post(self, session, path, **body):
        url = json.loads((self.folder / "admin.json").read_text())["url"]
        async with session.post(url + path, json=body) as response:
            return response.status, await response.json(content_type=None)


async def secrets_of(folder: Path) -> dict[str, bytes]:
    """What must be nowhere: host secret and shares, taken out of the sealed files."""
    me = identity.load(folder, ask)
    from tss.dkg.committee import SignedCommittee

    committee = SignedCommittee.from_json((folder / "committee.json").read_text())
    seated = me.seated(committee.committee)
    store = Store(folder / "signer.db", lambda: 0.0)
    keyring = Keyring(store, ShareVault(folder / "keys", seated), Engine(), HpkeSealer(), seated)
    await keyring.load()
    found = {"host key": bytes(me.secret())}
    for purpose in ("anchor", "mint"):
        found[f"{purpose} share"] = bytes(keyring.serving(purpose).share.export_secret())
    keyring.close()
    await store.close()
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_no_secret_is_in_logs_files_databases_command_lines_or_environments(tmp_path):
    identities = [
        identity.create(tmp_path / name, name, f"https://127.0.0.1:{port}", ask(), CHEAP)
        for name, port in zip(("alice", "bob", "carol"), free_ports(3), strict=True)
    ]
    committee = signed_committee(identities, 2)
    nodes = [Watched(tmp_path / one.name) for one in identities]
    for node in nodes:
        (node.folder / "committee.json").write_text(committee.to_json())
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        async with aiohttp.ClientSession() as session:
            for purpose in ("anchor", "mint"):
                made = (503, {})
                async with asyncio.timeout(60):
                    while made[0] == 503:
                        made = await nodes[0].post(session, "/v1/tss/dkg", purpose=purpose)
                assert made[0] == 200, made
                assert (await nodes[1].post(session, "/v1/tss/sign-test", key=purpose, text="x"))[0] == 200
            # Mistakes are logged, too: their lines must not quote what they stumbled over.
            for path in (
                "/v1/tss/dkg",
                "/v1/tss/sign-test",
                "/v1/tss/rehearsals",
                "/v1/tss/rehearsals/ended",
            ):
                assert (await nodes[2].post(session, path, wrong=PASSPHRASE[:3]))[0] == 400
            own = (await nodes[2].get(session, "/v1/tss/sessions"))["boot_id"]
            for boot_id in ("xy", "00", own):
                assert (await nodes[2].post(session, "/v1/tss/rehearsals", boot_id=boot_id))[0] == 400
        for node in nodes:
            node.look()
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
    for node, one in zip(nodes, identities, strict=True):
        chains = await backup.chains_of(node.folder)
        backup.make(node.folder, one, "regtest", chains, 1.8e9).write(node.folder / "recovery.json")
    hidden = {}
    for node in nodes:
        for name, secret in (await secrets_of(node.folder)).items():
            hidden[f"{node.folder.name}'s {name}"] = secret
    _search(nodes, hidden)


def _search(nodes: list[Watched], hidden: dict[str, bytes]) -> None:
    needles = [(what, form) for what, secret in hidden.items() for form in forms(secret)]
    needles.append(("the passphrase", PASSPHRASE.encode()))
    for what, secret in hidden.items():
        if "host key" in what:
            needles += [
                (f"a pair of {what}'s words", " ".join(to_words(secret)[i : i + 2]).encode()) for i in (0, 7)
            ]
    places: dict[str, bytes] = {}
    for node in nodes:
        places[f"{node.folder.name}'s output"] = node.output
        places[f"{node.folder.name} in /proc"] = node.seen_of_it
        for path in node.folder.rglob("*"):
            if path.is_file():
                places[str(path)] = path.read_bytes()
    assert sum(name.endswith("signer.db") for name in places) == len(nodes)
    assert any(b"session opens" in data for data in places.values()), "the logs were really kept"
    found = [(what, place) for what, form in needles for place, data in places.items() if form in data]
    assert not found, found
    assert len(hidden) == 9


def test_what_holds_a_secret_says_nothing_of_it_when_shown(tmp_path):
    me = identity.create(tmp_path, "alice", "https://127.0.0.1:9301", ask(), CHEAP)
    secret = bytes(me.secret())
    shown = f"{me!r} {me!s} {me._secret!r} {[me]} {ShareVault(tmp_path, me)!r}"
    assert not any(form in shown.encode() for form in forms(secret))
    with pytest.raises(identity.IdentityFault) as fault:
        identity.load(tmp_path, lambda: bytearray(b"a wrong passphrase"))
    told = "".join(map(str, (fault.value, fault.value.__cause__, fault.value.__context__)))
    assert "a wrong passphrase" not in told
