"""The whole story on real parts, nine steps; each prints its evidence and asserts it from outside.

Run it with `make demo`. Exit status 0 only when everything held; 1 when something did not (the world's logs are
kept then), 3 while steps are missing.
"""

import signal
import sys
import traceback
from collections.abc import Callable

from anchor.btc.curve import schnorr_verify
from anchor.proofs.proof_file import AnchorProof
from regtest import ceremony, folders
from regtest.story import anchors, coins, faults, keys, reorg, rollup
from regtest.story.look_alike import look_alike
from regtest.story.scene import Scene
from regtest.telling import DoesNotHold, Teller, short
from regtest.world import World

DEPOSIT, SENT, WITHDRAWN, SECOND_DEPOSIT = 1_000_000, 250_000, 100_000, 400_000


def world(s: Scene) -> None:
    """1. Six bitcoinds, five operators with one committee file, the rollup."""
    w, tell = s.world, s.tell
    w.start_bitcoin()
    peers = [node.rpc().getconnectioncount() for node in w.network.nodes]
    tell.check(set(peers) == {w.size}, f"{w.size + 1} bitcoinds, each peered with all others", peers)
    wallets = [keys.has_wallets(node) for node in w.network.nodes]
    tell.equal(wallets, [False] * w.size + [True], "operators' bitcoinds have no wallets, the last has")
    w.form_committee()
    w.make_genesis()
    w.start_nodes()
    infos = [node.get("/v1/info") for node in w.operators]
    words = {info["committee"]["words"] for info in infos}
    tell.equal(len(words), 1, f"all read the same committee file aloud: {infos[0]['committee']['words']}")
    pids = {node.process.pid for node in w.operators}
    tell.equal(
        len(pids),
        w.size,
        f"{w.size} nodes are {w.size} processes: {', '.join(map(str, sorted(filter(None, pids))))}",
    )
    tell.check(
        all(map(keys.refuses_strangers, w.operators)), "peer ports refuse who shows no member's certificate"
    )
    w.start_rollup()
    rollups = {info["rollup"]["genesis_hash"] for info in infos} | {s.status()["genesis_hash"]}
    tell.equal(len(rollups), 1, f"one genesis everywhere: {short(s.genesis.hash.hex())}")
    tell.check(s.status()["certified_height"] > 0, "the rollup certifies blocks")


def committee_keys(s: Scene) -> None:
    """2. Three keys that nobody holds whole; the activation record that all sign."""
    w, tell = s.world, s.tell
    made = ceremony.make_keys(w)
    for purpose in ceremony.PURPOSES:
        seen = {ceremony.keys_of(node)[purpose]["group_key"] for node in w.operators}
        tell.equal(
            seen,
            {made[purpose]["group_key"]},
            f"{purpose} key {short(made[purpose]['group_key'])} on all nodes",
        )
        signed = keys.sign_test(w.operators[1], purpose, "hello")
        held = keys.is_signed(made[purpose]["group_key"], purpose, "hello", signed["signature"])
        tell.check(held, f"{w.threshold} of {w.size} signed under it: {short(signed['signature'])}")
    treasury, lane = ceremony.fund(w)
    tell.say(f"treasury {treasury}, lane {lane}")
    digest = ceremony.activate(w, treasury, lane)
    tell.equal(s.activation.hash.hex(), digest, f"the rollup holds activation record {short(digest)}")
    tell.equal(len(s.signed_activation.signatures), w.size, "all operators signed it")


