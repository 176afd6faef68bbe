"""The dialect of AnythingLLM's page over SSE: a run as bubbles that its reducer keeps.

That page groups by `uuid` and can only add: to a bubble's text, or a bubble behind the others. A `statusResponse` and
an `abort` put themselves in place of all that was said since the prompt, and take the stop button away, so neither is
sent beside text. It takes the first `<think>…</think>` of a bubble for thoughts. So a bubble holds thoughts and calls,
then text; whatever comes behind text begins the next one, and so does each step of the agent. A bubble whose text is
void shows an error in its place. The last frames bind the message's id to the prompt and to the last bubble alone:
the page opens every editor with the id that it looks for.

It can show a request only on a socket. Here the words of a request, and how to reply, are the end of the stream; the
next prompt is the reply, and its stream is the rest of the run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from deechat.agents.plugins.base import Frame, FromStart, Json, dumps
from deechat.agents.plugins.deechat import metrics_of, sources_of
from deechat.events import (
    CUT,
    ClarificationRequest,
    ClientCall,
    Entry,
    InputReceived,
    ReasoningChunk,
    RunCompleted,
    RunFailed,
    RunStarted,
    RunStopped,
    Status,
    Steered,
    StepRestarted,
    StepRetold,
    StepStarted,
    TextChunk,
    TextClosed,
    ThreadRenamed,
    ToolApprovalRequest,
    ToolCallInvocation,
    ToolCallResult,
)
from deechat.locale import ENGLISH, say

LONGEST_SHOWN = 500  # characters of a call's arguments and of its result
_OPEN, _CLOSE = "<think>", "\n</think>\n\n"
_TOOL_CALL = "tool_call"  # the status before a call, which the call itself says better

_say = partial(say, "anythingllm")
Request = ToolApprovalRequest | ClarificationRequest | ClientCall


class _Bubble:
    """One message of the page. `thinks` while its thoughts are open, `error` once its text is void."""

    def __init__(self, uuid: str) -> None:
        self.uuid = uuid
        self.thinks = False
        self.spoke = False
        self.error: str | None = None


class AnythingLLM(FromStart):
    """The dialect of one stream of that page.

    `after`: the viewer, or the stream before, has the frames up to this SEQ. `answered`: all requests up to this SEQ
    have their reply, so that none of them ends the stream.
    """

    def __init__(self, message_id: str, *, after: int = 0, answered: int = 0) -> None:
        self._id = message_id
        self._after = after
        self._answered = answered
        self._seq = 0
        self._language = ENGLISH
        self._made = 0  # bubbles since the run's beginning: no two have the same uuid
        self._bubbles: list[_Bubble] = []  # of this stream
        self._step: list[_Bubble] = []  # of this step
        self._bubble: _Bubble | None = None
        self._open: dict[str, Request] = {}
        self._waits = False
        self._late: list[str] = []  # lines about what went on while the run waited

    @property
    def over(self) -> bool:  # type: ignore[override]
        return self._waits and self._seq > self._after

    def fold(self, entry: Entry) -> Iterable[Frame]:
        self._seq = entry.seq
        act = _WAITING if self._waits else _TABLE
        made = [frame for frame in act.get(type(entry.event), _nothing)(self, entry.event) if frame]
        return [Frame(frame) for frame in made] if entry.seq > self._after else ()

    def cut_off(self) -> Iterable[Frame]:
        """Say that the page has to be loaded again, and give the send button back; that page does not come again."""
        words = _say(self._language, "cutOff")
        if not self._bubbles:
            return [Frame(failure(self._id, words))]
        made = [*self.rest(), *self.speak(f"*{words}*")]
        return map(Frame, [*made, self._final(self._bubbles[-1], None, {})])

    # -- frames --------------------------------------------------------------------------------------------------------

    def _chunk(self, bubble: _Bubble, text: str, *, sources: Any = (), close: bool = False) -> Json:
        shape = {"id": self._id, "uuid": bubble.uuid, "type": "textResponseChunk", "textResponse": text}
        return {**shape, "sources": list(sources), "close": close, "error": bubble.error}

    def _final(self, bubble: _Bubble, chat_id: str | None, metrics: Json) -> Json:
        shape = {"id": self._id, "uuid": bubble.uuid, "type": "finalizeResponseStream", "sources": []}
        return {**shape, "close": True, "error": False, "chatId": chat_id, "metrics": metrics}

    def _new(self) -> _Bubble:
        self._made += 1
        self._bubble = _Bubble(f"{self._id}:{self._made}")
        self._bubbles.append(self._bubble)
        self._step.append(self._bubble)
        return self._bubble

    def aside(self, text: str) -> list[Json]:
        """Add to the thoughts."""
        bubble, opening = self._bubble, ""
        if bubble is None or bubble.spoke:
            bubble, opening = self._new(), _OPEN
            bubble.thinks = True
        return [self._chunk(bubble, opening + text)]

    def line(self, text: str) -> list[Json]:
        """Add a paragraph to the thoughts."""
        return self.aside(f"\n\n{text}\n\n")

    def speak(self, text: str) -> list[Json]:
        """Add to the text."""
        bubble = self._bubble or self._new()
        closing = _CLOSE if bubble.thinks else ""
        bubble.thinks, bubble.spoke = False, True
        return [self._chunk(bubble, closing + text)]

    def rest(self) -> list[Json]:
        """End the bubble: what follows begins another one."""
        bubble, self._bubble = self._bubble, None
        if bubble is None or not bubble.thinks:
            return []
        bubble.thinks = False
        return [self._chunk(bubble, _CLOSE)]

    def end(self, metrics: Json) -> list[Json]:
        """Bind the message's id to the prompt and to the last bubble, and give the send button back.

        A final frame gives the id to its bubble and to the message before that. So the first bubble's binds the prompt,
        and an empty piece takes the id from the bubbles between.
        """
        frames = self.rest()
        first, last = self._bubbles[0], self._bubbles[-1]
        if first is last:
            return [*frames, self._final(last, self._id, metrics)]
        between = dict.fromkeys([first, self._bubbles[-2]])
        return [
            *frames,
            self._final(first, self._id, {}),
            self._final(last, self._id, metrics),
            *(self._chunk(each, "", close=True) for each in between),
        ]

    # -- the table -----------------------------------------------------------------------------------------------------

    def started(self, event: RunStarted) -> list[Json]:
        self._language = event.language
        return []

    def renamed(self, event: ThreadRenamed) -> list[Json]:
        thread = {"slug": event.thread, "name": event.name}
        return [{"id": self._id, "uuid": f"{self._id}:name", "action": "rename_thread", "thread": thread}]

    def step_started(self, _event: StepStarted) -> list[Json]:
        frames = self.rest()
        self._step = []
        return frames

    def status(self, event: Status) -> list[Json]:
        return [] if event.code == _TOOL_CALL else self.line(event.text)

    def reasoning(self, event: ReasoningChunk) -> list[Json]:
        return self.aside(event.text)

    def text(self, event: TextChunk) -> list[Json]:
        return self.speak(event.text)

    def text_closed(self, event: TextClosed) -> list[Json]:
        if not event.sources or not self._bubbles:
            return []
        return [self._chunk(self._bubbles[-1], "", sources=sources_of(event.sources), close=True)]

    def invocation(self, event: ToolCallInvocation) -> list[Json]:
        return self.line(call_line(event.name, event.arguments))

    def result(self, event: ToolCallResult) -> list[Json]:
        return self.line(result_line(event.content))

    def steered(self, event: Steered) -> list[Json]:
        return self.line(f"» {event.message}")

    def void(self, event: StepRestarted | StepRetold) -> list[Json]:
        said = "retold" if isinstance(event, StepRetold) else "restarted"
        for bubble in self._step:
            bubble.error = _say(self._language, said)
        frames = [self._chunk(bubble, "", close=True) for bubble in self._step]
        self._step, self._bubble = [], None
        return frames

    def request(self, event: Request) -> list[Json]:
        words = request_words(event, self._language)
        if self._seq <= self._answered:
            return self.line(words)
        self._open[event.request_id] = event
        return self.wait(words)

    def wait(self, words: str) -> list[Json]:
        """Say a request's words, and end the stream; the message has no id yet."""
        self._waits = True
        frames = [*self.rest(), *self.speak(words)]
        last = self._bubbles[-1]
        self._bubble = None
        return [*frames, self._final(last, None, {})]

    def noted(self, event: InputReceived) -> list[Json]:
        return self.line(event.summary)

    def completed(self, event: RunCompleted) -> list[Json]:
        frames = []
        if event.finish_reason == CUT:
            frames = self.speak(f"\n\n*{_say(self._language, 'cut')}*")
        if not any(bubble.spoke for bubble in self._bubbles):
            frames += self.speak(f"*{_say(self._language, 'silent')}*")
        return [*frames, *self.end(metrics_of(event.metrics))]

    def stopped(self, _event: RunStopped) -> list[Json]:
        if self._bubbles:
            return self.end({})
        return [{"id": self._id, "uuid": f"{self._id}:end", "type": "stopGeneration", "close": True}]

    def failed(self, event: RunFailed) -> list[Json]:
        if not self._bubbles:
            return [failure(self._id, event.message)]
        frames = self.rest()
        bubble = self._new()
        bubble.error = event.message
        return [*frames, self._chunk(bubble, "", close=True), *self.end({})]

    # -- while it waits ------------------------------------------------------------------------------------------------

    def late_request(self, event: Request) -> list[Json]:
        self._open[event.request_id] = event
        return []

    def late_result(self, event: ToolCallResult) -> list[Json]:
        self._late.append(result_line(event.content))
        return []

    def resumed(self, event: InputReceived) -> list[Json]:
        """Begin the stream behind a reply; the next request that is open ends it at once."""
        self._open.pop(event.request_id, None)
        self._waits, self._bubbles, self._step = False, [], []
        late, self._late = self._late, []
        frames = self.line(event.summary)
        for each in late:
            frames += self.line(each)
        for request in self._open.values():
            return [*frames, *self.wait(request_words(request, self._language))]
        return frames

    def ended(self, event: RunStopped | RunFailed) -> list[Json]:
        """End a stream that is behind a reply which never came."""
        self._waits, self._bubbles = False, []
        return self.failed(event) if isinstance(event, RunFailed) else self.stopped(event)


