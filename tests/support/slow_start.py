"""DeeChat whose database takes its time to open, as a large one of an earlier version does: `slow_start:app`.

SECONDS says how long.
"""

from __future__ import annotations

import os
from typing import Any

from gevent import monkey

monkey.patch_all()

from deechat import create_app  # noqa: E402 - after the patching
from deechat.store.sqlite import database  # noqa: E402 - after the patching

_open_writer = database.open_writer


def _slowly(*arguments: Any) -> Any:
    monkey.get_original("time", "sleep")(float(os.environ["SECONDS"]))  # in the writer thread
    return _open_writer(*arguments)


database.open_writer = _slowly
app = create_app()
