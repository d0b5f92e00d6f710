"""Backups of keys that were refreshed: the chain is followed to its end, kept whole, and never shortened."""

from dataclasses import replace

import pytest

from tests.tss.rotation.session import Held
from tss import backup, recovery
from tss.dkg.faults import RestoreFault
from tss.recovery import RecoveryFault
from tss.vault import ShareVault

NOW = 1_800_000_000.0


class Kept:
    """A simulated committee's key as a member's signer.db keeps it, refresh by refresh."""

    def __init__(self, held):
        self.held = held
        roster = held.chain.base.transcript.roster
        self.links = (held.chain.base.encode(), *(link.encode() for link in held.chain.links))
        self.chain = recovery.RecoveryChain(
            roster.sid, roster.purpose, 1, "active", held.public.encode(), self.links, b"", NOW
        )


def test_a_chain_is_extended_only_by_refreshes_of_itself():
    once = Held.made(3, 2)
    old, new, other = Kept(once).chain, Kept(once.refreshed()).chain, Kept(once.refreshed(attempt=2)).chain
    assert new.extends(old)
    assert not old.extends(new)
    assert not new.extends(new)
    assert len({old.head, new.head, other.head}) == 3
    assert recovery.newest([old], [new])[0].links == new.links
    assert recovery.newest([new], [old])[0].links == new.links
    assert recovery.newest([replace(old, state="verified")], [new])[0].state == "verified"
    with pytest.raises(RecoveryFault, match="two histories"):
        recovery.newest([new], [other])
    with pytest.raises(RecoveryFault, match="is damaged"):
        recovery.newest([new], [replace(new, links=(*new.links, b"garbage"))])


async def test_refreshed_keys_are_restored_to_their_last_share_and_stored_as_before(tmp_path):
    held = Held.made(4, 2).refreshed().refreshed()
    chain = Kept(held).chain
    for member, key in held.keys.items():
        folder = tmp_path / str(member)
        (folder / "keys").mkdir(parents=True, mode=0o700)
        await backup.add_keys(folder, held.who(member), [chain])
        assert [c.links for c in await backup.chains_of(folder)] == [chain.links]
        share = ShareVault(folder / "keys", held.who(member)).load(chain.purpose, 1)
        assert share == key.export_secret()


async def test_a_member_that_a_refresh_left_out_gets_nothing_back(tmp_path):
    held = Held.made(4, 2).refreshed((1, 2, 3))
    (tmp_path / "keys").mkdir()
    with pytest.raises(RestoreFault, match="left out of a refresh"):
        await backup.add_keys(tmp_path, held.who(4), [Kept(held).chain])
    assert not list((tmp_path / "keys").iterdir())
