"""What is stored of a chain: packed again at start, mended after damage, and never believed beyond its bytes."""

import errno
import io
import os
from pathlib import Path

import pytest
from rich.console import Console
from structlog.testing import capture_logs

import anchor.header_store as stores
from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import MAINNET
from anchor.feed import Connected
from anchor.header_file import HeaderFile
from anchor.header_progress import SyncProgress
from anchor.header_source import SourceError
from anchor.headers import run as runs
from anchor.headers.trunk import Packed
from tests.anchor.feeding import Branch, FeedHome
from tests.anchor.headers.minting import mine, run


@pytest.fixture
def noting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes are written for short chains too."""
    monkeypatch.setattr(stores, "NOTE_EVERY", 10)


def raws(branch: Branch) -> bytes:
    return b"".join(header.raw for header in branch.chain)


async def stored(home: FeedHome, node: Branch) -> Path:
    async with home.feed(node) as feed:
        await feed.sync()
    return home.folder / "main.bin"


class Taken:
    """Counts the headers that are validated in runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        real = runs.HeaderRun.add

        def add(own: runs.HeaderRun, raw: bytes) -> object:
            self.count += len(raw) // 80
            return real(own, raw)

        monkeypatch.setattr(runs.HeaderRun, "add", add)


async def test_what_a_note_speaks_of_is_not_validated_again(
    tmp_path: Path, noting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(120)
    await stored(home, node)
    node.mine(7)
    await stored(home, node)
    taken = Taken(monkeypatch)
    async with home.feed(node) as feed:
        assert taken.count == 7
        assert feed.chain.tip.hash == node.chain[-1].hash
        assert feed.chain.tip.work == 2 * 128
        assert [at.header for at in feed.chain.main(0, 200)] == node.chain
        assert all(feed.chain.is_main(header.hash) for header in node.chain)
        assert await feed.sync() == []


@pytest.mark.parametrize("where", [0, 5, 60, 100, -40, -1])
async def test_a_damaged_note_costs_a_validation_and_nothing_else(
    tmp_path: Path, noting: None, monkeypatch: pytest.MonkeyPatch, where: int
) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(120)
    await stored(home, node)
    note = home.folder / "main.idx"
    data = bytearray(note.read_bytes())
    data[where] ^= 1
    note.write_bytes(bytes(data))
    taken = Taken(monkeypatch)
    async with home.feed(node) as feed:
        assert taken.count == 120
        assert feed.chain.tip.hash == node.chain[-1].hash


@pytest.mark.parametrize("damage", ["cut", "empty", "gone", "other network", "old rules", "other sizes"])
async def test_a_note_that_does_not_fit_is_passed_over(
    tmp_path: Path, noting: None, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(60)
    await stored(home, node)
    note = home.folder / "main.idx"
    match damage:
        case "cut":
            note.write_bytes(note.read_bytes()[:100])
        case "empty":
            note.write_bytes(b"")
        case "gone":
            note.unlink()
        case "other network":
            other = FeedHome(tmp_path / "other")
            async with other.feed(node, start=(1, node.chain[1])) as feed:
                await feed.sync()
            note.write_bytes((other.folder / "main.idx").read_bytes())
        case "old rules":
            monkeypatch.setattr("anchor.header_file.RULES", 2)
        case _:  # a note that a bug wrote, whole and wrong
            real = Packed.__init__

            def shorter(own: Packed, count: int, digest: bytes, index: bytes, sums: bytes) -> None:
                real(own, count, digest, index[8:], sums)

            monkeypatch.setattr(Packed, "__init__", shorter)
    async with home.feed(node) as feed:
        assert feed.chain.tip.hash == node.chain[-1].hash
        assert feed.chain.tip.work == 2 * 61


async def test_headers_of_another_network_in_the_file_are_cut_off(tmp_path: Path, noting: None) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(60)
    file = await stored(home, node)
    foreign = Header.parse(MAINNET.genesis)
    file.write_bytes(file.read_bytes() + foreign.raw + run(foreign, 1)[0].raw)
    async with home.feed(node) as feed:
        assert feed.chain.tip.height == 60
        assert file.read_bytes() == raws(node)
        assert await feed.sync() == []


async def test_headers_that_were_altered_under_a_note_are_found(tmp_path: Path, noting: None) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(120)
    file = await stored(home, node)
    data = bytearray(file.read_bytes())
    data[80 * 33 + 40] ^= 1
    file.write_bytes(bytes(data))
    with capture_logs() as logs:
        async with home.feed(node) as feed:
            assert feed.chain.tip.height == 32
            assert file.read_bytes() == raws(node)[: 33 * 80]
            assert await feed.sync() == [Connected(i, node.chain[i].hash) for i in range(33, 121)]
    assert any(entry["event"] == "header_file_damaged" for entry in logs)
    assert file.read_bytes() == raws(node)


async def test_a_file_that_is_shorter_than_its_note_is_read_as_it_is(tmp_path: Path, noting: None) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(120)
    file = await stored(home, node)
    file.write_bytes(file.read_bytes()[: 80 * 50 + 7])
    async with home.feed(node) as feed:
        assert feed.chain.tip.height == 49
        await feed.sync()
    assert file.read_bytes() == raws(node)


async def test_a_reorg_into_what_a_note_speaks_of_is_kept_and_read_again(
    tmp_path: Path, noting: None
) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(100)
    file = await stored(home, node)
    lost = node.chain[-1]
    async with home.feed(node) as feed:
        node.reorg(9, 12)
        await feed.sync()
        assert feed.chain.tip.hash == node.chain[-1].hash
    assert file.read_bytes() == raws(node)
    async with home.feed(node) as feed:
        assert feed.chain.tip.hash == node.chain[-1].hash
        assert feed.chain.get(lost.hash) is not None
        assert await feed.sync() == []


async def test_a_disk_that_was_full_in_the_middle_of_a_reorg_leaves_no_hole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(9)
    async with home.feed(node) as feed:
        await feed.sync()
        whole = node.chain
        node.reorg(5, 7)

        def full(descriptor: int, data: bytes, offset: int) -> None:
            os.pwrite(descriptor, data[:130], offset)
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as during:
            during.setattr("anchor.header_file._write_all", full)
            with pytest.raises(OSError, match="No space"):
                await feed.sync()
        assert feed.chain.tip.hash == whole[-1].hash
        node.chain = whole
        node.mine(1)
        assert [type(event) for event in await feed.sync()] == [Connected]
        assert (home.folder / "main.bin").read_bytes() == b"".join(h.raw for h in node.chain)
    async with home.feed(node) as feed:
        assert feed.chain.tip.hash == node.chain[-1].hash


async def test_a_start_takes_up_so_many_old_branches_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, node, stale = FeedHome(tmp_path), Branch().mine(20), list[BlockHash]()
    async with home.feed(node) as feed:
        await feed.sync()
        for salt in range(5):
            stale.append(node.chain[-1].hash)
            node.reorg(2, 4, 10 + salt)
            await feed.sync()
        tip = feed.chain.tip.hash
    monkeypatch.setattr("anchor.header_store.FORKS", 5)
    async with home.feed(node) as feed:
        assert [feed.chain.get(block) is not None for block in stale] == [False, False, False, True, True]
        assert (feed.chain.tip.hash, len(await feed.reorgs())) == (tip, 5)
        assert len(await feed.ledger.forks(99)) == 10, "none is forgotten"
        assert await feed.sync() == []


async def test_a_thousand_blocks_and_more_turn_when_the_operator_says_so(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(1100)
    file = await stored(home, node)
    async with home.feed(node, hold=False) as feed:
        old = feed.chain.tip
        node.reorg(1050, 1060)
        events = await feed.sync()
        assert len(events) == 1 + 1050 + 1060
        assert feed.chain.reorg(old, feed.chain.tip).depth == 1050
    assert file.read_bytes() == raws(node)
    async with home.feed(node) as feed:
        assert (feed.chain.tip.hash, len(feed.chain.heads)) == (node.chain[-1].hash, 2)
        assert feed.chain.get(old.hash) is not None


async def test_an_invalid_header_in_a_long_page_leaves_the_file_alone(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(200)
    good = list(node.chain)
    node.chain = [*good, mine(run(good[-1], 1)[0], fail=True)]
    async with home.feed(node) as feed:
        with pytest.raises(Exception, match="height 201 refused"):
            await feed.sync()
        assert feed.chain.tip.height == 0
    assert HeaderFile(home.folder / "main.bin").repair() == 1
    node.chain = good
    assert (await stored(home, node)).read_bytes() == raws(node)


async def test_of_a_long_read_only_the_newest_events_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anchor.feed.TOLD", 100)
    node = Branch().mine(4100)
    async with FeedHome(tmp_path).feed(node) as feed:
        assert await feed.sync() == [Connected(i, node.chain[i].hash) for i in range(4001, 4101)]


async def test_a_page_that_ends_in_the_future_is_taken_up_to_there(tmp_path: Path) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(100)
    home.now = float(node.chain[70].time - 7200)
    async with home.feed(node) as feed:
        assert len(await feed.sync()) == 70
        home.now += 600 * 40
        assert len(await feed.sync()) == 30
    assert (home.folder / "main.bin").read_bytes() == raws(node)


@pytest.mark.parametrize("content", [b"\0" * 79, b"\0" * 80, b"HTTP/1.1 400 Bad Request\r\n" * 40])
async def test_a_file_of_something_else_is_named_not_overwritten(tmp_path: Path, content: bytes) -> None:
    home, node = FeedHome(tmp_path), Branch().mine(3)
    file = home.folder / "main.bin"
    file.write_bytes(content)
    if len(content) < 80:  # nothing whole: a write that a crash tore
        await stored(home, node)
        assert file.read_bytes() == raws(node)
        return
    with pytest.raises(SourceError, match="begins with another header"):
        async with home.feed(node):
            pass
    assert file.read_bytes()[:80] == content[:80]


class Shown:
    """What a bar is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int] | str] = []

    def at(self, height: int, goal: int) -> None:
        self.told.append((height, goal))

    def done(self) -> None:
        self.told.append("done")


async def test_a_first_read_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    class Failing(Branch):
        pages = 0

        async def headers(self, start: int, count: int) -> list[Header]:
            self.pages += 1
            if self.pages == 3:
                raise SourceError("gone")
            return await super().headers(start, count)

    home, node, shown = FeedHome(tmp_path), Failing().mine(5000), Shown()
    async with home.feed(node, progress=shown) as feed:
        with pytest.raises(SourceError, match="gone"):
            await feed.sync()
    assert shown.told == [(2000, 5000), (4000, 5000), "done"]
    async with home.feed(node) as feed:
        assert feed.chain.tip.height == 4000
        assert await feed.sync() == [Connected(i, node.chain[i].hash) for i in range(4001, 5001)]
    assert (home.folder / "main.bin").read_bytes() == raws(node)


def test_a_long_read_is_a_bar_on_a_terminal_and_a_line_now_and_then_elsewhere() -> None:
    drawn = io.StringIO()
    bar = SyncProgress(Console(file=drawn, force_terminal=True, width=100))
    for height in (2000, 400_000, 950_000):
        bar.at(height, 950_000)
    bar.done()
    assert "Bitcoin headers" in drawn.getvalue()
    now, plain = [100.0], io.StringIO()
    lines = SyncProgress(Console(file=plain, force_terminal=False), clock=lambda: now[0])
    with capture_logs() as logs:
        for height in range(2000, 40_001, 2000):
            lines.at(height, 40_000)
            now[0] += 1
        lines.done()
        lines.at(39_000, 40_000)  # a short read is not worth a word
    assert plain.getvalue() == ""
    assert [entry["height"] for entry in logs] == [2000, 22_000]
