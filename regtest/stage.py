"""Performs a story: a world in a folder of its own, each step told and timed, a table at the end.

Exit status 0 only when everything held; 1 when something did not (the world's logs are kept then), 3 while steps
are missing.
"""

import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from regtest import folders
from regtest.story.scene import Scene
from regtest.telling import DoesNotHold, Teller
from regtest.world import World

Step = tuple[str, Callable[[Scene], None] | None]


def perform(name: str, steps: Sequence[Step], **world: int) -> int:
    """Tell the story of this name in a world of these sizes; returns the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends all processes as Ctrl-C does
    tell = Teller()
    with folders.RunFolder(name) as folder:
        try:
            with World(folder.path, **world) as built:
                status = play(Scene(built, tell), steps)
                memory = {process.name: process.peak_memory for process in built.processes}
        except KeyboardInterrupt:
            print("\nStopped; nothing is left.")
            return 130
        folder.keep = status == 1
        tell.table(memory)
        if folder.keep:
            print(f"\n  Logs and folders of this world: {folder.path} (until the next run)")
        return status


def play(scene: Scene, steps: Sequence[Step]) -> int:
    """Tell each step; stops at the first that does not hold."""
    missing = 0
    for number, (title, step) in enumerate(steps, start=1):
        if step is None:
            scene.tell.missing(number, title)
            missing += 1
            continue
        try:
            with scene.tell.step(number, title):
                step(scene)
        except Exception as error:
            print(f"\n  Step {number} failed: {error}", flush=True)
            if not isinstance(error, DoesNotHold):
                traceback.print_exc(file=sys.stdout)
            for name, trouble in scene.troubles():
                print(f"  {name}: {trouble}")
            return 1
    return 3 if missing else 0
