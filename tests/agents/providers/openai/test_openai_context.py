"""How much a model reads: told in rows and routes, learnt from refusals, corrected by counts."""

from __future__ import annotations

import gzip
import inspect
import json
import sys
from typing import Any

import pytest
from model_server import Answer, nap, reply, status, stream, text
from openai_rig import HELLO, Rig

from deechat.agents.providers.base import Question, Room
from deechat.agents.providers.openai import context_length
from deechat.agents.providers.openai.context_length import LOOK_AGAIN, LOOK_SECONDS, LOOK_SOON, Contexts
from deechat.agents.providers.openai.faults import Faults, Foreign, ModelFault
from deechat.agents.providers.openai.listing import Row, rows_in
from deechat.agents.providers.openai.profiles import LASTS, READS, Profile, Profiles
from deechat.agents.providers.openai.provider import OpenAIProvider


def fault(words: str, code: str = "context_length") -> ModelFault:
    return ModelFault(words, code=code, foreign=Foreign(status=400, evidence=words.lower()))


def made(*look: Any, **clock: Any) -> Contexts:
    timed = [lambda path, body, _seconds, each=each: each(path, body) for each in look]
    return Contexts(Profile(Profiles(), "http://m"), *timed, **clock)


def listing(*rows: Any) -> list[Row]:
    return rows_in(json.dumps({"object": "list", "data": rows}).encode())


# What servers say, the model's length in it, and what was sent where they tell that.
WORDS = [
    ("This model's maximum context length is 4097 tokens. However, your messages resulted in 4619 tokens.", 4097, 4619),
    (
        "maximum context length is 16384 tokens. However, you requested 122946 tokens (112946 in the messages, 10000",
        16384,
        112946,
    ),
    (
        "maximum context length is 8191 tokens, however you requested 8238 tokens (8238 in your prompt; 0 for",
        8191,
        8238,
    ),
    ("This model's maximum context length is 8192 tokens and your request has 9000 input tokens", 8192, 9000),
    ("This endpoint's maximum context length is 131072 tokens. However, you requested about 140000", 131072, 140000),
    ('{"type": "exceed_context_size_error", "n_prompt_tokens": 1407, "n_ctx": 1256}', 1256, 1407),
    ("Requested tokens (2285) exceed context window of 2048", 2048, 2285),
    ("loaded with context length of only 32768 tokens, which. Trying to keep the first 111490 tokens", 32768, 111490),
    ("greater than the context length (n_keep: 10247 >= n_ctx: 4096)", 4096, 10247),
    ("prompt is too long: 208310 tokens > 200000 maximum", 200000, 208310),
    ("input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease", 200000, 178959),
    ("on tokens per minute (TPM): Limit 6000, Requested 14368, please reduce your message size", 6000, 14368),
    ("The input token count (317740) exceeds the maximum number of tokens allowed (131072).", 131072, 317740),
    ("Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context", 32768, 40000),
    ("maximum prompt length is 131,072 but the request contains 537,812 tokens.", 131072, 537812),
    ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", 4096, 5000),
    ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and 512", 4096, 5000),
]


@pytest.mark.parametrize(("words", "length", "sent"), WORDS, ids=[words[:40] for words, _, _ in WORDS])
def test_the_length_and_what_was_sent_are_found_in_the_words(words: str, length: int, sent: int) -> None:
    contexts = made()
    estimated = sent * 2 // 3
    contexts.learn("m", fault(words), estimated)
    room = contexts.room("m")
    assert room.length == length
    assert room.ratio == pytest.approx(1.5, rel=0.01)


def test_words_without_a_number_mean_half_of_what_was_sent() -> None:
    contexts = made()
    contexts.learn("m", fault("the request exceeds the available context size, try increasing it"), 9000)
    assert contexts.room("m").length == 4500
    contexts.learn("m", fault("too long"), 100)
    assert contexts.room("m").length == 512


def test_a_length_alone_says_that_ours_was_an_underestimate() -> None:
    contexts = made()
    contexts.learn("m", fault("maximum context length is 4096"), 3000)
    assert contexts.room("m") == Room(4096, 4096 / 3000, remedy="its settings")


def test_what_was_learnt_stands_in_the_profile_and_is_forgotten_there() -> None:
    profiles = Profiles()
    contexts = Contexts(Profile(profiles, "http://m"))
    contexts.learn("m", fault("maximum context length is 4096"), 5000)
    (habit,) = profiles.shown("m")
    assert (habit.code, habit.params) == (READS, {"tokens": 4096})
    profiles.forget(READS, "m")
    assert contexts.room("m").length is None


def test_what_was_learnt_is_tried_again_after_an_hour() -> None:
    now = [0.0]
    contexts = Contexts(Profile(Profiles(lambda: now[0]), "http://m"))
    contexts.take_listing(listing({"id": "m", "context_length": 8192}))
    contexts.learn("m", fault("maximum context length is 4096"), 5000)
    assert contexts.room("m").length == 4096
    now[0] = LASTS + 1
    assert contexts.room("m").length == 8192


