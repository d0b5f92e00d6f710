"""Request ids, and whose turn it is to coordinate."""

from tss.frost.hashing import tagged_hash


def request_id(purpose: str, payload: bytes, epoch: int) -> bytes:
    """The 32-byte id of what is to be signed and under which key epoch.

    Tagged hash of u8 length ‖ purpose ‖ u32 epoch ‖ payload: one payload under two keys is two requests.
    """
    name = purpose.encode()
    assert len(name) <= 32, "a purpose is at most 32 bytes"
    return tagged_hash("holdfast/request/v1", bytes([len(name)]), name, epoch.to_bytes(4, "big"), payload)


def leader(slot: bytes, attempt: int, n: int) -> int:
    """The member (1 to n) that coordinates attempt `attempt` for a slot.

    Every n attempts are one round, in which each member leads once, in the order of H(slot, round, member): so
    with d dead leaders the turn of one that lives comes after d time-outs, never later.
    """
    assert attempt >= 0, "attempts count from 0"
    assert n >= 1, "there is a member to lead"
    cycle, place = divmod(attempt, n)

    def draw(member: int) -> bytes:
        return tagged_hash("holdfast/leader/v1", cycle.to_bytes(8, "big"), member.to_bytes(2, "big"), slot)

    return sorted(range(1, n + 1), key=draw)[place]