def deposit(s: Scene) -> None:
    """3. A payment becomes coins on the rollup, once its sweep is k deep there."""
    w, tell, k, fee = s.world, s.tell, s.activation.params.k, s.activation.params.deposit_fee
    made = coins.deposit(s, s.depositor, DEPOSIT, w.operators[2])
    tell.say(f"{DEPOSIT} sats paid to {made.address} in {made.paid}")
    s.mined(made.paid.txid)
    sweep = coins.sweep_of(s, made)
    tell.say(f"the committee sweeps it in {sweep}")
    s.mined(sweep)
    w.mine(k - 2)
    s.until(lambda: s.status()["bitcoin"]["tip_height"] == w.network.height(), "the rollup to see the blocks")
    tell.equal(s.balance(s.depositor), 0, f"nothing is minted at depth {k - 1}")
    w.mine()
    s.until(lambda: s.balance(s.depositor) > 0, "the rollup to mint")
    tell.equal(
        s.balance(s.depositor), DEPOSIT - fee, f"at depth {k} it minted {DEPOSIT} less the fee of {fee}"
    )
    mint = coins.mint_of(s, made)
    held = schnorr_verify(s.activation.mint_x, mint.statement.message, mint.signature)
    tell.check(held, f"on one signature under the mint key: {short(mint.signature.hex())}")


def rollup_blocks(s: Scene) -> None:
    """4. Transfers, header bundles, votes; attested, then final; empty blocks keep coming."""
    tell = s.tell
    sent = coins.transfer(s, s.depositor, s.friend, SENT)
    where = f"/v1/transactions/{sent}"
    s.until(lambda: s.world.rollup.get(where)["state"] == "final", "the transfer to be final")
    height = s.world.rollup.get(where)["height"]
    tell.equal(s.balance(s.friend), SENT, f"transfer {short(sent)} moved {SENT} sats in block {height}")
    s.until(lambda: s.status()["certified_height"] >= height + 4, "blocks to keep coming")
    blocks = list(s.blocks())
    block, child = blocks[height - 1 : height + 1]
    for each in (block, child):
        voted, total = rollup.stake_that_signed(s, each)
        held = rollup.more_than_two_thirds(voted, total)
        tell.check(held, f"block {each.block.header.height} is attested: 3·{voted} > 2·{total}")
    tell.equal(child.block.header.parent, block.hash, f"{height} is final: its child is certified, too")
    empty = sum(not each.block.transactions for each in blocks[height:])
    tell.check(empty >= 3, f"{empty} empty blocks came since")
    state = rollup.executed_again(s, blocks)
    tell.equal(
        state.tip,
        blocks[-1].hash,
        f"all {len(blocks)} blocks executed again from genesis give the same state",
    )
    tell.say(f"their bundles carry {len(rollup.bundled_headers(blocks))} Bitcoin headers")


def anchor(s: Scene) -> None:
    """5. Records on Bitcoin, and a proof that needs no server."""
    w, tell = s.world, s.tell
    commit, reveal = anchors.pending(s)
    s.mined(commit, reveal)
    w.mine(s.activation.params.k - 1)
    node = w.operators[3]
    found = next(a for a in anchors.all_anchors(node) if a["txid"] == reveal)
    tell.say(
        f"anchor {found['sequence']}: blocks {found['first']} to {found['last']}, commit {commit}, reveal {reveal}"
    )
    files = anchors.export(s, node, found["last"])
    verified = anchors.verify(*files)
    tell.equal(verified.status, 0, "`holdfast anchor verify` takes the proof")
    tell.say(" ".join(verified.out.split()))
    honest, forged = files[0].read_bytes(), w.folder / "forged.json"
    passed = []
    for position, copy in anchors.changed_copies(honest, 24):
        forged.write_bytes(copy)
        passed += [] if anchors.verify(forged, *files[1:]).status == 1 else [position]
    tell.equal(passed, [], f"a changed byte at any of 24 of {len(honest)} places makes it fail")
    forged.write_bytes(look_alike(s, AnchorProof.decode(honest)).encode())
    anchors.export(s, node, found["last"])
    refused = anchors.verify(forged, *files[1:])
    tell.check(
        refused.status == 1 and "not authorised" in refused.err,
        f"look-alike refused: {refused.err.strip()}",
        refused,
    )
    tell.equal(anchors.verify(*files).status, 0, "the honest proof still holds")


