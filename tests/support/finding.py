"""DeeChat that looks for model servers on the ports that PORTS names instead of the usual ones: `finding:app`."""

from __future__ import annotations

import os
from functools import partial

from gevent import monkey

monkey.patch_all()

from deechat import application, create_app  # noqa: E402 - after the patching

PORTS = [int(port) for port in os.environ["PORTS"].split(",")]
application.find_local_server = partial(application.find_local_server, within=5, candidates=PORTS)

app = create_app()
