"""Lists of models: reading a server's, and choosing from it when nobody chose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from deechat.agents.providers.openai.profiles import FIRST_CHOICES
from deechat.agents.providers.openai.speech import mend

MAX_LISTING = 8_000_000
LONGEST_NAME = 200  # as many characters as a workspace's model may have

# Names of models that answer no chat, by what they are for.
_EMBEDDING = (
    r"\w*embed\w*|bge|gte|e5|uae|\w*minilm|mxbai|arctic|paraphrase|retrieval|similarity|colbert|splade|ada-00\d"
)
_RANKING = r"\w*rerank\w*|cross-encoder|\w*retriever\w*|reward|nli|gecko|aqa"
_SPEECH = r"\w*tts|\w*whisper\w*|transcribe|audio|\w*voice\w*|realtime|live|\w*speech\w*|\w*asr|orpheus|sonic|kokoro"
_IMAGES = r"dall-?e|\w*images?|imagen|flux\w*|sdxl\w*|sd-?\d\S*|stable-diffusion\S*|seedream|seededit|ideogram|recraft"
_PICTURES = (
    r"hidream|midjourney|nano-banana|clip|siglip|ocr|sora|veo|kling|seedance|hailuo|vidu|pixverse|wan-?\d\S*|\w*video"
)
_MUSIC_AND_VIEWS = r"bark|parakeet|lyria|imagine|cogview|cogvideo\w*|kolors|\w*inpaint\w*|upscale\w*|robotics"
_GUARDS = r"\w*moderation\w*|(?!van)\w*guard\w*|shield\w*|safety"
_OTHER_WAYS = r"davinci|babbage|curie|gpt-3\.5-turbo-instruct|base|fim|codex|deep-research|computer-use|translate"
_NO_CHAT = re.compile(
    rf"(?<![a-z])({_EMBEDDING}|{_RANKING}|{_SPEECH}|{_IMAGES}|{_PICTURES}|{_MUSIC_AND_VIEWS}|{_GUARDS}|{_OTHER_WAYS})(?![a-z])",
    re.IGNORECASE,
)

# Where a row says what its model is for, and how it says it.
_FIELDS = (
    *("type", "task", "kind", "mode", "model_type", "pipeline_tag", "capabilities", "architecture", "endpoints"),
    *("supported_endpoints", "supported_endpoint_types", "supported_output_modalities", "output_modalities"),
)
_CHATS = re.compile(r"\bchat\b|conversation|^openai$")
_OTHER = re.compile(
    r"^(?!.*text to text).*(embed|rerank|score|moderation|guard|image|video|audio|speech|transcri|tts|asr|ocr|translat"
    r"|classif|inpaint|upscal|music|fim|^not )"
)
_NAMES = ("id", "name", "model", "key")


class Row(NamedTuple):
    """A model of a list. `chats`: whether the server says that it chats; None where it says nothing of that.

    `fields` are all that its row holds.
    """

    name: str
    chats: bool | None = None
    fields: Mapping[str, Any] = {}

    @property
    def can_chat(self) -> bool:
        """Whether it may be asked, as far as can be known: by what the server says, else by its name."""
        return can_chat(self.name) if self.chats is None else self.chats


def can_chat(name: str) -> bool:
    """Says whether a model's name is none of an embedding, speech, image, video, moderation, ... model."""
    return _NO_CHAT.search(name) is None


# In this order a model is looked for when nobody chose: where some rows say that they chat, others may be base models.
_LIKELY: tuple[Callable[[Row], bool | None], ...] = (
    lambda row: row.chats and can_chat(row.name),
    lambda row: row.chats is None and can_chat(row.name),
    lambda row: row.chats,
)


def default_of(rows: Sequence[Row], host: str) -> str | None:
    """Names the model of a server at this host to ask when nobody chose one; None when none can chat."""
    listed = {row.name for row in rows}
    named = [name for name in FIRST_CHOICES.get(host, ()) if name in listed]
    likely = (row.name for fits in _LIKELY for row in rows if fits(row))
    return named[0] if named else next(likely, None)


def rows_in(body: bytes) -> list[Row]:
    """Gives the rows in the answer to `GET /models`, in its order.

    Raises `ValueError` or `RecursionError` when it is no such answer.
    """
    answer: Any = msgspec.json.decode(body)
    rows = _rows_of(answer) if isinstance(answer, dict) else answer
    if not isinstance(rows, list):
        raise ValueError("it is no list of models")  # noqa: TRY004 - the value came over the wire
    return [row for row in map(_read, rows) if 0 < len(row.name) <= LONGEST_NAME]


def _rows_of(answer: dict[str, Any]) -> Any:
    rows = answer.get("data")
    if rows is None and answer.get("object") == "list":
        rows = answer.get("models") or []  # Ollama's `data` is null before a model was pulled
    return answer.get("models") or None if rows is None else rows


def _read(row: Any) -> Row:
    """Reads a row; its name is empty where it has none."""
    if isinstance(row, str):
        return Row(mend(row))
    if not isinstance(row, dict):
        return Row("")
    name = next((row[key] for key in _NAMES if isinstance(row.get(key), str)), "")
    return Row(mend(name), _chats(row), row)


def _chats(row: dict[str, Any]) -> bool | None:
    """Says whether a row is of a model that chats; None where it says nothing of that."""
    if row.get("active") is False or isinstance(row.get("supports_chat"), bool):
        return row.get("active") is not False and row["supports_chat"]
    said = {_verdict(list(_words(row[field]))) for field in _FIELDS if field in row}
    return True if True in said else False if False in said else None


def _verdict(words: list[str]) -> bool | None:
    """Says what the words of a field mean: one of chat is enough, and else all have to be of something else."""
    if any(map(_CHATS.search, words)):
        return True
    return False if words and all(map(_OTHER.search, words)) else None


def _words(value: Any) -> Iterator[str]:
    """Gives the words of a field: a word, a list of them, or an object of switches or of fields of its own."""
    match value:
        case str():
            out = value.rpartition("->")[2]  # of a modality it counts what comes out
            yield re.sub(r"[\s_/-]+", " ", out.lower()).strip()
        case list():
            for each in value:
                yield from _words(each)
        case dict():
            for key, each in value.items():
                if each is True:
                    yield from _words(key)
                elif each is False and "chat" in key:
                    yield "not it"
                elif key in {"type", "name", "modality", "output_modalities"}:
                    yield from _words(each)
