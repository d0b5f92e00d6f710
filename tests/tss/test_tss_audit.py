"""The audit log: chained, fuller than before, exported, and held by the others so that a rewritten one shows."""

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from click.testing import CliRunner

from tests.tss.shells import committee_of, make_identities, signed_committee
from tss.audit import AuditFault, AuditRow, Head, check, row_hash
from tss.audit_file import check_all, lines, read_export
from tss.audit_watch import HeadAnswer
from tss.cli import tss as command
from tss.frost.codec import DecodeError
from tss.peers import PeerError, PeerRefused


def chain(details, kind="test"):
    rows, previous = [], bytes(32)
    for number, detail in enumerate(details, 1):
        digest = row_hash(number, 1000.5, kind, detail, previous)
        rows.append(AuditRow(number, 1000.5, kind, detail, previous, digest))
        previous = digest
    return rows


def rewrite(folder, number, detail):
    """Change a row and every hash after it, as a thorough forger would."""
    with closing(sqlite3.connect(folder / "signer.db")) as db, db:
        db.execute("UPDATE audit SET detail = ? WHERE number = ?", (detail, number))
        previous = bytes(32)
        for row in db.execute("SELECT number, at, kind, detail FROM audit ORDER BY number").fetchall():
            digest = row_hash(*row, previous)
            db.execute("UPDATE audit SET previous = ?, hash = ? WHERE number = ?", (previous, digest, row[0]))
            previous = digest


def run(*words, ok=True):
    result = CliRunner().invoke(command, [str(word) for word in words])
    assert (result.exit_code == 0) is ok, result.output
    assert "Traceback" not in result.output
    return result.output


def put_committee(seats):
    for seat in seats:
        (seat.folder / "committee.json").write_text(seat.committee.to_json())


def test_a_log_holds_from_its_first_row_and_any_change_is_named():
    rows = chain(["a", "b", "c"])
    assert check(rows) == (3, rows[2].hash)
    assert check([]) == (0, bytes(32))
    for at in range(3):
        for change in ({"detail": "x"}, {"kind": "x"}, {"at": 1.0}, {"number": 9}, {"previous": b"p" * 32}):
            changed = [*rows[:at], replace(rows[at], **change), *rows[at + 1 :]]
            with pytest.raises(AuditFault, match=f"row {at + 1}"):
                check(changed)
    with pytest.raises(AuditFault, match="row 1"):
        check(rows[1:])


def test_heads_read_back_and_bind_committee_member_and_row(tmp_path):
    alice, bob = make_identities(tmp_path, 2)
    head = Head(1, 7, b"h" * 32, 1234)
    head = head.with_signature(alice.sign(head.digest(b"c" * 32)))
    assert head.signed_by(alice.host_key, b"c" * 32)
    assert not head.signed_by(bob.host_key, b"c" * 32)
    assert not head.signed_by(alice.host_key, b"d" * 32)
    for change in ({"member": 2}, {"number": 8}, {"hash": b"x" * 32}, {"at_ms": 1}):
        assert not replace(head, **change).signed_by(alice.host_key, b"c" * 32)
    for answer in (HeadAnswer(head, b"", None), HeadAnswer(head, b"t" * 32, replace(head, member=2))):
        data = answer.encode()
        assert HeadAnswer.decode(data, 1, 2) == answer
        for cut in range(len(data)):
            with pytest.raises(DecodeError):
                HeadAnswer.decode(data[:cut], 1, 2)
        with pytest.raises(DecodeError):
            HeadAnswer.decode(data + b"\0", 1, 2)


