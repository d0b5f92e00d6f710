"""CONFIG.md is what the code says, and what `write` writes is what `load` reads."""

from pathlib import Path

import pytest

import bridge.config
from bridge.config import BitcoindSection, Config, ConfigFault, NodeSection, load, reference, write

CONFIG = Config(NodeSection("alice", "regtest"), BitcoindSection("http://127.0.0.1:1", 'a "quoted" \\ path'))


def test_the_reference_in_the_repository_is_the_one_the_command_prints():
    kept = Path(bridge.config.__file__).with_name("CONFIG.md").read_text()
    assert kept == reference(), "run `holdfast node config-reference > bridge/CONFIG.md`"


def test_what_is_written_is_read_again_and_never_over_an_existing_file(tmp_path):
    write(tmp_path, CONFIG)
    assert load(tmp_path) == CONFIG
    with pytest.raises(FileExistsError):
        write(tmp_path, CONFIG)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("[node]", "[nodes]"), "config-reference"),
        (('name = "alice"', "name = 7"), r"\$\.node\.name"),
        (("port = 0", "port = 70000"), r"\$\.peer\.port"),
        (('"regtest"', '"moon"'), r"\$\.node\.network"),
        (("poll = 1.0", "poll = 1.0\npol = 2"), "pol"),
        (("[bitcoind]", "[bitcoind"), "mend that line"),
    ],
)
def test_a_damaged_config_names_the_setting_and_the_next_move(tmp_path, change, sentence):
    write(tmp_path, CONFIG)
    path = tmp_path / "config.toml"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(ConfigFault, match=sentence):
        load(tmp_path)


def test_a_missing_config_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(ConfigFault, match="holdfast node init"):
        load(tmp_path)
