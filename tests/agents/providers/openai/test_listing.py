"""The default model: from each server's own list, none that cannot chat, and on OpenAI's own address a named one."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_server import status
from openai_rig import Rig

from deechat.agents.providers.openai import listing
from deechat.agents.providers.openai.listing import Row, can_chat, default_of, rows_in
from deechat.agents.providers.openai.profiles import FIRST_CHOICES

LISTS = {file.stem: json.loads(file.read_text()) for file in sorted((Path(__file__).parent / "lists").iterdir())}
every_list = pytest.mark.parametrize("server", LISTS)


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig() as rig:
        yield rig


def body(answer: Any) -> bytes:
    return json.dumps(answer).encode()


@every_list
def test_the_default_of_a_servers_list_is_one_that_chats(rig: Rig, server: str) -> None:
    rig.server.models = status(200, LISTS[server]["answer"])
    assert rig.provider.default_model() == LISTS[server]["default"]
    rig.server.script("Hello")
    rig.ask()
    assert rig.server.asked[0]["model"] == LISTS[server]["default"]


@every_list
def test_a_list_is_given_whole_and_in_its_order(server: str) -> None:
    answer = LISTS[server]["answer"]
    rows = answer if isinstance(answer, list) else answer.get("data") or answer["models"]
    assert [row.name for row in rows_in(body(answer))] == [row.get("id") or row["name"] for row in rows]


@every_list
def test_all_before_the_default_is_passed_over_also_when_nothing_else_is_there(server: str) -> None:
    rows = rows_in(body(LISTS[server]["answer"]))
    before = rows[: [row.name for row in rows].index(LISTS[server]["default"])]
    rest = [row for row in before if not row.can_chat or row.name in {"m4-mini", "meta-llama/Llama-2-70b-hf"}]
    assert rest == before, "a base model and one of which nothing is said are passed over for one that is known"
    assert default_of([row for row in before if not row.can_chat], "127.0.0.1") is None


def test_on_openais_own_address_the_default_has_a_name() -> None:
    rows = rows_in(body(LISTS["openai"]["answer"]))
    assert default_of(rows, "api.openai.com") == "gpt-6-luna"
    assert default_of(rows, "models.example") == "gpt-4-0613"


def test_a_named_default_that_is_not_listed_is_no_default() -> None:
    (host,) = FIRST_CHOICES
    assert default_of([Row("dall-e-3"), Row("gpt-9"), Row("gpt-8")], host) == "gpt-9"
    assert default_of([Row("gpt-9"), Row(FIRST_CHOICES[host][-1])], host) == FIRST_CHOICES[host][-1]


# Names without any word of the server about them. Such were asked: odysseus-dev/odysseus#4487, ollama/ollama#2778,
# sugarforever/chat-ollama#67 (Ollama's embeddings), SanjeevKGupta/inference-gateway (Groq's guards and speech).
NO_CHAT = """
nomic-embed-text:latest mxbai-embed-large snowflake-arctic-embed2 all-minilm:33m bge-m3 granite-embedding
qwen3-embedding:0.6b embeddinggemma paraphrase-multilingual multilingual-e5-large gte-large text-similarity-ada-001
davinci-002 babbage-002 text-davinci-003 gpt-3.5-turbo-instruct granite-3.3-8b-base codex-mini-latest
playai-tts-arabic melotts-1 canopylabs/orpheus-v1-english whisper-large-v3-turbo gpt-4o-mini-transcribe
qwen3-asr-flash FunAudioLLM/CosyVoice2-0.5B gemini-2.5-flash-native-audio-latest gemini-live-2.5-flash llama-guard3
meta-llama/Llama-Guard-4-12B LlamaGuard-2-8b Qwen3Guard-Gen-8B gpt-oss-safeguard-20b shieldgemma:2b
llama-prompt-guard-2-86m omni-moderation-latest nemotron-content-safety-8b gpt-image-1.5 dall-e-2
imagen-4.0-generate-001 black-forest-labs/FLUX.1-schnell-Free flux2-klein sdxl-turbo sd-3.5-large
stable-diffusion-xl-base-1.0 gemini-2.5-flash-image grok-2-image-1212 Qwen/Qwen-Image sora-2-pro
veo-3.1-generate-preview Wan-AI/Wan2.2-T2V-A14B mistral-ocr-latest jina-reranker-v2
Salesforce/Llama-Rank-V1-reranker nemotron-4-340b-reward
"""
CHAT = """
gpt-4o gpt-5.4-mini gpt-6-luna chatgpt-4o-latest o4-mini claude-sonnet-4-5 gemini-2.5-pro gemma3:4b llama3.2:3b
meta-llama/Llama-3.2-11B-Vision-Instruct-Turbo qwen2.5vl:7b qwen3-coder:30b deepseek-r1:8b kimi-k2-instruct
mixtral-8x7b mistral-small3.2 phi4-mini command-r7b granite3.3:8b smollm2:135m openai/gpt-oss-120b groq/compound
vanguard-7b liveliness-7b codestral-latest devstral glm-4.6 MiniMax-M2 olmo2 hermes3 baseten-chat cogito:8b
"""


@pytest.mark.parametrize("name", NO_CHAT.split())
def test_a_name_of_something_else_is_told(name: str) -> None:
    assert not can_chat(name)


@pytest.mark.parametrize("name", CHAT.split())
def test_a_name_of_a_chat_model_is_none_of_them(name: str) -> None:
    assert can_chat(name)


@pytest.mark.parametrize(
    ("row", "chats"),
    [
        ({"type": "model"}, None),
        ({"type": None, "capabilities": None, "architecture": 3}, None),
        ({"type": "chat", "capabilities": ["image-input", "audio"]}, True),
        ({"capabilities": ["completion", "vision", "tools"]}, None),
        ({"capabilities": ["embedding"]}, False),
        ({"capabilities": {"vision": True, "audio": True, "reasoning": True}}, None),
        ({"capabilities": {"type": "chat", "supports": {"vision": True}}}, True),
        ({"capabilities": {"completion_chat": False, "completion_fim": True}}, False),
        ({"architecture": {"modality": "text+image->text"}}, None),
        ({"architecture": {"modality": "text->image"}}, False),
        ({"architecture": {"modality": "text->embedding"}}, False),
        ({"architecture": {"output_modalities": ["text", "image"]}}, None),
        ({"task": {"name": "Text Generation"}}, None),
        ({"task": "chat-completion"}, True),
        ({"pipeline_tag": "image-text-to-text"}, None),
        ({"mode": "image_generation"}, False),
        ({"supported_endpoints": ["/v1/responses", "/v1/chat/completions"]}, True),
        ({"supported_endpoint_types": []}, None),
        ({"type": "chat", "active": False}, False),
        ({"active": True}, None),
        ({"supports_chat": True, "kind": "HF_BASE_MODEL"}, True),
        ({"supports_chat": False}, False),
        ({"supports_chat": True, "active": False}, False),
    ],
)
def test_what_a_row_says_of_its_model_is_read(row: dict[str, Any], chats: bool | None) -> None:
    assert [(row.name, row.chats) for row in rows_in(body([{"id": "a", **row}]))] == [("a", chats)]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [{"id": "a"}, {"id": "b"}]},
        [{"id": "a"}, {"id": "b"}],
        ["a", "b"],
        {"models": ["a", "b"]},
        {"models": [{"name": "a"}, {"name": "b"}]},
        {"models": [{"model": "a"}, {"key": "b", "type": "llm"}]},
        {"data": None, "models": [{"id": "a"}, {"id": "b"}]},
        {"success": True, "data": [{"id": "a", "name": "A"}, {}, None, 3, {"id": ""}, {"id": "x" * 201}, {"id": "b"}]},
    ],
)
def test_a_list_may_have_each_habit(answer: Any) -> None:
    assert [row.name for row in rows_in(body(answer))] == ["a", "b"]


@pytest.mark.parametrize("answer", [{"error": "no"}, {"data": 3}, {"models": {}}, 3, "a", None, {}])
def test_what_is_no_list_is_none(answer: Any) -> None:
    with pytest.raises(ValueError, match="no list"):
        rows_in(body(answer))


# -- lists that others may write ---------------------------------------------------------------------------------------


def names_of(raw: bytes) -> list[str]:
    return [row.name for row in rows_in(raw)]


ODD = [rb"\ud800", b"1e999", b"9" * 5000, b"-" + b"9" * 5000, b"NaN", b"\xff"]


@pytest.mark.parametrize("odd", ODD, ids=[str(each[:9]) for each in ODD])
@pytest.mark.parametrize("field", [b"id", b"note"])
def test_one_odd_row_refuses_no_list(odd: bytes, field: bytes) -> None:
    value = b'"x%b"' % odd if odd in {rb"\ud800", b"\xff"} else odd
    answer = b'{"data": [{"id": "a"}, {"name": 7, "%b": %b}, {"id": "b"}]}' % (field, value)
    assert [name for name in names_of(answer) if "\ufffd" not in name] == ["a", "b"]
    for name in names_of(answer):
        name.encode()


@pytest.mark.parametrize("junk", [b"", b"<html>", b'{"data": [{"id": "a"', b"\x00\xff" * 9])
def test_what_is_no_json_is_no_list_however_leniently_it_is_read(junk: bytes) -> None:
    with pytest.raises(ValueError, match="column"):
        rows_in(junk)


def repeats(pattern: re.Pattern[str]) -> list[int]:
    """How often each part of a pattern that repeats may do so."""

    def found(part: Any) -> Iterator[int]:
        if isinstance(part, tuple) and len(part) == 2 and str(part[0]).endswith("_REPEAT"):
            yield int(part[1][1])
        if not isinstance(part, (str, int)) and part is not None:
            for each in part:
                yield from found(each)

    return list(found(importlib.import_module("re._parser").parse(pattern.pattern)))


def test_no_part_of_a_pattern_for_names_repeats() -> None:
    """So at each place of a name a search takes so many steps as the pattern has letters, whatever stands there."""
    assert max(repeats(re.compile(r"a|(\w*b){2}"))) > 1000, "a repeat would be seen"
    assert {most for pattern in [*listing._NO_CHAT, listing._OTHER, listing._CHATS] for most in repeats(pattern)} <= {1}


def test_of_a_name_no_more_is_read_than_a_name_may_have() -> None:
    assert not can_chat("x" * 180 + "-embed")
    assert can_chat("x" * 200 + "-embed")


def test_of_a_long_list_the_beginning_is_read() -> None:
    assert len(rows_in(body([{"id": f"m{number}"} for number in range(20_000)]))) == listing.MOST_ROWS


@pytest.mark.parametrize(
    "value",
    [
        ["x"] * 100_000,
        [["x"] * 100] * 1000,
        "x" * 1_000_000,
        {"type": ["x"] * 100_000},
        json.loads("[" * 500 + '"chat"' + "]" * 500),
    ],
    ids=["words", "lists", "a word", "an object", "depth"],
)
def test_what_a_row_says_is_read_in_few_calls(value: Any) -> None:
    calls = 0

    def note(_frame: Any, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    raw = body([{"id": "a", "type": value}])
    sys.setprofile(note)
    try:
        assert [row.chats for row in rows_in(raw)] == [None]
    finally:
        sys.setprofile(None)
    assert calls < 5000, calls
    assert all(len(word) <= listing.LONGEST_WORD for word in listing._words(value))
