"""A node's metrics and the tables of `node status`: the public port tells less than the admin port."""

from pathlib import Path
from types import SimpleNamespace

from anchor.header_alarms import HeaderAlarm
from bridge import metrics
from bridge.care import keys_of, members_of
from bridge.health import Check
from tests.tss.shells import committee_of


def node_around(seat):
    """What metrics read of a node, around a real signer."""
    return SimpleNamespace(
        health=lambda: [Check("bitcoind", ok=True, text="")],
        active=None,
        committee=SimpleNamespace(committee=SimpleNamespace(epoch=4)),
        feed=SimpleNamespace(chain=SimpleNamespace(tip=SimpleNamespace(height=7))),
        follower=SimpleNamespace(state=SimpleNamespace(height=3), final=2),
        header_alarms=SimpleNamespace(
            standing={"stale_tip": HeaderAlarm("page", "stale_tip", "no block for 90 minutes")},
            counts={"warning": (2, 2)},
            moved_at=5.0,
        ),
        stream=SimpleNamespace(listeners=1),
        started=1.0,
        clock=lambda: 2.0,
        peers=seat.peers,
        tss=seat.node,
        folder=Path(seat.folder),
    )


async def test_the_public_port_tells_heights_and_the_admin_port_what_the_signer_counts(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, _bob, _carol):
        await alice.node.dkg("anchor")
        node = node_around(alice)
        public, admin = metrics.public_text(node), await metrics.admin_text(node)
        for line in ("holdfast_bitcoin_height 7", "holdfast_rollup_final 2", "holdfast_members_up 3"):
            assert line in public.splitlines()
        assert 'holdfast_check_ok{check="bitcoind"} 1' in public
        assert 'holdfast_reorgs_total{level="warning"} 2' in public
        assert 'holdfast_header_alarm{kind="stale_tip"} 1' in public
        assert 'holdfast_header_alarm{kind="rival"} 0' in public
        assert 'holdfast_key_epoch{of="file"} 4' in public
        assert "holdfast_tss" not in public
        assert "disk" not in public
        assert set(public.splitlines()) <= set(admin.splitlines())
        assert "holdfast_backup_ok 0" in admin
        assert "holdfast_rehearsal_seconds" in admin
        assert 'holdfast_tss_key_serving{purpose="anchor",epoch="1"} 1' in admin
        free = next(line for line in admin.splitlines() if line.startswith("holdfast_disk_free_bytes "))
        assert float(free.split()[1]) > 0
        assert [(m.name, m.up) for m in members_of(node)] == [("bob", True), ("carol", True)]
        assert [(k.purpose, k.epoch, k.state) for k in keys_of(node)] == [("anchor", 1, "verified")]
