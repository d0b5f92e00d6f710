"""The peer port's door: strangers who hold connections open cost a node nothing, and the log little."""

import os
import resource
import socket
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest
import structlog

from tests.tss.shells import port_of, until
from tests.tss.test_tss_transport import running
from tss import gate, hardening
from tss.gate import Gate


def listening(crowd=lambda: None, **limits):
    one = Gate(socket.AF_INET, crowd, **limits)
    one.bind(("127.0.0.1", 0))
    one.listen(64)
    return one


def hung_up(connection):
    connection.settimeout(5)
    return connection.recv(1) == b""


def test_the_oldest_stranger_goes_when_another_comes_and_owners_stay():
    cut = []
    with closing(listening(lambda: cut.append(1), strangers=3, each=2)) as door, ExitStack() as stack:
        outside, inside = [], []

        def come(owner=0):
            outside.append(stack.enter_context(socket.create_connection(door.getsockname())))
            inside.append(stack.enter_context(door.accept()[0]))
            if owner:
                door.belongs(inside[-1].fileno(), owner)

        come(owner=1)
        for _ in range(3):
            come()
        assert not cut
        come()
        assert len(cut) == 1
        assert hung_up(outside[1])
        inside[2].close()  # room that a connection left by itself is used first
        come()
        assert len(cut) == 1
        come(owner=2)
        assert len(cut) == 2, "while nothing came of it, it was a stranger's"
        come(owner=1)
        come(owner=1)
        assert hung_up(outside[0]), "an owner's oldest goes for its own next"
        assert not any(_ended(one) for one in outside[-3:])


def _ended(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_without_descriptors_who_waits_is_hung_up_on_and_the_next_is_served():
    cut = []
    with closing(listening(lambda: cut.append(1))) as door, ExitStack() as stack:
        waiting = stack.enter_context(socket.create_connection(door.getsockname()))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(int(one.name) for one in Path("/proc/self/fd").iterdir()) + 8, hard)
        )
        try:
            with suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            with pytest.raises(ConnectionAbortedError):
                door.accept()
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert cut
        assert hung_up(waiting)
        stack.enter_context(socket.create_connection(door.getsockname()))
        stack.enter_context(door.accept()[0])


async def test_strangers_that_hold_connections_open_keep_nobody_out_and_are_logged_once(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(gate, "STRANGERS", 8)
    monkeypatch.setattr(Gate.__init__, "__kwdefaults__", {"strangers": 8, "each": 4})
    with structlog.testing.capture_logs() as logs, ExitStack() as stack:
        async with running(tmp_path, 2) as (lines, members):
            alice, bob = lines

            async def echo(_member, body):
                return body

            alice.handle("echo", echo)
            alice.refusals._told.clear()
            for _ in range(40):
                stack.enter_context(socket.create_connection(("127.0.0.1", port_of(members[0]))))
            await until(lambda: alice.refusals.counts[0, "crowd"] >= 30)
            for _ in range(3):
                assert await bob.call(1, "echo", b"through") == b"through"
            assert not any(code == "crowd" for member, code in alice.refusals.counts if member)
            for door in alice._gates:
                assert len(door._held) <= 8 + 4 * 2
    said = [one for one in logs if one.get("code") == "crowd"]
    assert len(said) == 1


def test_a_node_takes_as_many_descriptors_as_it_may(monkeypatch):
    set_to = []
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 524_288))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, limits: set_to.append(limits))
    hardening._raise_open_files()
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (1024, 1024))
    hardening._raise_open_files()
    assert set_to == [(65_536, 524_288)]
