"""The events of a run, as frozen values.

A run is a list of these, in order, and nothing else is known of it. An event knows no frame, no row and no request:
plugins make its frames, the journal keeps it on disk, and `agents.state` derives the run's state from it.

The names are those of the wire contract where it has one. An event may hold more than any frame shows. Fields are only
ever added, with a default: a log that was written once is read for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import msgspec

Json = Any  # any value of JSON; msgspec checks it on the way out


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one step. `estimated` is true when the model server did not count them."""

    prompt_tokens: int
    completion_tokens: int
    estimated: bool = False


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call as the model wrote it: `arguments` is text that need not be JSON. `id` is ours, unique in the run."""

    id: str
    name: str
    arguments: str


class Source(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A passage that an answer rests on."""

    id: str
    title: str
    text: str
    chunk_source: str
    score: float | None = None


class Image(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="image"):
    """A picture beside a tool's result; `url` is a data URL, which names its type."""

    url: str
    title: str = ""


class Link(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="link"):
    """An address beside a tool's result."""

    url: str
    title: str = ""


class Table(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind", tag="table"):
    """Rows beside a tool's result, each with a text for each column of `head`."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


Part = Image | Link | Table


class Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag=True):
    """One thing that happened in a run.

    `commit_first`: the loop's next act has an effect outside, so the event has to be on disk first.
    `ends`: one of the three endings; nothing follows it.
    """

    commit_first: ClassVar[bool] = False
    ends: ClassVar[bool] = False


class ClientTool(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tool that the client runs itself; `parameters` is a JSON schema of type object."""

    name: str
    description: str = ""
    parameters: dict[str, Json] = {}


class Terms(msgspec.Struct, frozen=True, omit_defaults=True):
    """The wishes of the request that began a run, which hold for this run alone.

    `instructions` stand behind the workspace's prompt; `temperature` and `max_tokens` stand for the workspace's. A call
    of one of the `tools` is handed to the client. `calls` false: the model may call none. `approvals` false: nobody can
    be asked over the request's protocol, so that a tool that needs a yes is refused; `page` is the address where a
    person can allow it. `echo` holds fields that the protocol's answers repeat; only its dialect looks into it.
    """

    instructions: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    tools: tuple[ClientTool, ...] = ()
    calls: bool = True
    approvals: bool = False
    page: str = ""
    echo: dict[str, Json] = {}


class RunStarted(Event, frozen=True):
    """The first event of every run. `model` is None while no model could be found; `language` is a BCP 47 tag.

    `name` is the thread's when the run started, None for a thread without a name. `terms` is None where the request had
    a message alone.
    """

    run_id: str
    message_id: str
    workspace: str
    thread: str
    name: str | None
    model: str | None
    language: str = "en"
    continues: str | None = None
    terms: Terms | None = None


class ThreadRenamed(Event, frozen=True):
    """The thread had no name and takes the prompt's first words."""

    thread: str
    name: str


class StepStarted(Event, frozen=True):
    """The model is about to be asked for the `step`th time, counting from 1."""

    commit_first: ClassVar[bool] = True
    step: int


class Status(Event, frozen=True):
    """The agent's present work: `text` in the language of the run, `code` and `params` for a client that translates."""

    text: str
    code: str
    params: dict[str, Json] = {}


class ReasoningChunk(Event, frozen=True, gc=False):
    """Thinking tokens. They are no part of the answer."""

    text: str


class TextChunk(Event, frozen=True, gc=False):
    """A piece of the answer."""

    text: str


class StepFinished(Event, frozen=True):
    """The model's turn is whole.

    `calls` are the tool calls that it wants run, in its order. `extra` holds the provider's own fields of the turn that
    it wants back with the history (signatures of its reasoning, for instance); that provider alone looks into it.
    """

    step: int
    finish_reason: str
    usage: Usage
    calls: tuple[ToolCall, ...] = ()
    extra: dict[str, Json] = {}


class ToolCallInvocation(Event, frozen=True):
    """A tool is about to run with these arguments, which fit its schema."""

    commit_first: ClassVar[bool] = True
    call_id: str
    name: str
    arguments: dict[str, Json]


class ToolProgress(Event, frozen=True):
    """How far a tool is that is at work: `text` on one line for a person, `share` from 0 to 1 where it is known."""

    call_id: str
    name: str
    text: str
    share: float | None = None


class ToolCallResult(Event, frozen=True):
    """The result of a call, as text for the model. A call that never started has this event and no invocation.

    `sources` are the texts that it rests on, `parts` more for a person to see; neither goes to the model.
    """

    call_id: str
    name: str
    content: str
    is_error: bool = False
    seconds: float = 0.0
    sources: tuple[Source, ...] = ()
    parts: tuple[Part, ...] = ()


class ToolApprovalRequest(Event, frozen=True):
    """A tool needs a person's yes for exactly these arguments."""

    request_id: str
    call_id: str
    name: str
    arguments: dict[str, Json]
    description: str


class ClarificationRequest(Event, frozen=True):
    """The agent asks; `questions` are of the contract's kinds."""

    request_id: str
    call_id: str
    questions: tuple[dict[str, Json], ...]
    allow_skip: bool = True


class ClientCall(Event, frozen=True):
    """A call of a tool that the client runs; `arguments` is text as the model wrote it, which need not be JSON."""

    request_id: str
    call_id: str
    name: str
    arguments: str


class InputReceived(Event, frozen=True):
    """A request was answered: `approved` for an approval, `answers` for questions, `output` for a call that the client
    ran; the others are None.

    `arguments` are those to run with where a person edited them.
    """

    request_id: str
    summary: str
    approved: bool | None = None
    answers: tuple[dict[str, Json], ...] | None = None
    arguments: dict[str, Json] | None = None
    always: bool = False
    output: str | None = None


class Steered(Event, frozen=True):
    """A message that joined the run; the model reads it before it is asked next."""

    message: str


class StepRestarted(Event, frozen=True):
    """The process died in this step and it runs again; text and reasoning after the event `after` are void."""

    commit_first: ClassVar[bool] = True
    step: int
    after: int


class StepRetold(Event, frozen=True):
    """The step's text and thinking after the event `after` are void, and said anew in the events that follow.

    They were told apart wrongly: of `kind` "thinking" the text was thinking, of "text" the other way round.
    """

    step: int
    after: int
    kind: Literal["thinking", "text"]


class HistorySummarized(Event, frozen=True):
    """The oldest turns no longer fit, and `text` stands for all of the branch up to the message `upto` from now on.

    The model wrote it within the step. '' where it could not: those turns are left out of this run.
    """

    upto: str
    text: str
    usage: Usage


class TextClosed(Event, frozen=True):
    """The answer's text is whole, and these are its sources."""

    sources: tuple[Source, ...] = ()


class Metrics(msgspec.Struct, frozen=True):
    """The cost of an answer: tokens summed over the steps, `ttft` and `duration` in seconds, waiting for a person left
    out.

    `ttft` is None when nothing was said. `output_tps` counts completion tokens against the seconds in which they came.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    output_tps: float
    ttft: float | None
    duration: float
    model: str | None
    estimated: bool = False


# Finish reasons of answers that lack something.
CUT = "length"  # the model could not end it: it reached its limit of tokens
FILTERED = "content_filter"  # the model's provider held the rest of it back, or all
SILENT = "no_text"  # ours: the model ended its last turn without a word of text, though it may have thought
LACKING = frozenset({CUT, FILTERED, SILENT})


class RunCompleted(Event, frozen=True):
    """The answer is there, whole, or without the part that a `finish_reason` of `LACKING` tells of."""

    ends: ClassVar[bool] = True
    reason: ClassVar[str] = "completed"
    finish_reason: str
    metrics: Metrics
    sources: tuple[Source, ...] = ()


class RunStopped(Event, frozen=True):
    """A person stopped it. `upstream_closed_ms` is None when no connection to a model server was open."""

    ends: ClassVar[bool] = True
    reason: ClassVar[str] = "stopped"
    upstream_closed_ms: int | None = None


class RunFailed(Event, frozen=True):
    """It could not finish: `message` says why, `reason` whether by a fault or because the server went away."""

    ends: ClassVar[bool] = True
    code: str
    message: str
    reason: Literal["failed", "interrupted"] = "failed"


AnyEvent = (
    RunStarted
    | ThreadRenamed
    | StepStarted
    | Status
    | ReasoningChunk
    | TextChunk
    | StepFinished
    | ToolCallInvocation
    | ToolProgress
    | ToolCallResult
    | ToolApprovalRequest
    | ClarificationRequest
    | ClientCall
    | InputReceived
    | Steered
    | StepRestarted
    | StepRetold
    | HistorySummarized
    | TextClosed
    | RunCompleted
    | RunStopped
    | RunFailed
)
Ending = RunCompleted | RunStopped | RunFailed


class Entry(msgspec.Struct, frozen=True, gc=False):
    """An event at its place in a run's log: `seq` counts from 1 without gaps, `at` is in Unix seconds.

    The collector passes over it: there may be 100,000 in memory, and none can be part of a cycle.
    """

    seq: int
    at: float
    event: AnyEvent


_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


encode: Callable[[Event], bytes] = msgspec.json.Encoder().encode
"""Returns the event as one line of JSON, the form in which it is kept."""


def decode(body: bytes) -> AnyEvent:
    """Read a line of `encode`, of this version of the program or an earlier one. Raises `msgspec.DecodeError`."""
    return _decoder.decode(body)
