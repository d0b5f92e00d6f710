"""Who left the committee and who came: old keys go on signing, the leaver signs nothing, the new ones decide."""

from pathlib import Path

from regtest import ceremony, decisions
from regtest.command import CommandFault, attempt, holdfast
from regtest.operators import Node
from regtest.rotation import NextCommittee
from regtest.story.keys import is_signed, sign_test
from regtest.story.scene import Scene
from regtest.telling import refuse, short
from regtest.waiting import wait_until


def old_keys_serve(s: Scene, committee: NextCommittee) -> None:
    """Members who stayed sign with the keys of the epoch before, whose coins they still hold."""
    stayed = [node for node in committee.operators if node not in committee.newcomers]
    epoch = committee.epoch - 1
    key = ceremony.keys_of(stayed[0], epoch)["treasury"]["group_key"]
    text = f"the treasury key of epoch {epoch}"
    signature = str(sign_test(stayed[0], "treasury", text)["signature"])
    held = is_signed(key, "treasury", text, signature)
    s.tell.check(
        held, f"{', '.join(n.name for n in stayed)} still sign under epoch {epoch}: {short(signature)}"
    )


def leaver_is_nobody(s: Scene, committee: NextCommittee) -> None:
    """The node of who left runs on with the old file: the others do not hear it, and it signs nothing."""
    for leaver in committee.leavers:
        result = attempt("tss", "sign-test", "--dir", leaver.folder, "--key", "mint", "am I still in?")
        s.tell.check(result.status == 1, f"{leaver.name}, who left, gets no signature", result)
        s.tell.say(result.err.strip())


def new_committee_decides(s: Scene, committee: NextCommittee) -> None:
    """After a reorg of k blocks t of the old committee's operators decide nothing; t of the new one do."""
    k = s.activation.params.k
    s.rollup_sees_tip()
    done = s.world.network.reorg(k)
    s.world.wait_seen()
    s.until(lambda: s.status()["paused"] is not None, "the rollup to stand still")
    s.tell.check(True, f"{len(done.lost)} blocks above {done.fork_height} are gone: value stands still")
    stayed = [node for node in committee.operators if node not in committee.newcomers]
    before = [*committee.leavers, *stayed][: committee.threshold_before]
    _cannot_decide(s, before, s.world.folder / "by-the-old")
    decisions.resume(s.world, s.world.folder / "by-the-new", "the new committee looked at both chains")
    names = ", ".join(node.name for node in s.world.operators[: s.world.threshold])
    s.tell.check(s.status()["paused"] is None, f"{names} decided: value moves")
    s.world.mine(k)


def _cannot_decide(s: Scene, signers: list[Node], folder: Path) -> None:
    """The operators of an earlier committee, as many as it needed, do not end the pause."""
    folder.mkdir()
    names = ", ".join(node.name for node in signers)

    def made() -> bool:
        found = attempt(
            "bridge", "decision", "make", "--dir", signers[-1].folder, "--reason", "x", "-o", paper
        )
        return found.status == 0

    paper = folder / "decision.json"
    wait_until(made, f"{signers[-1].name} to see the pause")
    try:
        signed = []
        for node in signers:
            signed.append(folder / f"by-{node.name}.json")
            holdfast("bridge", "decision", "sign", "--dir", node.folder, paper, "-o", signed[-1])
        holdfast(
            "bridge", "decision", "combine", "--dir", signers[-1].folder, *signed, "-o", folder / "all.json"
        )
        holdfast("bridge", "decision", "submit", "--dir", signers[-1].folder, folder / "all.json")
    except CommandFault as fault:
        s.tell.check(s.status()["paused"] is not None, f"{names}, once enough, cannot decide any more")
        s.tell.say(fault.result.err.strip())
    else:
        refuse(f"{names}, who were once enough, handed in a decision")
