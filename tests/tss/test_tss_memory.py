"""What a node's memory holds after use: its own secrets where they must be, and no copies elsewhere.

One of three nodes is left readable; it opens its seal, makes a key, signs as coordinator and as member. Then its
writable memory is copied and searched for the passphrase, its host secret and its share, in every form.

Not reached: pages that the kernel gave back or swapped out, kernel buffers (pipes, sockets), registers, regions
that cannot be read (counted and bounded below), and secrets nobody can tell afterwards (nonces, DKG polynomials:
tests/tss/frost/memory_scan.py looks at the engine's own wiping).
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL
from pathlib import Path

import aiohttp
import pytest

from tests.tss.shells import free_ports, signed_committee
from tests.tss.test_tss_vault_secrets import CHEAP, PASSPHRASE, Watched, ask, forms, secrets_of
from tss import identity

ROOT = Path(__file__).parents[2]


class Readable(Watched):
    """A node whose memory the test may read."""

    async def start(self):
        read, write = os.pipe()
        os.write(write, PASSPHRASE.encode() + b"\n")
        os.close(write)
        program = (sys.executable, "-m", "tests.tss.dumpable_node", str(self.folder), str(read))
        self.process = await asyncio.create_subprocess_exec(
            *program, cwd=ROOT, stdout=DEVNULL, stderr=DEVNULL, pass_fds=[read]
        )
        os.close(read)
        self.reader = asyncio.create_task(asyncio.sleep(0, b""))
        async with asyncio.timeout(60):
            while not (self.folder / "admin.json").exists():
                assert self.process.returncode is None, "the node did not start"
                await asyncio.sleep(0.05)

    def memory(self) -> tuple[list[bytes], int]:
        """Copies of its writable regions, and how many bytes of them could not be read."""
        lines = [line.split() for line in Path(f"/proc/{self.process.pid}/maps").read_text().splitlines()]
        spans = [line[0].split("-") for line in lines if line[1].startswith("rw")]
        found, unread = [], 0
        with Path(f"/proc/{self.process.pid}/mem").open("rb", buffering=0) as memory:
            for low, high in ((int(a, 16), int(b, 16)) for a, b in spans):
                try:
                    memory.seek(low)
                    found.append(memory.read(high - low))
                except OSError:
                    unread += high - low
        return found, unread


def count(regions: list[bytes], pattern: bytes) -> int:
    return sum(region.count(pattern) for region in regions)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_memory_holds_no_copy_of_a_secret_that_is_not_in_use(tmp_path):
    identities = [
        identity.create(tmp_path / name, name, f"https://127.0.0.1:{port}", ask(), CHEAP)
        for name, port in zip(("alice", "bob", "carol"), free_ports(3), strict=True)
    ]
    committee = signed_committee(identities, 2)
    nodes = [(Readable if one.name == "alice" else Watched)(tmp_path / one.name) for one in identities]
    for node in nodes:
        (node.folder / "committee.json").write_text(committee.to_json())
    alice = nodes[0]
    try:
        await asyncio.gather(*(node.start() for node in nodes))
        async with aiohttp.ClientSession() as session:
            for purpose in ("anchor", "mint"):
                made = (503, {})
                async with asyncio.timeout(90):
                    while made[0] == 503:
                        made = await alice.post(session, "/v1/tss/dkg", purpose=purpose)
                assert made[0] == 200, made
                for node in nodes:
                    signed = await node.post(session, "/v1/tss/sign-test", key=purpose, text="x")
                    assert signed[0] == 200, signed
        regions, unread = alice.memory()
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
    assert unread < 1 << 20, "nearly all of the writable memory was searched"
    assert count(regions, committee.committee.members[0].host_key) > 0, "what is public is found"

    hidden = await secrets_of(alice.folder)
    left = {
        f"{what}, form {number}": count(regions, form)
        for what, secret in (*hidden.items(), ("passphrase", PASSPHRASE.encode()))
        for number, form in enumerate(forms(secret))
    }
    # In use for as long as the node runs: the host secret on its locked page (raw), and each share in the engine,
    # which keeps the number's limbs (reversed bytes). Nothing else, in no other form.
    assert left.pop("host key, form 0") == 1
    for purpose in ("anchor", "mint"):
        assert left.pop(f"{purpose} share, form 1") == 1
    assert not {what: found for what, found in left.items() if found}
