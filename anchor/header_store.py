"""Keeps a chain of headers: the main chain in a flat file, everything else in SQL, and puts it together at start.

Order of writing: what leaves the main chain and the reorg that moved it first, in one transaction; then the file.
So whatever a crash leaves, no header is lost: at start the file's whole and valid headers and the kept forks give
the heaviest chain again, the file is made that chain, and the source tells the rest.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import structlog

from anchor.btc.header import Header
from anchor.header_file import HeaderFile, ValidatedNote
from anchor.header_ledger import HeaderLedger
from anchor.header_source import SourceError
from anchor.headers.chain import HeaderAt, HeaderChain, Reorg
from anchor.headers.rules import HeaderRefused

NOTE_EVERY = 4032  # headers that a start may have to validate again
FORKS = 20_000  # headers off the main chain that a start takes up, some 20 MB; older ones stay in their table

log = structlog.get_logger("anchor.feed")


class HeaderStore:
    """`folder/main.bin`, `folder/main.idx` and the ledger's forks, for `chain`."""

    def __init__(self, folder: Path, chain: HeaderChain, ledger: HeaderLedger) -> None:
        self._chain, self._ledger = chain, ledger
        self._file = HeaderFile(folder / "main.bin")
        start = chain.start
        named = b"%s|%d|" % (chain.rules.network.name.encode(), start.height)
        self._wrong_from: int | None = (
            None  # the header at which a write that failed may have left the file wrong
        )
        self._note = ValidatedNote(folder / "main.idx", sha256(named + start.header.raw).digest())

    async def load(self) -> None:
        """Bring the chain to what is stored; what is damaged is cut off. Every header has passed all rules.

        Those that the note speaks of, with their very bytes, passed them before; the others do so now. Raises
        SourceError when the file begins with another header.
        """
        whole = self._file.repair()
        first = next(self._file.read(), b"")[:80]
        if first and first != self._chain.start.header.raw:
            raise SourceError(
                f"{self._file.path} begins with another header, so it belongs to another network or start: "
                "move it away, and the headers are read again from bitcoind"
            )
        self._read(whole)
        in_file = self._chain.tip
        skipped = 0
        for raw in await self._ledger.forks(FORKS):
            try:
                self._chain.add(Header.parse(raw))
            except HeaderRefused:  # its branch's foot was cut off, or is too old
                skipped += 1
        if skipped:
            log.info("fork_headers_skipped", count=skipped)
        self._mend(whole, in_file)
        self.note()

    def _read(self, whole: int) -> None:
        chain = self._chain
        try:
            if (noted := self._note.load(self._file.path)) is not None:
                chain.adopt(*noted)
        except ValueError as error:
            log.warning("note_unusable", error=str(error))
            self._note.count = 0
        known = max(self._note.count, 1)
        if known >= whole:
            return
        with _no_collections():
            for part in self._file.read(known):
                try:
                    chain.extend(part)
                except HeaderRefused as error:
                    log.warning("header_file_damaged", error=str(error))
                    self._read_singly(part)
                    return

    def _read_singly(self, part: bytes) -> None:
        for at in range(0, len(part), 80):
            raw, below = part[at : at + 80], self._chain.tip.hash
            if raw[4:36] != below:
                return
            try:
                self._chain.extend(raw)
            except HeaderRefused:
                return

    def _mend(self, whole: int, in_file: HeaderAt) -> None:
        # A crash between table and file, or damage, leaves a file that is not the main chain: make it that.
        start, tip = self._chain.start.height, self._chain.tip
        if tip is in_file and whole == tip.height - start + 1:
            return
        fork = self._chain.fork_point(in_file, tip)
        same = min(fork.height - start + 1, whole)
        self._file.replace(same, self._chain.raws(start + same, tip.height - start + 1 - same))

    def turn(self, trial: HeaderChain, reorg: Reorg) -> None:
        """Write the way from the old tip to the new one; what was disconnected must be in the ledger."""
        first = reorg.fork.height + 1
        raw = trial.raws(first, len(reorg.connected))
        self._write(first - self._chain.start.height, raw, durable=True)

    def append(self, height: int, raw: bytes) -> None:
        """Write headers upon the main chain, the first at `height`; durable after `settle`."""
        self._write(height - self._chain.start.height, raw, durable=False)

    def _write(self, index: int, raw: bytes, *, durable: bool) -> None:
        if (
            since := self._wrong_from
        ) is not None and since < index:  # a full disk, and the chain went elsewhere
            raw = self._chain.raws(self._chain.start.height + since, index - since) + raw
            index = since
        self._wrong_from = index
        self._file.replace(index, raw, durable=durable)
        self._wrong_from = None

    def settle(self) -> None:
        """The source has been read to its end: make durable what was appended, note it when it is worth it."""
        self._file.sync()
        self.note()

    def note(self) -> None:
        """Note what was validated, when it is worth it."""
        chain = self._chain
        count = chain.tip.height - chain.start.height + 1
        if count < self._note.count + NOTE_EVERY:
            return
        packed = chain.pack(chain.tip.height)
        try:
            self._note.save(packed)
        except OSError as error:
            log.warning("note_not_written", path=str(self._note.path), error=str(error))


@contextmanager
def _no_collections() -> Iterator[None]:
    """Millions of short-lived tuples and no cycle: the collector would look through them again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
