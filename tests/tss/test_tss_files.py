"""Files that are replaced as a whole, and what is no file and must stay what it is."""

import os
import stat
import threading

from tss.files import write_atomically


def test_a_file_is_replaced_as_a_whole_with_its_mode(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"before, and longer")
    write_atomically(path, b"after")
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"after", 0o600)
    assert list(tmp_path.iterdir()) == [path], "nothing is left beside it"


def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    heard = []
    reader = threading.Thread(target=lambda: heard.append(path.read_bytes()), daemon=True)
    reader.start()
    write_atomically(path, b"through")
    reader.join(30)
    assert heard == [b"through"]
    assert stat.S_ISFIFO(path.stat().st_mode)