def test_a_guess_is_looked_up_again_soon_and_what_is_loaded_is_not() -> None:
    now, loaded = [0.0], []
    asked = []

    def look(path: str, _body: Any) -> Any:
        asked.append(path)
        return {"models": loaded} if path == "/api/ps" else {"model_info": {"llama.context_length": 131072}}

    contexts = made(look, clock=lambda: now[0])
    assert contexts.room("m") == contexts.room("m") == Room(4096, 1.0, 131072, "OLLAMA_CONTEXT_LENGTH")
    assert asked == ["/api/ps", "/api/show"]
    loaded.append({"name": "m:latest", "context_length": 32768})
    now[0] = LOOK_SOON + 1
    assert contexts.room("m").length == 32768
    now[0] += LOOK_SOON + 1
    assert contexts.room("m").length == 32768
    assert len(asked) == 4


def test_another_fault_teaches_nothing_of_lengths() -> None:
    contexts = made()
    contexts.learn("m", fault("maximum context length is 4096", "model_error"), 3000)
    assert contexts.room("m").length is None


@pytest.mark.parametrize(
    ("row", "length"),
    [
        ({"context_length": 4096}, 4096),
        ({"context_length": 131072, "top_provider": {"context_length": 8192}}, 8192),
        ({"top_provider": {"context_length": 8192}}, 8192),
        ({"max_model_len": 4096.0}, 4096),
        ({"context_window": "4096"}, 4096),
        ({"max_context_length": 131072, "loaded_context_length": 4096}, 4096),
        ({"meta": {"n_ctx": 4096, "n_ctx_train": 131072}}, 4096),
        ({"meta": {"n_ctx_train": 131072}}, None),
        *(({"context_length": odd}, None) for odd in (0, -1, 8, True, None, "many", [4096], {"a": 1}, 1e20, "9" * 400)),
        ({"meta": None, "top_provider": []}, None),
    ],
)
def test_a_row_tells_a_length_or_nothing(row: dict[str, Any], length: int | None) -> None:
    contexts = made()
    contexts.take_listing(listing({"id": "m", **row}, "no row", {"id": 7}, None))
    assert contexts.room("m").length == length


@pytest.mark.parametrize("key", ["id", "name", "model", "key"])
def test_a_row_tells_its_length_under_each_name_that_it_is_listed_by(key: str) -> None:
    contexts = made()
    contexts.take_listing(listing({key: "m", "context_length": 4096}))
    assert contexts.room("m").length == 4096


def test_what_no_list_tells_is_looked_up_and_again_after_a_while() -> None:
    now, asked = [0.0], []

    def look(path: str, _body: Any) -> Any:
        asked.append(path)
        return {"default_generation_settings": {"n_ctx": 8192 if now[0] < 1 else 4096}} if path == "/props" else None

    contexts = made(look, clock=lambda: now[0])
    assert contexts.room("m").length == contexts.room("m").length == 8192
    assert asked == ["/api/ps", "/props"]
    now[0] = LOOK_AGAIN + 1
    assert contexts.room("m").length == 4096


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "x",
        7,
        {},
        {"models": 3},
        {"models": [None]},
        {"data": {"m": 1}},
        {"models": [{"name": ["m"]}, {"name": "m", "context_length": {}}], "model_info": [1], "parameters": 7},
        {"data": [{"id": {}}, {"id": "m", "loaded_context_length": "x"}], "default_generation_settings": []},
    ],
)
def test_routes_that_answer_anything_tell_nothing_that_hurts(answer: Any) -> None:
    contexts = made(lambda _path, _body: answer)
    assert contexts.room("m").length in {None, 4096}


def test_what_the_server_counts_corrects_the_estimate() -> None:
    contexts = made()
    contexts.count("m", 100, 400)
    assert contexts.room("m").ratio == 1.0, "a short question says little"
    contexts.count("m", 1000, 1800)
    assert contexts.room("m").ratio == 1.8
    assert contexts.room("n").ratio == 1.0
    contexts.count("m", 1000, 40)
    contexts.count("m", 1000, 90_000)
    assert contexts.room("m").ratio == 1.8, "such a count is none"


@pytest.mark.parametrize(
    ("counted", "length"),
    [(2048, 2048), (4095, 4096), (2050, 4096), (1026, 2048), (40, None), (1500, None), (3000, None)],
)
def test_a_server_that_leaves_out_what_does_not_fit_shows_its_length(counted: int, length: int | None) -> None:
    contexts = made()
    contexts.count("m", 12_000, counted)
    assert contexts.room("m").length == length


# -- what others may write ---------------------------------------------------------------------------------------------


def test_all_looks_together_have_one_time() -> None:
    now, given = [0.0], []

    def look(_path: str, _body: Any, seconds: float) -> None:
        given.append(seconds)
        now[0] += 0.75 * LOOK_SECONDS

    assert Contexts(Profile(Profiles(), "http://m"), look, lambda: now[0]).room("m").length is None
    assert given == [LOOK_SECONDS, LOOK_SECONDS / 4], "the third has none left"


