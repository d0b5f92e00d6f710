"""A folder's committee files over the epochs: who comes gets all of them, and no stranger's file gets in."""

import json
import time

import pytest
from click.testing import CliRunner

from tests.tss.epochs import member_of, signed_by
from tests.tss.shells import committee_of, make_identities, signed_committee, until
from tss import committee_files as files
from tss.certificate import DAY
from tss.cli import tss
from tss.dkg.committee import SignedCommittee
from tss.dkg.faults import CommitteeFault
from tss.identity import check_seat, rotate_tls
from tss.rotation.succession import successor


def run(*words, code=0):
    result = CliRunner().invoke(tss, [str(word) for word in words])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return " ".join(result.output.split())


class Story:
    """Three epochs: alice, bob, carol; alice, bob, dave, erin; alice, carol, dave."""

    def __init__(self, folder):
        self.folder, self.people = folder, make_identities(folder, 5)
        who = {one.name: member_of(one) for one in self.people}
        first = signed_committee(self.people[:3], 2)
        second = successor(first.committee, {"carol": who["dave"]}, [who["erin"]], (), 2)
        third = successor(second, {"bob": who["carol"]}, [], ("erin",), None)
        self.files = [first, *(signed_by(SignedCommittee.unsigned(c), self.people) for c in (second, third))]
        for signed in self.files:
            self.path(signed.committee.epoch).write_text(signed.to_json())
        for one in self.people[:3]:
            (folder / one.name / "committee.json").write_text(first.to_json())

    def path(self, epoch):
        return self.folder / f"epoch{epoch}.json"

    def accept(self, name, epoch, *earlier, code=0, command="rotate"):
        given = [word for number in earlier for word in ("--earlier", self.path(number))]
        return run(command, "accept", "--dir", self.folder / name, self.path(epoch), *given, code=code)

    def here(self, name):
        return {
            path.name: json.loads(path.read_text())["epoch"]
            for path in (self.folder / name).glob("committee*")
        }


@pytest.fixture
def story(tmp_path):
    return Story(tmp_path)


def test_who_stays_keeps_every_file_and_may_repeat_it(story):
    for epoch in (2, 2, 3, 3):
        story.accept("alice", epoch)
    assert story.here("alice") == {"committee.json": 3, "committee-1.json": 1, "committee-2.json": 2}
    chain = files.known(story.folder / "alice", story.files[2].committee)
    assert chain == tuple(signed.committee for signed in story.files)
    assert "serves epoch 3 already" in story.accept("alice", 2, code=2)
    assert story.here("alice")["committee.json"] == 3


def test_who_comes_is_given_the_earlier_files_and_told_when_one_is_missing(story):
    for command in ("rotate", "committee"):
        assert "give that of epoch 1 too, with `--earlier FILE`" in story.accept(
            "dave", 2, code=2, command=command
        )
    assert story.here("dave") == {}, "nothing was written"
    story.accept("dave", 2, 1)
    assert story.here("dave") == {"committee.json": 2, "committee-1.json": 1}
    files.path_of(story.folder / "erin", 1).write_text(story.files[0].to_json())
    story.accept("erin", 2, command="committee")
    assert story.here("erin") == {"committee.json": 2, "committee-1.json": 1}


def test_a_process_says_that_another_file_waits_for_a_restart(story):
    first, second = (signed.committee for signed in story.files[:2])
    folder = story.folder / "alice"
    assert files.not_taken_up(folder, first) is None
    story.accept("alice", 2)
    waits = files.not_taken_up(folder, first)
    assert waits.startswith(f"committee.json is of epoch 2 ({second.words})")
    assert waits.endswith("epoch 1: restart the node")
    assert files.not_taken_up(folder, second) is None
    for damage in ("{", ""):
        (folder / "committee.json").write_text(damage)
        assert files.not_taken_up(folder, second) is None, "the next start says what is wrong"
    (folder / "committee.json").unlink()
    assert files.not_taken_up(folder, second) is None


def test_who_was_away_over_an_epoch_needs_the_file_between(story):
    assert "epoch 2 is missing between" in story.accept("alice", 3, code=2)
    story.accept("alice", 3, 2)
    assert story.here("alice") == {"committee.json": 3, "committee-1.json": 1, "committee-2.json": 2}


def test_who_leaves_is_refused_and_told_to_leave_the_folder_as_it_is(story):
    assert "not in the committee of epoch 2" in story.accept("carol", 2, code=1)
    assert story.here("carol") == {"committee.json": 1}
    story.accept("carol", 3, 2)
    assert story.here("carol")["committee.json"] == 3, "and may come back"


