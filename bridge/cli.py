"""The command `holdfast`: its groups come from entry points and are imported only when one is used."""

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any

import click

GROUPS = "holdfast.commands"
# What `holdfast --help` says without importing every package; a group that is not here is imported for it.
_HELP = {
    "anchor": "What was anchored: list, show, prove, verify, scan; header files.",
    "bridge": "Deposits, withdrawals, reserves; the genesis ceremony.",
    "node": "Make, run, upgrade and watch a node.",
    "regtest": "A whole world on this machine, to play with.",
    "rollup": "The embedded rollup: sequencer, validators, keys, transfers.",
    "tss": "The committee and its keys: committee file, DKG, test signatures.",
}


class Groups(click.Group):
    """Finds groups by entry point, so that a package adds one without this file knowing its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 click's signature
        """Names of all groups."""
        return sorted(point.name for point in self._points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 as above
        """Import one group."""
        point = next((point for point in self._points() if point.name == cmd_name), None)
        if point is None:
            return None
        try:
            command: click.Command = point.load()
        except (ImportError, AttributeError) as error:
            raise click.ClickException(
                f"`holdfast {cmd_name}` cannot be loaded ({error}): install Holdfast again"
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the groups with what they are for."""
        rows = [(name, _HELP.get(name) or self._short_help(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def _short_help(self, ctx: click.Context, name: str) -> str:
        command = self.get_command(ctx, name)
        return "" if command is None else command.get_short_help_str()

    @staticmethod
    def _points() -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=GROUPS))


@click.command(cls=Groups, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("holdfast"), prog_name="holdfast")
def main() -> None:
    """Anchors a rollup to Bitcoin and bridges BTC, with no key that any one party holds.

    Operators begin with `holdfast node init --help`, depositors with `holdfast bridge address --help`, auditors
    with `holdfast anchor verify --help`. To look around: `holdfast regtest up`.
    """


def __getattr__(name: str) -> Any:
    """Give the groups that live beside this file, imported when they are asked for."""
    if name in ("node", "bridge"):
        return getattr(import_module(f"bridge.cli_{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
