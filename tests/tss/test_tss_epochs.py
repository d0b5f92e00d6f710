"""Keys of two epochs in one committee: the old one signs what moves coins off it, the new one all else."""

import pytest

from tests.tss.epochs import epochs_of
from tests.tss.shells import noticed, sign_test, valid
from tss.frost.hashing import tagged_hash
from tss.node import DkgFailed, SigningFailed


def signs(public, payload, signatures):
    return valid(public.x_only, tagged_hash("tests/message", payload), signatures[0])


async def test_a_new_epoch_makes_new_keys_while_the_old_ones_sign_the_move(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await it.key()
        await it["alice"].node.key_work.refresh("treasury")
        old = it["alice"].node.public("treasury")
        await it.serve(it.propose({"carol": "dave"}))
        alice, bob = it["alice"], it["bob"]
        assert alice.node.public("treasury").group_key == old.group_key, "it serves until a new one does"
        assert len(await alice.node.sign("treasury", b"business")) == 2
        made = await it.key()
        assert (made.epoch, made.state) == (2, "verified")
        new = await bob.node.sign("treasury", b"business")
        assert signs(made.public, b"business", new), "what the old key signed is not taken for the new one's"
        assert (alice.node.holders("treasury", 1), alice.node.holders("treasury", 2)) == ((1, 2), (1, 2, 3))
        assert alice.node.public("treasury", 1).group_key == old.group_key
        for epoch in (1, 1, 7):  # again, and without such a key, it changes nothing
            await alice.node.retire("treasury", epoch)
        assert {info.epoch: info.state for info in alice.node.every_key()} == {1: "retiring", 2: "verified"}
        assert signs(old, b"move", await alice.node.sign("treasury", b"move", epoch=1))
        assert alice.port.epochs[-1] == bob.port.epochs[-1] == 1, "the port hears which key would sign"
        with pytest.raises(SigningFailed, match="no treasury key of epoch 7"):
            await alice.node.sign("treasury", b"move", epoch=7)
        assert (await alice.node.key_work.move("treasury", 1, "retired")).state == "retired"
        assert not (alice.folder / "keys" / "treasury-1.share").exists()
        assert alice.node.holders("treasury", 1) == ()
        with pytest.raises(SigningFailed, match="epoch 1 can sign here"):
            await alice.node.sign("treasury", b"again", epoch=1)
        await alice.down()
        await alice.up()
        await noticed(bob, alice)
        await sign_test(bob.node, b"only the new one", purpose="treasury")


async def test_a_key_is_not_finished_while_something_depends_on_it(tmp_path):
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        await it.key()
        await it.serve(it.propose())
        await it.key()
        alice = it["alice"]
        await alice.node.retire("treasury", 1)
        left = ["coins lie under it until height 900"]

        async def guard(purpose, epoch):
            assert (purpose, epoch) == ("treasury", 1)
            return left[0] if left else None

        alice.node.use_retirement(guard)
        with pytest.raises(DkgFailed, match="until height 900") as refused:
            await alice.node.key_work.move("treasury", 1, "retired")
        assert refused.value.retryable
        assert (alice.folder / "keys" / "treasury-1.share").exists()
        left.clear()
        assert (await alice.node.key_work.move("treasury", 1, "retired")).state == "retired"
