"""How commands reach the node that runs on a folder: its admin port, with the token only its owner can read."""

import json
from pathlib import Path

from anchor.cli_http import HttpClient
from anchor.cli_tools import Failed

ADMIN_FILE = "admin.json"


def admin(folder: Path) -> HttpClient:
    """Return a client of the admin port. Failed when no node runs on the folder."""
    path = folder / ADMIN_FILE
    start = f"start it with `holdfast node run --dir {folder}`"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        url, token = str(found["url"]), str(found["token"])
    except FileNotFoundError as error:
        raise Failed(f"no node runs on {folder}: {start}") from error
    except PermissionError as error:
        raise Failed(f"{path} is not yours to read: run the command as the node's user") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(f"{path} is damaged: stop the node and {start}") from error
    return HttpClient(url, who=f"the node on {folder}", option="--dir", token=token)