@pytest.mark.parametrize("blank", ["\n", "\r\n", " ", "\t", "num_ctx ", "\nnum_ctx", "\n num_ctx \n", "9", "\x85"])
def test_a_model_s_parameters_are_read_in_few_calls_and_not_to_any_end(blank: str) -> None:
    def looked(parameters: str) -> int | None:
        answers = {"/api/ps": {"models": []}, "/api/show": {"parameters": parameters}}
        return made(lambda path, _body: answers.get(path)).room("m").length

    long = blank * (context_length.MAX_PARAMETERS // len(blank) + 1)
    counts = {"call": 0, "c_call": 0}
    sys.setprofile(lambda _frame, event, _argument: counts.update({event: counts.get(event, 0) + 1}))
    try:
        assert looked(f"{long}\nnum_ctx 8192") == 4096, "it is behind what is read"
    finally:
        sys.setprofile(None)
    assert counts["call"] + counts["c_call"] < 3 * context_length.MAX_PARAMETERS + 1000
    assert looked(f"stop  x\nnum_ctx{' ' * 23} 8192\n{long}") == 8192


def test_the_length_in_a_model_s_parameters_is_found_without_a_pattern() -> None:
    """A pattern over lines that begins with blanks tries each line's blanks from each line on."""
    assert " re." not in inspect.getsource(context_length._num_ctx) + inspect.getsource(context_length._ollama)


def test_what_a_new_list_no_longer_has_is_not_kept() -> None:
    contexts = made()
    for number in range(20):
        contexts.take_listing(listing(*[{"id": f"m{number}-{each}", "context_length": 8192} for each in range(1000)]))
    assert len(contexts._listed) == 1000
    assert contexts.room("m0-0").length is None
    assert contexts.room("m19-0").length == 8192


def test_what_is_kept_of_models_has_an_end() -> None:
    contexts = made(lambda _path, _body: None)
    most = context_length.MOST_MODELS
    contexts.take_listing(listing(*[{"id": f"m{number}"} for number in range(2 * most)]))
    for number in range(most + 100):
        contexts.room(f"x{number}")
        contexts.wants_listing(f"x{number}")
        contexts.count(f"x{number}", 1000, 1500)
    assert {len(contexts._listed), len(contexts._looked), len(contexts._wanted), len(contexts._ratios)} == {most}


def test_a_look_that_drips_or_does_not_end_is_given_up() -> None:
    with Rig() as rig:
        client = rig.provider._client()
        for body in ([b" ", nap(0.05)] * 1000, [b"1" * 65_536] * 200):
            rig.server.routes = {"/props": stream(*body)}
            assert client.look("/props", None, 0.5) is None
            assert rig.server.wait_closed(), "it was listened to until its end"
        rig.server.routes = {"/props": stream(b'{"a"', nap(0.01), b": 1}")}
        assert client.look("/props", None, 5) == {"a": 1}


def test_a_look_s_answer_is_not_unpacked() -> None:
    with Rig() as rig:
        rig.server.routes = {"/props": Answer([gzip.compress(b"{}")], 200, {"content-encoding": "gzip"})}
        assert rig.provider._client().look("/props", None, 5) is None
        assert rig.server.requests[-1].headers["accept-encoding"] == "identity"


# -- the provider ------------------------------------------------------------------------------------------------------


def test_a_provider_tells_the_room_of_its_model_and_keeps_it() -> None:
    with Rig() as rig:
        rig.server.rows = {"fake-1": {"max_model_len": 4096}}
        provider = rig.provider
        assert provider.room(None).length == provider.room("fake-1").length == 4096
        assert len(rig.server.requests) <= 2
        assert provider.room("unknown").length is None


def test_a_server_that_lists_nothing_has_no_length_and_no_error() -> None:
    with Rig() as rig:
        rig.server.models = status(500, "no")
        assert rig.make(model="m").room(None).length is None
        rig.server.routes = {"/props": {"default_generation_settings": {"n_ctx": 4096}}}
        assert rig.make(model="m").room("m").length == 4096


def test_the_count_of_an_answer_reaches_the_room() -> None:
    with Rig() as rig:
        rig.server.script(reply(text("Hi"), tokens=(1500, 1)))
        provider = rig.make(model="fake-1")
        rig.ask(Question(HELLO.messages, tokens=1000), provider)
        assert provider.room(None).ratio == 1.5


def test_openai_s_own_address_is_asked_for_no_other_route() -> None:
    assert OpenAIProvider(api_key="k")._contexts._look is None
    assert OpenAIProvider(base_url="http://127.0.0.1:1/v1")._contexts._look is not None


def test_a_limit_a_minute_that_one_request_passes_alone_is_no_rate_limit() -> None:
    faults = Faults("http://m")
    too_large = {"error": {"message": "Request too large for gpt-4o on tokens per min (TPM): Limit 3, Requested 4"}}
    assert faults.said({**too_large["error"], "code": 429}, "m").code == "context_length"
    assert faults.said({"message": "Rate limit reached", "code": 429}, "m").code == "model_rate_limited"