def failure(message_id: str, words: str) -> Json:
    """Return the frame that shows words as an error in place of an answer of which nothing was said."""
    shape = {"id": message_id, "uuid": f"{message_id}:end", "type": "abort", "textResponse": None}
    return {**shape, "sources": [], "close": True, "error": words}


def call_line(name: str, arguments: Any) -> str:
    """Return a call as a paragraph of thoughts."""
    return f"🔧 {name} `{_cut(arguments if isinstance(arguments, str) else dumps(arguments).decode())}`"


def result_line(content: str) -> str:
    """Return the beginning of a call's result as a paragraph of thoughts."""
    return f"→ {_cut(content)}"


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]} …"


def request_words(request: Request, language: str, *, has_card: bool = False) -> str:
    """Return a request in words, with the way to reply to it; `has_card`: the page's card of it comes with a socket.

    A call of another client's tool has no reply here: its words say who has it.
    """
    if isinstance(request, ClientCall):
        return _say(language, "elsewhere", name=request.name)
    if isinstance(request, ToolApprovalRequest):
        given = dumps(request.arguments).decode()
        said = f"**{_say(language, 'approval', name=request.name)}** {request.description}\n\n```json\n{given}\n```"
        return f"{said}\n\n{_say(language, 'cardHow' if has_card else 'approvalHow')}"
    lines = [f"**{_say(language, 'questions')}**"]
    for number, question in enumerate(request.questions, start=1):
        lines.append(f"{number}. {question['question']}")
        lines += [f"   {at}. {option}" for at, option in enumerate(question.get("options", ()), start=1)]
    if has_card:
        return "\n".join(lines) + f"\n\n{_say(language, 'cardHow')}"
    how = ["questionHow" if len(request.questions) == 1 else "questionsHow", *(["skipHow"] * request.allow_skip)]
    return "\n".join(lines) + "\n\n" + " ".join(_say(language, each) for each in how)


