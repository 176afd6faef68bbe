"""DeeChat with tools that tests hold and watch: `tooled:app`, for gunicorn.

Each run of a tool adds a line to `ran` in the folder that HOOKS names, and waits there for a file `go`. A file `clock`
there sets the wall clock off by so many seconds, from one moment to the next.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from gevent import monkey

monkey.patch_all()

from deechat import create_app  # noqa: E402 - after the patching
from deechat.agents.tools import Image, Link, Table, ToolContext, ToolResult, make_tool  # noqa: E402

HOOKS = Path(os.environ["HOOKS"])
_clock = time.time


def _set_off() -> float:
    try:
        return _clock() + float((HOOKS / "clock").read_text())
    except OSError:
        return _clock()


time.time = _set_off


def _run(name: str) -> str:
    with (HOOKS / "ran").open("a") as ran:
        ran.write(f"{name}\n")
    while not (HOOKS / "go").exists():
        time.sleep(0.01)
    return f"{name} is done"


def look(at: str = "") -> str:
    """Looks at something, which may happen twice.

    at: what to look at
    """
    return _run("look")


def pay(amount: int = 1) -> str:
    """Pays, which must not happen twice.

    amount: how much
    """
    return _run("pay")


def read_folder(folder: str) -> str:
    """Reads what is in a folder.

    folder: which one
    """
    return f"{folder} is empty"


def call_number(number: str) -> str:
    """Calls a number.

    number: which one
    """
    return f"{number} is busy"


def walk(context: ToolContext, steps: int = 3) -> ToolResult:
    """Walks, says how far it is, and waits after each step for a file `step-N`, or `go`.

    steps: how many
    """
    with (HOOKS / "ran").open("a") as ran:
        ran.write("walk\n")
    for number in range(1, steps + 1):
        context.progress(f"Step {number} of {steps}", number / steps)
        while not ((HOOKS / f"step-{number}").exists() or (HOOKS / "go").exists()):
            time.sleep(0.01)
    context.source("The <b>map</b>", "https://map.example/")
    return ToolResult("It is there.", parts=(Link("javascript:alert(1)", "Bad"), Link("https://way.example/", "Way")))


PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


def draw(size: int = 0) -> ToolResult:
    """Draws pictures and a table.

    size: how long the first picture's name is at least
    """
    pictures = (
        Image(PIXEL, "A <b>pixel</b>" + "." * size),
        Image(PIXEL),
        Image("https://pictures.example/a.png", "Elsewhere"),
        Image("data:text/html,<b>no</b>"),
    )
    return ToolResult(
        "Drawn.", parts=(*pictures, Table(("What", "<i>Price</i>"), (("Tea", "3"), ("咖啡", "4")), "Prices"))
    )


def die() -> str:
    """Takes the server with it before anyone hears of it."""
    with (HOOKS / "ran").open("a") as ran:
        ran.write("die\n")
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def _die_once(name: str) -> str:
    """Does its work, and takes the server with it before its result is anywhere; the second time it lives."""
    again = (HOOKS / "ran").exists()
    with (HOOKS / "ran").open("a") as ran:
        ran.write(f"{name}\n")
    if not again:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{name} is done"


def look_and_die() -> str:
    """Looks, and takes the server with it."""
    return _die_once("look")


def pay_and_die() -> str:
    """Pays, and takes the server with it."""
    return _die_once("pay")


app = create_app(
    tools=[
        make_tool(look, repeatable=True, policy="allow"),
        make_tool(pay, repeatable=False, policy="allow"),
        make_tool(read_folder, scope=lambda arguments: str(arguments["folder"]), scope_name="folder"),
        make_tool(call_number, scope=lambda arguments: str(arguments["number"])),
        make_tool(walk, repeatable=True, policy="allow"),
        make_tool(draw, repeatable=True, policy="allow"),
        make_tool(die, repeatable=True, policy="allow"),
        make_tool(look_and_die, repeatable=True, policy="allow"),
        make_tool(pay_and_die, repeatable=False, policy="allow"),
    ]
)