def withdrawal(s: Scene) -> None:
    """6. Coins go back to Bitcoin; supply and reserves agree."""
    w, tell, params = s.world, s.tell, s.activation.params
    address, node = w.depositor.address(), w.operators[4]
    identity = coins.withdraw(s, s.friend, address, WITHDRAWN, node)
    tell.say(f"{WITHDRAWN} sats locked as withdrawal {short(identity)}")
    payout = coins.payout_of(s, identity)
    s.mined(payout)
    tell.equal(
        w.depositor.received(address), WITHDRAWN - params.withdrawal_fee, f"{payout} paid it, less the fee"
    )
    w.mine(params.k - 1)
    where = f"/v1/withdrawals/{identity}"
    s.until(lambda: w.rollup.get(where)["state"] == "settled", "the rollup to settle")
    tell.equal(s.status()["escrow"], 0, "settled at depth k, nothing is in escrow")
    found = coins.agreed_totals(s)
    tell.check(
        found["holds"] and found["deficit"] == 0,
        f"all nodes: supply {found['supply']} ≤ treasury {found['treasury']}",
    )
    tell.equal(found["supply"], s.balance(s.depositor) + s.balance(s.friend), "supply is what the two hold")


def split(s: Scene) -> None:
    """7. A reorg takes an anchor and a sweep; nodes bring both back, once."""
    w, tell, k = s.world, s.tell, s.activation.params.k
    made = coins.deposit(s, s.depositor, SECOND_DEPOSIT, w.operators[0])
    s.mined(made.paid.txid)
    sweep, (commit, reveal) = coins.sweep_of(s, made), anchors.pending(s)
    before, parts, top = s.balance(s.depositor), reorg.sides(s), w.network.height()
    reorg.split(s, parts)
    reorg.mine_losing(s, parts, commit, reveal)
    lost = reorg.mine_losing(s, parts, sweep)
    s.until(lambda: reorg.in_view(s, lost), "the rollup to see the losing side")
    old = next(iter(s.blocks(s.status()["certified_height"] - 1)))
    won = reorg.mine_winning(s, parts, 3)
    tell.say(
        f"split at height {top}: {short(lost)} is 2 above, {short(won)} 3 above, without anchor and sweep"
    )
    w.network.heal()
    w.wait_seen()
    tell.equal(w.network.wait_same_tip(), won, "the longer side wins everywhere")
    for i in parts.losers[:-1]:
        node = w.operators[i]
        tell.equal(reorg.reported(node, lost)["depth"], 2, f"{node.name}'s feed reports a reorg of depth 2")
        tell.check("2" in reorg.alarm(node)["text"], f"{node.name}'s health: {reorg.alarm(node)['text']}")
    s.until(lambda: reorg.rollup_reported(s, lost) is not None, "the rollup's view to switch")
    again = next(iter(s.blocks(old.block.header.height - 1)))
    tell.equal(again.hash, old.hash, f"rollup block {old.block.header.height} stands: nothing is rewound")
    tell.equal(s.status()["paused"], None, "2 is less than k: value is not paused")
    s.mined(commit, reveal, sweep)
    tell.say("every mempool had the same bytes again, and one block took them")
    w.mine(k - 1)
    due = before + SECOND_DEPOSIT - s.activation.params.deposit_fee
    s.until(lambda: s.balance(s.depositor) == due, f"the rollup to mint up to {due}")
    coins.mint_of(s, made)
    anchors.no_gap_no_double(s, anchors.all_anchors(w.operators[0]))
    tell.check(coins.agreed_totals(s)["holds"], "all nodes print the same totals, and they hold")


