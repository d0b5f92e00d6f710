"""A node's papers must be of one committee: whoever decides after a pause stands in the genesis."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from anchor.btc.curve import x_only_from_secret
from bridge.papers import StartFault, read_papers
from tests.bridge.observing import make_paper, write_observer


def written(folder: Path, **changes: Any) -> Path:
    """An observer's folder whose genesis is the committee's, but for the changes."""
    (folder / "members").mkdir()
    paper = make_paper(folder / "members")
    bitcoind: Any = SimpleNamespace(rpc_url="http://127.0.0.1:1", cookie=folder / "cookie")
    other = replace(paper, genesis=replace(paper.genesis, **changes))
    return write_observer(folder / "observer", other, bitcoind)


def test_a_folder_of_one_committee_is_read(tmp_path: Path) -> None:
    assert read_papers(written(tmp_path)).genesis.threshold == 2


@pytest.mark.parametrize(
    "changes",
    [{"threshold": 1}, {"host_keys": tuple(x_only_from_secret(bytes([9, i] * 16)) for i in range(3))}],
    ids=["fewer decide", "others decide"],
)
def test_a_genesis_in_which_others_would_decide_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(StartFault, match="names other operators, or another threshold"):
        read_papers(written(tmp_path, **changes))