def test_a_strangers_chain_is_refused(story, tmp_path):
    other = Story(tmp_path / "other")
    story.path(2).write_text(other.path(2).read_text())
    for name in ("alice", "bob"):
        for one in other.people:  # the same names, other keys
            assert one.host_key not in {mine.host_key for mine in story.people}
        assert "not in the committee" in story.accept(name, 2, 1, code=1)
    first = signed_committee(story.people[:3], 3)
    (tmp_path / "alice" / "committee.json").write_text(first.to_json())
    story.path(2).write_text(story.files[1].to_json())
    assert "does not succeed ours" in story.accept("alice", 2, 1, code=2)
    assert story.here("alice") == {"committee.json": 1}


def test_damaged_and_unsigned_files_between_are_refused_and_ignored_where_nobody_needs_them(story):
    story.accept("alice", 2)
    alice = story.folder / "alice"
    unsigned = SignedCommittee.unsigned(story.files[0].committee)
    for bad in ("{", unsigned.to_json(), story.files[1].to_json()):
        files.path_of(alice, 1).write_text(bad)
        with pytest.raises(CommitteeFault, match=r"committee-1\.json"):
            files.earlier(alice, story.files[1].committee)
        assert files.known(alice, story.files[1].committee) == (story.files[1].committee,)
    files.path_of(alice, 1).unlink()
    assert files.earlier(alice, story.files[1].committee) == ()


@pytest.mark.parametrize("killed_at", range(4))
def test_cut_short_at_any_write_the_folder_is_as_before_or_done(story, monkeypatch, killed_at):
    left = [killed_at]
    write = files.write_atomically

    def dies(path, data, mode):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(path, data, mode)

    folder = story.folder / "alice"
    monkeypatch.setattr(files, "write_atomically", dies)
    try:
        files.install(folder, story.files[2], [story.files[1]])
    except KeyboardInterrupt:
        assert SignedCommittee.from_json((folder / "committee.json").read_text()) == story.files[0]
        assert files.known(folder, story.files[0].committee) == (story.files[0].committee,)
    monkeypatch.setattr(files, "write_atomically", write)
    files.install(folder, story.files[2], [story.files[1]])
    assert story.here("alice") == {"committee.json": 3, "committee-1.json": 1, "committee-2.json": 2}


async def test_a_file_that_leaves_an_old_key_without_a_quorum_is_refused(tmp_path):
    people = make_identities(tmp_path / "more", 3)
    async with committee_of(tmp_path, 3, 2) as seats:
        await seats[0].node.dkg("treasury")
        await until(lambda: all(seat.node.public("treasury") for seat in seats))
        first, who = seats[0].committee, {one.name: member_of(one) for one in people}
        (seats[0].folder / "committee.json").write_text(first.to_json())
        kept = [seat.identity for seat in seats]
        new = {name: who[name] for name in ("bob", "carol")}
        second = successor(first.committee, {"carol": new["carol"]}, (), (), None)
        third = successor(second, {"bob": new["bob"]}, (), (), None)
        for number, made in ((2, second), (3, third)):
            signed = signed_by(SignedCommittee.unsigned(made), [*kept, *people])
            (tmp_path / f"{number}.json").write_text(signed.to_json())
        folder = seats[0].folder
        words = ("rotate", "accept", "--dir", folder, tmp_path / "3.json", "--earlier", tmp_path / "2.json")
        said = run(*words, code=1)
        assert "only 1 of those who hold the treasury key of epoch 1 are in this file, and it needs 2" in said
        run("rotate", "accept", "--dir", folder, tmp_path / "2.json")


def test_a_certificate_that_was_rotated_since_is_noticed_when_the_file_is_signed_and_when_it_is_accepted(
    story,
):
    alice, first = story.people[0], story.files[0].committee
    rotate_tls(alice.seated(first), first, time.time(), overlap=DAY, days=100)
    said = run("committee", "sign", "--dir", story.folder / "alice", story.path(2), code=1)
    assert f"--replace alice {story.folder / 'alice' / 'member.json'}" in said
    said = story.accept("alice", 2)
    assert "first run `holdfast tss certificate rotate" in said
    run("certificate", "rotate", "--dir", story.folder / "alice", "--offline")
    assert check_seat(story.folder / "alice", story.files[1].committee) == 1
    out = story.folder / "again.json"
    own = story.folder / "alice" / "member.json"
    run("rotate", "propose", story.path(2), "--replace", "alice", own, "-o", out)
    run("committee", "sign", "--dir", story.folder / "alice", out)
