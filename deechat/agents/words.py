"""The words of status events, by code and language. Pages that translate use the code and its parameters instead."""

from __future__ import annotations

from typing import Any

WORDS: dict[str, dict[str, str]] = {
    "tool_call": {"en": "🔧 {name}", "zh": "🔧 {name}"},
    "model_retry": {
        "en": "The model server did not answer ({why}); trying again in {seconds} s ({attempt} of {attempts})",
        "zh": "模型服务器没有应答（{why}），{seconds} 秒后重试（第 {attempt} 次，共 {attempts} 次）",
    },
    "tools_refused": {
        "en": "{model} takes no tools; asking again without them",
        "zh": "{model} 不支持工具，正在不带工具重新询问",
    },
    "tool_rounds_used_up": {
        "en": "That was the last of {rounds} rounds of tool calls; asking for the answer now",
        "zh": "{rounds} 轮工具调用已用完，现在请求最终回答",
    },
    "tool_call_repeated": {
        "en": "{name} was called with the same arguments {times} times in a row; asking for the answer now",
        "zh": "{name} 连续 {times} 次以相同参数被调用，现在请求最终回答",
    },
}


def say(code: str, params: dict[str, Any], language: str) -> str:
    """Gives the words of a status in the language (a BCP 47 tag), in English where that one is not spoken."""
    words = WORDS[code]
    return words.get(language.split("-", maxsplit=1)[0].lower(), words["en"]).format(**params)
