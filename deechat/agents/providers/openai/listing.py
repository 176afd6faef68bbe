"""Lists of models: reading a server's, and choosing from it where no model was chosen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec

from deechat.agents.providers.openai.chunks import mend
from deechat.agents.providers.openai.profiles import FIRST_CHOICES

MAX_LISTING = 2_000_000
MOST_ROWS = 5_000  # of a list are read
LONGEST_NAME = 200  # as many characters as a workspace's model may have
MOST_WORDS, LONGEST_WORD, DEEPEST = 30, 200, 5  # of a field that tells a model's purpose
LONGEST_NUMBER = 300  # digits

# Names of models that answer no chat, by their purpose. The words stand anywhere in a name, at the end of a word,
# at its beginning, or are a word. Nothing in them repeats: a list is long, and others may write it.
_ANYWHERE = "embed|rerank|retriever|whisper|voice|speech|inpaint|moderation|guard(?<!vanguard)"
_ENDS = "minilm|tts|asr|images?|video"
_BEGINS = r"flux|sdxl|sd-?\d|stable-diffusion|wan-?\d|cogvideo|upscale|shield"
_EMBEDDING = r"bge|gte|e5|uae|mxbai|arctic|paraphrase|retrieval|similarity|colbert|splade|ada-00\d"
_RANKING = "cross-encoder|reward|nli|gecko|aqa"
_SPEECH = "transcribe|audio|realtime|live|orpheus|sonic|kokoro|bark|parakeet|lyria"
_IMAGES = "dall-?e|imagen|imagine|seedream|seededit|ideogram|recraft|hidream|midjourney|nano-banana|cogview|kolors"
_VIEWS = "clip|siglip|ocr|sora|veo|kling|seedance|hailuo|vidu|pixverse|robotics|safety"
_OTHER_WAYS = r"davinci|babbage|curie|gpt-3\.5-turbo-instruct|base|fim|codex|deep-research|computer-use|translate"
_WHOLE = f"{_EMBEDDING}|{_RANKING}|{_SPEECH}|{_IMAGES}|{_VIEWS}|{_OTHER_WAYS}"
_NO_CHAT = (
    re.compile(f"{_ANYWHERE}|(?:{_ENDS})(?![a-z])"),
    re.compile(f"(?<![a-z])(?=[a-z])(?:{_BEGINS}|(?:{_WHOLE})(?![a-z]))"),
)

# The fields that tell the purpose of a row's model, and their words.
_FIELDS = (
    *("type", "task", "kind", "mode", "model_type", "pipeline_tag", "capabilities", "architecture", "endpoints"),
    *("supported_endpoints", "supported_endpoint_types", "supported_output_modalities", "output_modalities"),
)
_CHATS = re.compile(r"\bchat\b|conversation|^openai$")
_OTHER = re.compile(
    r"embed|rerank|score|moderation|guard|image|video|audio|speech|transcri|tts|asr|ocr|translat|classif|inpaint|upscal"
    r"|music|fim|^not "
)
_NAMES = ("id", "name", "model", "key")


class Row(NamedTuple):
    """A model of a list. `chats`: whether the server says that it chats; None where it says nothing of that.

    `fields` are all fields of its row.
    """

    name: str
    chats: bool | None = None
    fields: Mapping[str, Any] = {}

    @property
    def can_chat(self) -> bool:
        """Whether it may be asked, as far as can be known: by the server's word, else by its name."""
        return can_chat(self.name) if self.chats is None else self.chats


def can_chat(name: str) -> bool:
    """Return whether a model's name is none of an embedding, speech, image, video, moderation, ... model."""
    small = name[:LONGEST_NAME].lower()
    return not any(pattern.search(small) for pattern in _NO_CHAT)


# The order in which a model is looked for where none was chosen: beside rows that say that they chat, others may be
# base models.
_LIKELY: tuple[Callable[[Row], bool | None], ...] = (
    lambda row: row.chats and can_chat(row.name),
    lambda row: row.chats is None and can_chat(row.name),
    lambda row: row.chats,
)


def default_of(rows: Sequence[Row], host: str) -> str | None:
    """Name the model of a server at this host to ask where none was chosen; None when none can chat."""
    listed = {row.name for row in rows}
    named = [name for name in FIRST_CHOICES.get(host, ()) if name in listed]
    likely = (row.name for fits in _LIKELY for row in rows if fits(row))
    return named[0] if named else next(likely, None)


def rows_in(body: bytes) -> list[Row]:
    """Return the rows in the answer to `GET /models`, in its order, without those that name no model.

    Raises `ValueError` or `RecursionError` when it is no such answer.
    """
    answer = _decoded(body)
    rows = _rows_of(answer) if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise ValueError("it is no list of models")  # noqa: TRY004 - the value came over the wire
    return [row for row in map(_read, rows[:MOST_ROWS]) if 0 < len(row.name) <= LONGEST_NAME and _is_whole(row.name)]


def _is_whole(name: str) -> bool:
    """Whether no lone surrogate is in a name: the server would not know it without."""
    return mend(name) == name


def _decoded(body: bytes) -> Any:
    """Decode JSON, also where it is not strict: with a lone surrogate, or with a number without end, which is None."""
    try:
        return msgspec.json.decode(body)
    except ValueError:
        text = body.decode("utf-8-sig", "replace")
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < LONGEST_NUMBER else None)


def _rows_of(answer: dict[str, Any]) -> Any:
    rows = answer.get("data")
    if rows is None and answer.get("object") == "list":
        rows = answer.get("models") or []  # Ollama's `data` is null before a model was pulled
    return answer.get("models") or None if rows is None else rows


def _read(row: Any) -> Row:
    """Read a row; its name is empty where it has none."""
    if isinstance(row, str):
        return Row(row)
    if not isinstance(row, dict):
        return Row("")
    name = next((row[key] for key in _NAMES if isinstance(row.get(key), str)), "")
    return Row(name, _chats(row), row)


def _chats(row: dict[str, Any]) -> bool | None:
    """Return whether a row is of a model that chats; None where it says nothing of that."""
    if row.get("active") is False or isinstance(row.get("supports_chat"), bool):
        return row.get("active") is not False and row["supports_chat"]
    said = {_verdict(list(islice(_words(row[field]), MOST_WORDS))) for field in _FIELDS if field in row}
    return True if True in said else False if False in said else None


def _verdict(words: list[str]) -> bool | None:
    """Return whether a field's words mean chat: one of chat is enough; False where all are of something else."""
    if any(map(_CHATS.search, words)):
        return True
    others = ("text to text" not in word and _OTHER.search(word) for word in words)
    return False if words and all(others) else None


def _words(value: Any, depth: int = 0) -> Iterator[str]:
    """Return the words of a field: a word, a list of them, or an object of switches or of fields of its own."""
    if depth > DEEPEST:
        return
    match value:
        case str():
            out = value[:LONGEST_WORD].rpartition("->")[2]  # of a modality the output counts
            yield re.sub(r"[\s_/-]+", " ", out.lower()).strip()
        case list():
            for each in value[:MOST_WORDS]:
                yield from _words(each, depth + 1)
        case dict():
            for key, each in value.items():
                if each is True:
                    yield from _words(key, depth + 1)
                elif each is False and "chat" in key:
                    yield "not it"
                elif key in {"type", "name", "modality", "output_modalities"}:
                    yield from _words(each, depth + 1)
