"""What an observer finds that holds no share and saw nothing happen."""

from typing import Any

from regtest.operators import Node
from regtest.story.scene import Scene


def holds_nothing(s: Scene, observer: Node) -> None:
    """No share, no identity, no peers."""
    role = observer.get("/v1/info")["role"]
    left = sorted(path.name for path in observer.folder.iterdir())
    s.tell.check(
        role == "observer" and "signer.db" not in left and "keys" not in left,
        f"its folder: {', '.join(left)}",
    )


def same_rows(s: Scene, observer: Node, node: Node, kind: str, key: str, columns: tuple[str, ...]) -> None:
    """Both list the same deposits or withdrawals, in every column that both chains carry."""

    def rows(one: Node) -> dict[str, Any]:
        done = [row for row in one.get(f"/v1/{kind}?limit=100")[kind] if row["state"] not in _UNDER_WAY]
        return {row[key]: tuple(row[column] for column in columns) for row in done}

    s.until(lambda: rows(observer) == rows(node), f"{observer.name} to find {node.name}'s {kind}")
    found = rows(observer)
    s.tell.check(bool(found), f"{len(found)} {kind}, equal in {', '.join(columns)}", found)


_UNDER_WAY = ("ISSUED", "SEEN", "CONFIRMED", "SWEEPING", "PENDING")
