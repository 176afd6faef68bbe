"""What the agent says by itself, by code and language. Pages that translate use a status's code and parameters."""

from __future__ import annotations

from typing import Any

# Of statuses.
WORDS: dict[str, dict[str, str]] = {
    "tool_call": {"en": "🔧 {name}", "zh": "🔧 {name}"},
    "model_retry": {
        "en": "The model server did not answer ({why}); trying again in {seconds} s ({attempt} of {attempts})",
        "zh": "模型服务器没有应答（{why}），{seconds} 秒后重试（第 {attempt} 次，共 {attempts} 次）",
    },
    "call_garbled": {
        "en": "{model} wrote a tool call that its server could not read; asking again ({attempt} of {attempts})",
        "zh": "{model} 写出的工具调用无法被其服务器解析，正在重新询问（第 {attempt} 次，共 {attempts} 次）",
    },
    "tools_refused": {
        "en": "{model} takes no tools; asking again without them",
        "zh": "{model} 不支持工具，正在不带工具重新询问",
    },
    "model_changed": {
        "en": "The model server has no {before}; {model} answers",
        "zh": "模型服务器没有 {before}，由 {model} 回答",
    },
    "model_server_changed": {
        "en": "The model server at {before} no longer answers; asking {model} at {server}, found on this machine",
        "zh": "{before} 的模型服务器不再应答，改为询问在本机找到的 {server}（{model}）",
    },
    "model_server_gone": {
        "en": "The model server at {server}, found on this machine, no longer answers; no model answers this",
        "zh": "在本机找到的模型服务器 {server} 不再应答，以下回答不使用模型",
    },
    "limit_refused": {
        "en": "{model} takes no limit of tokens; asking again without it",
        "zh": "{model} 不接受词元上限，正在不带上限重新询问",
    },
    "summarizing": {
        "en": "The conversation is longer than {model} reads at once; summarizing what was said first",
        "zh": "对话超出 {model} 一次能读取的长度，正在总结较早的内容",
    },
    "history_left_out": {
        "en": "What was said first could not be summarized ({why}); the answer is made without it",
        "zh": "较早的内容无法总结（{why}），将在没有它的情况下回答",
    },
    "context_refused": {
        "en": "{model} could not read all of the conversation; asking again with less of it",
        "zh": "{model} 无法读取整个对话，正在缩短后重新询问",
    },
    "context_small": {
        "en": "{model} could read {could} tokens, but its server gives it {length}: change that with {remedy}",
        "zh": "{model} 可以读取 {could} 个词元，但服务器只给了 {length} 个：可通过 {remedy} 更改",
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

# Of requests and what was answered, and what the model is told to do.
SENTENCES: dict[str, dict[str, str]] = {
    "approve_tool": {
        "en": "{name} will be used with these arguments.",
        "zh": "将以这些参数使用 {name}。",
    },
    "approve_web_fetch": {
        "en": "The page {url} will be fetched from the internet, and the model reads its text.",
        "zh": "将从互联网获取 {url}，模型会读取其文字。",
    },
    "reply_yes": {"en": "Approved", "zh": "已允许"},
    "reply_yes_changed": {"en": "Approved with changed arguments", "zh": "已允许（参数已修改）"},
    "reply_yes_always": {"en": "Approved, from now on always", "zh": "已允许，以后始终允许"},
    "reply_no": {"en": "Refused", "zh": "已拒绝"},
    "reply_skipped": {"en": "Skipped", "zh": "已跳过"},
    "go_on": {
        "en": "Your answer was broken off. Go on exactly where it ends, without repeating any of it.",
        "zh": "你的回答中断了。请从中断处继续，不要重复已有内容。",
    },
}

# Of habits of model servers, "{model} …": what is known of them, or was learnt.
HABITS: dict[str, dict[str, str]] = {
    "reads": {"en": "reads {tokens} tokens at once", "zh": "一次读取 {tokens} 个词元"},
    "no_system": {"en": "takes no system role", "zh": "不接受系统角色"},
    "no_tools": {"en": "takes no tools", "zh": "不支持工具"},
    "no_tool_choice": {"en": "takes no tool_choice", "zh": "不接受 tool_choice"},
    "no_null_content": {"en": "takes no null as content", "zh": "不接受 null 内容"},
    "one_call_a_turn": {"en": "takes one tool call a turn", "zh": "每轮只接受一次工具调用"},
    "text_or_thought": {
        "en": "takes text or a thought beside tool calls, not both",
        "zh": "工具调用旁只接受文本或思考之一",
    },
    "no_thought_with_tools": {"en": "takes tools only without thinking", "zh": "使用工具时不能思考"},
    "thinks_in": {
        "en": "thinks in {field}, and gets it back beside tool calls",
        "zh": "在 {field} 中思考，并随工具调用一并传回",
    },
    "thinks_unopened": {
        "en": "begins with thinking, and marks only its end",
        "zh": "以思考开头，只标出思考的结尾",
    },
    "no_field": {"en": "takes no {field}", "zh": "不接受 {field}"},
}


def say(code: str, params: dict[str, Any], language: str) -> str:
    """Return the words of a code in the language (a BCP 47 tag), in English where that one is not spoken."""
    words = WORDS.get(code) or HABITS.get(code) or SENTENCES[code]
    return words.get(language.split("-", maxsplit=1)[0].lower(), words["en"]).format(**params)
