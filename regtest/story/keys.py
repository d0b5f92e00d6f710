"""What a key is worth: test signatures, checked by libsecp256k1, which knows nothing of thresholds."""

from typing import Any

from anchor.btc.curve import schnorr_verify
from anchor.btc.hashing import tagged_hash
from regtest import ceremony
from regtest.command import attempt, holdfast_json
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.story.scene import Scene
from regtest.telling import short


def sign_test(node: Node, purpose: str, text: str) -> Any:
    """Have a node coordinate a `test` signature by command; CommandFault says why there is none."""
    return holdfast_json("tss", "sign-test", "--dir", node.folder, "--key", purpose, text)


def is_signed(group_key: str, purpose: str, text: str, signature: str) -> bool:
    """Whether it is a BIP340 signature of that text, as a test, under the group key (33 bytes, hex)."""
    message = tagged_hash("holdfast/test/v1", purpose.encode() + b"\0" + text.encode())
    return schnorr_verify(bytes.fromhex(group_key)[1:], message, bytes.fromhex(signature))


def signs(s: Scene, node: Node, purpose: str, text: str) -> None:
    """A node gets a test signature that holds, with exactly t members."""
    key = ceremony.keys_of(node)[purpose]["group_key"]
    signature = sign_test(node, purpose, text)["signature"]
    done = [each for each in node.admin.get("/v1/tss/sessions")["sessions"] if each["state"] == "done"]
    members = max(done, key=lambda each: each["started"])["members"]
    held = is_signed(key, purpose, text, signature) and len(members) == s.world.threshold
    s.tell.check(
        held, f"{', '.join(members)} signed for {node.name}: {short(signature)}", (signature, members)
    )


def serves(s: Scene, purpose: str, group_key: str) -> None:
    """All nodes know one key of that purpose, and t of them sign under it."""
    seen = {ceremony.keys_of(node)[purpose]["group_key"] for node in s.world.operators}
    s.tell.equal(seen, {group_key}, f"{purpose} key {short(group_key)} on all nodes")
    signs(s, s.world.operators[1], purpose, f"the {purpose} key works")


def record_is_signed_by_all(s: Scene, digest: str) -> None:
    """The rollup holds the activation record that the nodes name, and every host key signed it."""
    s.tell.equal(s.activation.hash.hex(), digest, f"the rollup holds activation record {short(digest)}")
    pairs = zip(s.genesis.host_keys, s.signed_activation.signatures, strict=True)
    held = [schnorr_verify(key, s.activation.hash, signature) for key, signature in pairs]
    s.tell.equal(held, [True] * s.world.size, f"all {s.world.size} operators signed it")
    named = tuple(ceremony.keys_of(s.world.operators[-1])[p]["group_key"] for p in ceremony.PURPOSES)
    record = s.activation
    held_keys = tuple(key.hex() for key in (record.treasury_key, record.anchor_key, record.mint_key))
    s.tell.equal(held_keys, named, "it names the three keys")


def nothing_is_signed(s: Scene, node: Node) -> None:
    """Command and HTTP refuse with the reason; health names it, too."""
    result = attempt("tss", "sign-test", "--dir", node.folder, "--key", "mint", "too few")
    s.tell.equal(result.status, 1, "with three down nothing is signed")
    s.tell.say(result.err.strip())
    code, text = "", ""
    try:
        node.admin.post("/v1/tss/sign-test", {"key": "mint", "text": "too few again"})
    except HttpFault as fault:
        code, text = fault.code, str(fault.problem.get("detail"))
    down = [each.name for each in s.world.operators if not each.awake]
    s.tell.check(all(name in text for name in down), f"the API says who is missing ({code})", text)

    def down_text() -> str:
        checks = {check["name"]: check for check in node.get("/v1/health")["checks"]}
        return "" if checks["committee"]["ok"] else str(checks["committee"]["text"])

    s.until(lambda: bool(down_text()), "health to say that too few are up")
    s.tell.check(all(name in down_text() for name in down), f"health says why: {down_text()}")
