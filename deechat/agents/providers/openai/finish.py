"""The word with which a server ends an answer, and what it means here."""

from __future__ import annotations

import re
from typing import Any

from deechat.events import CUT, FILTERED

FAULT = "error"
CUT_SHORT = frozenset({CUT, FILTERED})  # more was to come; with these an answer of no words at all is explained
_WORD = re.compile("[a-z_]{1,40}")
_FAILS = re.compile("error|fail|exception|abort|overload|crash")  # in a word that the table does not know

# Several servers' words for one thing. What stands here for "" is said while the answer still goes on.
_MEANINGS = {
    **{word: word for word in ("stop", "tool_calls", "function_call", CUT, FILTERED, FAULT)},
    **dict.fromkeys(("null", "none", "finish_reason_unspecified"), ""),
    **dict.fromkeys(
        (
            "max_tokens",
            "max_output_tokens",
            "max_length",
            "model_length",
            "token_limit",
            "model_context_window_exceeded",
        ),
        CUT,
    ),
    **dict.fromkeys(
        (
            "blocked",
            "blocklist",
            "content_filtered",
            "error_toxic",
            "guardrail_intervened",
            "prohibited_content",
            "recitation",
            "refusal",
            "safety",
            "sensitive",
            "spii",
        ),
        FILTERED,
    ),
    **dict.fromkeys(
        (
            "abort",
            "aborted",
            "canceled",
            "cancelled",
            "insufficient_system_resource",
            "malformed_function_call",
            "network_error",
            "timeout",
        ),
        FAULT,
    ),
}


def word_of(finish_reason: Any) -> str:
    """Gives the word of a finish reason; "" for none, "other" for one that is neither known nor small letters.

    A word for programs. What does not look like one may be anything, a secret among it: `FAULT` where it tells of one.
    """
    if isinstance(finish_reason, dict):
        finish_reason = finish_reason.get("type") or finish_reason.get("reason")
    if not isinstance(finish_reason, str) or not finish_reason:
        return ""
    known = finish_reason.lower().replace("-", "_")
    if known in _MEANINGS:
        return known
    if _FAILS.search(known):
        return known if _WORD.fullmatch(known) else FAULT
    return finish_reason if _WORD.fullmatch(finish_reason) else "other"


def meaning(word: str) -> str:
    """Gives what a word means: `length`, `content_filter`, `FAULT` for a failure, else the server's own word."""
    return _MEANINGS.get(word, FAULT if _FAILS.search(word) else word)
