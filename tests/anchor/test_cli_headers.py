"""`holdfast anchor headers verify` and `holdfast anchor risk` as people and programs call them."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from anchor import cli_headers
from anchor.btc.hashing import sha256d
from anchor.cli_anchor import anchor
from anchor.cli_tools import Failed
from tests.anchor.headers.minting import GENESIS, mine, run

LINE = [GENESIS, *run(GENESIS, 40)]
RAW = b"".join(header.raw for header in LINE)


def call(*words: object, status: int = 0, feed: bytes | None = None):
    result = CliRunner().invoke(anchor, [str(word) for word in words], input=feed)
    assert result.exit_code == status, result.output
    return result


def verify(path, *words: object, network: str = "regtest", status: int = 0):
    return call("headers", "verify", path, "--network", network, *words, status=status)


def test_a_valid_file_tells_count_tip_work_and_time(tmp_path):
    (tmp_path / "h.bin").write_bytes(RAW)
    said = verify(tmp_path / "h.bin").output.splitlines()
    assert said[0] == "valid"
    told = dict(line.split(maxsplit=1) for line in said[1:])
    assert (told["count"], told["height"], told["work"]) == ("41", "40", f"{41 * 2:x}")
    assert told["tip"] == LINE[-1].hash[::-1].hex()
    assert told["time"] == f"{LINE[-1].time} (2011-02-03 05:56:42 UTC)"
    assert told["median_time_from"] == "1"
    found = json.loads(verify(tmp_path / "h.bin", "--json").output)
    assert (found["valid"], found["count"], found["notes"]) == (True, 41, [])


def test_no_clock_is_asked_so_a_header_of_the_year_2106_passes(tmp_path):
    late = mine(replace(LINE[-1], parent=LINE[-1].hash, time=2**32 - 1))
    (tmp_path / "h.bin").write_bytes(RAW + late.raw)
    assert "(2106-02-07 06:28:15 UTC)" in verify(tmp_path / "h.bin").output


def test_headers_may_come_by_standard_input():
    said = call("headers", "verify", "-", "--network", "regtest", "--json", feed=RAW)
    assert json.loads(said.output)["height"] == 40


def test_a_refused_header_is_named_with_height_and_rule(tmp_path):
    raw = bytearray(RAW)
    raw[20 * 80 + 4] ^= 1
    (tmp_path / "h.bin").write_bytes(raw)
    refused = verify(tmp_path / "h.bin", "--json", status=1)
    said = json.loads(refused.stdout)
    assert (said["valid"], said["height"], said["rule"], said["count"]) == (False, 20, "parent", 20)
    assert "header at height 20 refused (parent)" in refused.stderr
    assert "20 headers before it are valid" in refused.stderr


def test_a_cut_file_and_a_wrong_start_are_refused_with_the_next_move(tmp_path):
    (tmp_path / "h.bin").write_bytes(RAW[:-1])
    said = json.loads(verify(tmp_path / "h.bin", "--json", status=1).stdout)
    assert (said["rule"], said["height"], said["count"]) == ("length", 40, 40)
    refused = verify(tmp_path / "h.bin", "--trusted-start", 100, network="mainnet", status=1)
    assert "must begin a difficulty period" in refused.stderr
    missing = verify(tmp_path / "none.bin", status=2)
    assert "none.bin" in missing.stderr


def test_a_folder_is_no_file_of_headers(tmp_path):
    assert "directory" in verify(tmp_path, status=2).stderr.lower()


def test_what_was_trusted_and_what_signet_hides_is_said(vectors):
    where = vectors / "headers"
    said = verify(where / "mainnet-822528.bin", "--trusted-start", 822_528, network="mainnet").output
    assert "note: header 822528 was taken on trust" in said
    assert "note: median time checked from height 822539 on" in said
    assert "BIP325" in verify(where / "signet-000000.bin", network="signet").output
    assert "BIP325" not in verify(where / "mainnet-000000.bin", network="mainnet").output


def test_a_depth_is_told_for_each_share_and_formula():
    said = json.loads(call("risk", "--value", 10**8, "--attacker", "0.1…0.4", "--json").output)
    assert said["risk"] == 0.001
    assert [row["attacker"] for row in said["depths"]] == [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
    assert [row["nakamoto"] for row in said["depths"]] == [5, 8, 11, 15, 24, 41, 89]
    assert [row["grunspan"] for row in said["depths"]] == [6, 9, 13, 20, 32, 58, 133]
    same = call("risk", "--value", 10**8).output
    assert same.splitlines()[-2].split()[:3] == ["0.4", "89", "133"]


def test_more_value_asks_for_more_depth():
    depths = [
        json.loads(call("risk", "--value", value, "--attacker", "0.3", "--json").output)["depths"][0][
            "grunspan"
        ]
        for value in (1, 10**8, 10**9, 10**10)
    ]
    assert depths == sorted(depths)
    assert depths[0] == depths[1] < depths[2] < depths[3]


def test_spans_are_read_with_dots_of_any_kind_and_end_where_they_say():
    for span in ("0.1..0.22", "0.1...0.22", "0.1…0.22"):
        said = json.loads(call("risk", "--value", 1, "--attacker", span, "--json").output)
        assert [row["attacker"] for row in said["depths"]] == [0.1, 0.15, 0.2, 0.22]


@pytest.mark.parametrize("share", ["0", "0.5", "0.4…0.1", "0.1…0.5", "x", "", "0.1…", "nan", "0.1…nan"])
def test_a_share_that_makes_no_sense_is_refused(share):
    refused = call("risk", "--value", 1, "--attacker", share, status=2)
    assert "--attacker" in refused.stderr
    assert "Traceback" not in refused.output


def test_a_server_that_gives_headers_without_end_is_left(monkeypatch):
    """Export checks links only, and those are free to make."""
    given: list[bytes] = [GENESIS.raw]

    class Endless:
        url = "http://endless"

        def get(self, path: str, **query: int) -> dict[str, object]:
            at = query["from"]
            while len(given) < at + 2000:
                given.append(bytes(4) + sha256d(given[-1]) + bytes(44))
            return {"from": at, "headers": b"".join(given[at : at + 2000]).hex()}

    monkeypatch.setattr(cli_headers, "MOST_EXPORTED", 9000)
    with pytest.raises(Failed, match="http://endless gives more headers than Bitcoin can have"):
        cli_headers._fetch_headers(Endless())
    assert len(given) == 10_000


def test_a_tiny_share_is_a_share():
    found = json.loads(call("risk", "--value", 1, "--attacker", "1e-12", "--json").output)
    assert found["depths"][0] == {
        "attacker": 1e-12,
        "nakamoto": 1,
        "grunspan": 1,
        "chance": pytest.approx(2e-12),
    }
    refused = call("risk", "--value", 1, "--attacker", "0.4999999", status=1)
    assert "against 0.4999999 of the hash power" in refused.stderr
