"""AnythingLLM's page as far as its reducer over SSE goes: the rules by which frames become bubbles, stated anew.

The rules, as its source has them in 2026-11. Since the prompt there are two lists: the one that is kept and the one
that is shown. A `statusResponse` or an `abort` shows itself right behind the prompt in place of all that was kept, and
gives the send button back. A chunk or a final frame finds its bubble by `uuid` among those kept, else it makes one, and
all kept are shown again. A final frame gives its id to its bubble and to the message before that, and gives the send
button back. A chunk takes the id from its bubble. `stopGeneration` closes the last message. All other types are passed
over. Of a bubble that has an error only that is seen; thoughts are what stands first between `<think>` and `</think>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]
THOUGHTS = re.compile(r"<think>(.*?)</think>", re.DOTALL)


class Page:
    """The page's chat, from a prompt on. `loading`: the stop button stands where the send button was."""

    def __init__(self) -> None:
        self.shown: list[Json] = []
        self.loading = False
        self.names: dict[str, str] = {}
        self._before: list[Json] = []
        self._kept: list[Json] = []

    def send(self, prompt: str) -> None:
        self._before = [*self.shown, {"role": "user", "content": prompt}]
        self._kept = list(self._before)
        self.shown = list(self._before)
        self.loading = True

    def take(self, frames: Iterable[Json]) -> Page:
        for frame in frames:
            self._take(frame)
        return self

    def _take(self, frame: Json) -> None:
        kind = frame.get("type")
        if kind in {"abort", "statusResponse"}:
            bubble = {**_bubble(frame), "content": frame["textResponse"], "type": kind}
            self.loading = False
            self._kept.append(bubble)
            self.shown = [*self._before, bubble]
        elif kind in {"textResponseChunk", "finalizeResponseStream"}:
            self._add(frame, final=kind == "finalizeResponseStream")
        elif kind == "stopGeneration":
            self._kept[-1] = {**self._kept[-1], "sources": [], "error": None}
            self.shown, self.loading = list(self._kept), False
        if frame.get("action") == "rename_thread":
            self.names[frame["thread"]["slug"]] = frame["thread"]["name"]

    def _add(self, frame: Json, *, final: bool) -> None:
        at = next((at for at, each in enumerate(self._kept) if each.get("uuid") == frame["uuid"]), None)
        chat_id, metrics = frame.get("chatId"), frame.get("metrics", {})
        if at is None:
            self._kept.append({**_bubble(frame), "content": frame.get("textResponse")})
        elif final:
            self._kept[at] = {**self._kept[at], "chatId": chat_id, "metrics": metrics}
            self._kept[at - 1] = {**self._kept[at - 1], "chatId": chat_id}
            self.loading = False
        else:
            bubble = self._kept[at]
            sources = {"sources": frame["sources"]} if frame["sources"] else {}
            changed = {"error": frame["error"], "chatId": chat_id, "metrics": metrics, **sources}
            self._kept[at] = {**bubble, "content": bubble["content"] + frame["textResponse"], **changed}
        self.shown = list(self._kept)

    @property
    def answers(self) -> list[Json]:
        return [each for each in self.shown if each["role"] == "assistant"]

    @property
    def text(self) -> str:
        """What a person reads of the answers, thoughts and errors left out."""
        said = [THOUGHTS.sub("", each["content"] or "", count=1) for each in self.answers if not each["error"]]
        return "".join(each for each in said if "<think>" not in each)

    @property
    def thoughts(self) -> str:
        found = [THOUGHTS.search(each["content"] or "") for each in self.answers if not each["error"]]
        return "".join(each[1] for each in found if each)

    @property
    def errors(self) -> list[str]:
        return [each["error"] for each in self.answers if each["error"]]

    @property
    def ids(self) -> list[str | None]:
        return [each.get("chatId") for each in self.shown]


def _bubble(frame: Json) -> Json:
    shape = {"role": "assistant", "uuid": frame["uuid"], "error": frame.get("error"), "chatId": frame.get("chatId")}
    return {**shape, "sources": frame.get("sources", []), "metrics": frame.get("metrics", {})}
