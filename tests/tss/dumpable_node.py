"""A program for tests: `one_node`, but its memory may be read by the test that started it."""

import asyncio
import sys
from pathlib import Path

from tests.tss import one_node
from tss import hardening

if __name__ == "__main__":
    hardening.harden = hardening.look
    asyncio.run(one_node.main(Path(sys.argv[1]), int(sys.argv[2])))