def _nothing(_dialect: AnythingLLM, _event: Any) -> list[Json]:
    return []


_Act = Callable[[AnythingLLM, Any], list[Json]]
_TABLE: dict[type, _Act] = {
    RunStarted: AnythingLLM.started,
    ThreadRenamed: AnythingLLM.renamed,
    StepStarted: AnythingLLM.step_started,
    Status: AnythingLLM.status,
    ReasoningChunk: AnythingLLM.reasoning,
    TextChunk: AnythingLLM.text,
    TextClosed: AnythingLLM.text_closed,
    ToolCallInvocation: AnythingLLM.invocation,
    ToolCallResult: AnythingLLM.result,
    ToolApprovalRequest: AnythingLLM.request,
    ClarificationRequest: AnythingLLM.request,
    ClientCall: AnythingLLM.request,
    InputReceived: AnythingLLM.noted,
    Steered: AnythingLLM.steered,
    StepRestarted: AnythingLLM.void,
    StepRetold: AnythingLLM.void,
    RunCompleted: AnythingLLM.completed,
    RunStopped: AnythingLLM.stopped,
    RunFailed: AnythingLLM.failed,
}
_WAITING: dict[type, _Act] = {
    ToolApprovalRequest: AnythingLLM.late_request,
    ClarificationRequest: AnythingLLM.late_request,
    ClientCall: AnythingLLM.late_request,
    ToolCallResult: AnythingLLM.late_result,
    InputReceived: AnythingLLM.resumed,
    RunStopped: AnythingLLM.ended,
    RunFailed: AnythingLLM.ended,
}