def outages(s: Scene) -> None:
    """8. Two die, work goes on; three die, nothing is signed; one returns, and it is again."""
    w, tell = s.world, s.tell
    first, second, third, *rest = w.operators
    group = ceremony.keys_of(third)["mint"]["group_key"]
    first.process.kill()
    tell.say(f"{first.name} is killed")
    text, driver, signed = faults.kill_in_session(s, second, [third, *rest])
    tell.check(
        keys.is_signed(group, "mint", text, signed["signature"]),
        f"{driver.name} and two more signed all the same",
    )
    s.mined(*anchors.pending(s))
    tell.say("and anchored")
    third.process.kill()
    why = faults.failure(rest[0], "mint", "with three down")
    tell.check(bool(why), f"with three down nothing is signed: {why}")
    missing = [c for c in rest[0].get("/v1/health")["checks"] if c["name"] == "committee"]
    tell.check(not missing[0]["ok"], f"health says why: {missing[0]['text']}")
    first.start()
    first.wait_ready()
    signed = keys.sign_test(rest[0], "mint", "three again")
    tell.check(
        keys.is_signed(group, "mint", "three again", signed["signature"]), f"{first.name} is back: signed"
    )
    for node in (second, third):
        node.start()
    for node in (second, third):
        node.wait_ready()
    w.mine()
    tell.check(coins.agreed_totals(s)["holds"], "all five caught up: same tip, same totals")
    signed = keys.sign_test(second, "mint", "by one that was killed")
    tell.check(
        keys.is_signed(group, "mint", "by one that was killed", signed["signature"]),
        f"{second.name} leads again",
    )


def audit(s: Scene) -> None:
    """9. An observer that saw nothing of this finds the same."""
    w, tell = s.world, s.tell
    observer = w.add_observer()
    tell.equal(observer.get("/v1/info")["role"], "observer", f"{observer.name} observes")
    tell.check(not (observer.folder / "signer.db").exists(), f"{observer.name} holds no share")
    w.wait_seen()
    found = coins.agreed_totals(s, observer)
    tell.say(coins.reserves_by_command(observer))
    tell.check(found["holds"], "its totals are the committee's")
    s.until(
        lambda: anchors.all_anchors(observer) == anchors.all_anchors(w.operators[0]),
        "the observer to list the committee's anchors",
    )
    tell.check(True, f"it lists the same {len(anchors.all_anchors(observer))} anchors, every column equal")
    for kind in ("deposits", "withdrawals"):
        seen = [node.get(f"/v1/{kind}")[kind] for node in (observer, w.operators[0])]
        tell.equal(len(seen[0]), len(seen[1]), f"and the same {len(seen[0])} {kind}")


STEPS: tuple[tuple[str, Callable[[Scene], None] | None], ...] = (
    ("World", world),
    ("Keys", committee_keys),
    ("Deposit", deposit),
    ("Rollup", rollup_blocks),
    ("Anchor", anchor),
    ("Withdrawal", withdrawal),
    ("Reorg", split),
    ("Faults", outages),
    ("Audit", audit),
)


def main() -> int:
    """Tell the story; returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends all processes as Ctrl-C does
    tell = Teller()
    with folders.RunFolder("demo") as folder:
        try:
            with World(folder.path) as built:
                status = play(Scene(built, tell))
                memory = {process.name: process.peak_memory for process in built.processes}
        except KeyboardInterrupt:
            print("\nStopped; nothing is left.")
            return 130
        folder.keep = status == 1
        tell.table(memory)
        if folder.keep:
            print(f"\n  Logs and folders of this world: {folder.path} (until the next run)")
        return status


def play(scene: Scene) -> int:
    """Tell each step; stops at the first that does not hold."""
    missing = 0
    for number, (title, step) in enumerate(STEPS, start=1):
        if step is None:
            scene.tell.missing(number, title)
            missing += 1
            continue
        try:
            with scene.tell.step(number, title):
                step(scene)
        except Exception as error:
            print(f"\n  Step {number} failed: {error}", flush=True)
            if not isinstance(error, DoesNotHold):
                traceback.print_exc(file=sys.stdout)
            return 1
    return 3 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
