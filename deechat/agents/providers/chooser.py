"""Who answers: the provider that the settings name, or the one that is found."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from deechat.agents.providers.base import Provider

LOOK_AGAIN = 15.0  # seconds


class Chooser:
    """Gives the provider that answers now.

    `fixed` answers always. Without it `find` is asked for the base URL of a model server on this machine; as long as
    there is none, `offline` answers, and `find` is asked again at most every `LOOK_AGAIN` seconds, so that a model
    server that is started later is found without a restart.
    """

    def __init__(
        self,
        *,
        fixed: Provider | None,
        offline: Provider,
        find: Callable[[], str | None],
        connect: Callable[[str], Provider],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._found = fixed
        self._offline = offline
        self._find = find
        self._connect = connect
        self._clock = clock
        self._looked_at: float | None = None
        self._looking = threading.Lock()

    def current(self) -> Provider:
        """Gives the provider; may take the 300 ms that looking takes."""
        if self._found is None:
            with self._looking:  # who comes while another looks waits for what it finds
                self._look()
        return self._found or self._offline

    def _look(self) -> None:
        if self._found is None and self._is_time_to_look():
            base_url = self._find()
            self._looked_at = self._clock()
            if base_url is not None:
                self._found = self._connect(base_url)

    def _is_time_to_look(self) -> bool:
        return self._looked_at is None or self._clock() - self._looked_at >= LOOK_AGAIN