async def test_a_rewritten_log_shows_to_every_member_that_had_heard_of_it(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await alice.node.dkg("anchor")
        await alice.node.sign("anchor", b"pay")
        kinds = {row.kind for row in await bob.node.audit.store.rows(0, 100)}
        kinds |= {row.kind for row in await alice.node.audit.store.rows(0, 100)}
        assert {"boot", "dkg", "key", "shares", "signatures"} <= kinds
        assert await alice.node.audit.compare(2) == []
        assert await carol.node.audit.compare(2) == []
        assert await bob.node.audit.compare(1) == []
        await alice.node.sign("anchor", b"pay again")
        assert await alice.node.audit.compare(2) == [], "a log that grows is no fault"
        await bob.down()
        rewrite(bob.folder, 2, "nothing happened")
        await bob.up()
        await bob.peers.until_heard([1, 3], 40)
        await alice.peers.until_heard([2], 40)
        (alarm,) = await alice.node.audit.compare(2)
        assert (alarm.member, alarm.reporter) == (2, 1)
        assert alarm.expected != alarm.found
        assert await alice.node.audit.compare(2) == [], "told once"
        (own,) = await bob.node.audit.compare(3)
        assert (own.member, own.reporter) == (2, 3), (
            "its operator is told too, by what bob himself had signed"
        )
        assert [one.member for one in await alice.node.audit.store.alarms()] == [2]


async def test_a_head_with_a_foreign_signature_or_nonsense_is_refused(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, _carol):
        for bad in (b"", b"\0" * 7, b"\0" * 9):
            with pytest.raises(PeerRefused):
                await alice.peers.call(2, "tss.audit.head", bad)

        async def lies(_member, _body):
            return HeadAnswer(Head(2, 5, bytes(32), 1, bytes(64)), b"", None).encode()

        bob.peers._handlers["tss.audit.head"] = lies
        with pytest.raises(PeerError, match="did not sign"):
            await alice.node.audit.compare(2)

        async def accuses(_member, _body):
            head = Head(2, 5, bytes(32), 1)
            said = Head(1, 10**6, b"x" * 32, 1, bytes(64))
            signed = head.with_signature(bob.identity.sign(head.digest(bob.committee.committee.hash)))
            return HeadAnswer(signed, b"", said).encode()

        bob.peers._handlers["tss.audit.head"] = accuses
        assert await alice.node.audit.compare(2) == [], "another's word alone is no alarm"


async def test_the_log_is_verified_and_exported_by_commands_with_and_without_its_node(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        put_committee(seats)
        await alice.node.dkg("anchor")
        await alice.node.audit.compare(2)
        running = json.loads(run("audit", "verify", "--dir", alice.folder, "--json"))
        assert running["ok"]
        out = tmp_path / "alice.audit"
        assert "rows" in run("audit", "export", "--dir", alice.folder, "-o", out)
        run("audit", "export", "--dir", alice.folder, "-o", out, ok=False)
        for seat in seats:
            await seat.down()
        (checked,) = json.loads(run("audit", "verify", out, "--json"))["logs"]
        assert checked["member"] == "alice"
        both = json.loads(run("audit", "verify", "--dir", bob.folder, out, "--json"))["logs"]
        assert both[0]["held_by"] == ["alice"]
        assert list(lines(read_export(out))) == out.read_text().splitlines()
        rewrite(bob.folder, 1, "another boot")
        assert json.loads(run("audit", "verify", "--dir", bob.folder, "--json"))["ok"], "alone it looks whole"
        said = run("audit", "verify", "--dir", bob.folder, out, ok=False)
        assert "bob's log lost row" in said
        with closing(sqlite3.connect(alice.folder / "signer.db")) as db, db:
            db.execute("UPDATE audit SET detail = 'x' WHERE number = 2")
        assert "changed at row 2" in run("audit", "verify", "--dir", alice.folder, ok=False)


async def test_who_rewrote_his_log_cannot_disown_the_heads_he_signed_by_naming_another_key_or_seat(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        put_committee(seats)
        alice, bob, _carol = seats
        await alice.node.dkg("anchor")
        await bob.node.audit.compare(1)
        files = {seat.folder.name: tmp_path / f"{seat.folder.name}.audit" for seat in seats}
        for name, seat in zip(files, seats, strict=True):
            run("audit", "export", "--dir", seat.folder, "-o", files[name])
        run("audit", "verify", *files.values())
        await alice.down()
        rewrite(alice.folder, 2, "another past")
        forged = tmp_path / "forged.audit"
        run("audit", "export", "--dir", alice.folder, "-o", forged)
        assert "alice's log lost row" in run("audit", "verify", forged, files["bob"], ok=False)
        first, *rest = forged.read_text().splitlines()
        told = json.loads(first)
        for change in (
            {"members": [{"name": "alice", "host_key": "11" * 32}, *told["members"][1:]]},
            {"members": [*told["members"], {"name": "alice", "host_key": "11" * 32}], "index": 4},
            {"index": 3},
            {"index": 0},
            {"index": 9},
            {"member": "mallory"},
            {"members": []},
        ):
            forged.write_text("\n".join([json.dumps(told | change), *rest]) + "\n")
            said = run("audit", "verify", forged, files["bob"], ok=False)
            assert "forged" in said, said


@pytest.mark.parametrize(
    "line",
    [
        "[" * 200_000,
        *(
            json.dumps({"number": 1, "at": 1.0, "kind": "k", "detail": "d", "previous": "", "hash": ""} | one)
            for one in ({"at": float("inf")}, {"at": float("nan")}, {"detail": "\ud800"}, {"number": "x"})
        ),
        *(
            json.dumps(
                {
                    "head": {"member": 2, "number": 1, "hash": "00" * 32, "at_ms": 1, "signature": "00" * 64}
                    | one
                }
            )
            for one in (
                {"member": 1 << 16},
                {"member": -1},
                {"number": 1 << 70},
                {"number": -1},
                {"at_ms": 1 << 70},
                {"hash": "00"},
                {"signature": "00"},
            )
        ),
    ],
)
def test_no_line_of_an_export_ends_in_a_trace(tmp_path, line):
    first = {"audit": 1, "member": "alice", "index": 1, "committee": "00" * 32}
    members = [{"name": "alice", "host_key": "11" * 32}, {"name": "bob", "host_key": "22" * 32}]
    file = tmp_path / "x.audit"
    file.write_text(json.dumps(first | {"members": members}) + "\n" + line + "\n")
    assert "is no audit export" in run("audit", "verify", file, ok=False)


def test_what_is_no_log_is_refused_with_the_next_move(tmp_path):
    bad = tmp_path / "bad.audit"
    for text in ("", "{", "[]", "{}", '{"audit": 2}', '{"audit": 1, "members": 5}', "\x00"):
        bad.write_text(text)
        assert "audit" in run("audit", "verify", bad, ok=False)
    bad.write_bytes(b"\xff\xfe")
    run("audit", "verify", bad, ok=False)
    assert "cannot read" in run("audit", "verify", tmp_path / "none", ok=False)
    assert "which log" in run("audit", "verify", ok=False)
    members = make_identities(tmp_path, 2)
    folder = tmp_path / "alice"
    assert "no member's folder" in run("audit", "verify", "--dir", folder, ok=False)
    (folder / "committee.json").write_text(signed_committee(members, 2).to_json())
    assert "does not exist" in run("audit", "verify", "--dir", folder, ok=False)
    (folder / "signer.db").write_bytes(b"no database")
    assert "cannot be read" in run("audit", "verify", "--dir", folder, ok=False)
    with pytest.raises(AuditFault, match="different committees"):
        check_all(
            [
                read_export(one)
                for one in (
                    write(tmp_path / "a", "00" * 32),
                    write(tmp_path / "b", "11" * 32),
                )
            ]
        )


def write(path, committee):
    members = [{"name": "a", "host_key": "11" * 32}]
    first = {"audit": 1, "member": "a", "index": 1, "committee": committee, "members": members}
    path.write_text(json.dumps(first) + "\n")
    return path
