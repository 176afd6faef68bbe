"""What the terminal's plugin says, in English and 中文, and what of others' words it lets through."""

from __future__ import annotations

import re

# CSI, the strings (OSC, DCS, ...) with their terminator, and all other escapes (ECMA-48, 5.3 to 5.6).
_ESCAPE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*[0-~]?"
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONE = re.compile(r"[\ud800-\udfff]")

WORDS: dict[str, dict[str, str]] = {
    "continues": {"en": "↪ goes on from the answer before", "zh": "↪ 接着上一个回答继续"},
    "arguments": {"en": "🔧 {name}{given}", "zh": "🔧 {name}{given}"},
    "result": {"en": "   {name} → {content}{took}", "zh": "   {name} → {content}{took}"},
    "error": {"en": "   {name} ✗ {content}{took}", "zh": "   {name} ✗ {content}{took}"},
    "took": {"en": "  ({seconds} s)", "zh": "  （{seconds} 秒）"},
    "more": {"en": "… ({count} more characters)", "zh": "…（还有 {count} 个字符）"},
    "approval": {"en": "❓ {name} needs your yes.", "zh": "❓ {name} 需要你同意。"},
    "approval_can": {
        "en": "   [y]es · [n]o · [a]lways · [e]dit the arguments",
        "zh": "   [y] 同意 · [n] 拒绝 · [a] 总是同意 · [e] 修改参数",
    },
    "questions": {"en": "❓ The agent asks:", "zh": "❓ 智能体想问："},
    "several": {"en": "      several can be chosen: 1,3", "zh": "      可以选多项：1,3"},
    "other": {"en": "      or words of your own", "zh": "      也可以自己写"},
    "answered": {"en": "✓ {summary}", "zh": "✓ {summary}"},
    "steered": {"en": "↪ taken up: {message}", "zh": "↪ 已收到：{message}"},
    "restarted": {
        "en": "↻ The server was restarted: this step begins anew, from here on.",
        "zh": "↻ 服务器重启过：这一步从这里重新开始。",
    },
    "summarized": {
        "en": "⋯ What was said earlier is a summary for the model from here on.",
        "zh": "⋯ 从这里起，模型看到的较早对话是一份摘要。",
    },
    "was_thinking": {"en": "↻ So far that was thinking.", "zh": "↻ 以上是思考过程。"},
    "was_text": {"en": "↻ That was no thinking but the answer:", "zh": "↻ 以上不是思考，而是回答："},
    "resync": {"en": "↻ All of it comes again, from the start.", "zh": "↻ 从头重新显示。"},
    "source": {"en": "   [{number}] {title}", "zh": "   [{number}] {title}"},
    "cut": {"en": "The model reached its limit; the answer is cut there.", "zh": "模型到达长度上限，回答在此中断。"},
    "filtered": {
        "en": "The model's provider filtered this answer; what it held back is missing.",
        "zh": "模型服务方过滤了这个回答，被拦下的内容不在其中。",
    },
    "silent": {
        "en": "The model ended its turn without saying anything more.",
        "zh": "模型没有再说什么就结束了回答。",
    },
    "stopped": {"en": "■ Stopped.", "zh": "■ 已停止。"},
    "failed": {"en": "✗ {error}", "zh": "✗ {error}"},
    "tokens": {"en": "{about}{prompt} + {completion} tokens", "zh": "{about}{prompt} + {completion} 个词元"},
    "speed": {"en": "{speed} tokens/s", "zh": "每秒 {speed} 个词元"},
    "first": {"en": "first word after {seconds} s", "zh": "{seconds} 秒后出现第一个字"},
    "lasted": {"en": "{seconds} s", "zh": "共 {seconds} 秒"},
}


def words(key: str, language: str, **params: object) -> str:
    """Gives the words in the language, `en` or `zh`."""
    return WORDS[key][language].format(**params)


def clean(text: str) -> str:
    """Gives the text without anything that a terminal would obey, except line breaks and tabs.

    Control characters and escape sequences could forge a prompt, rename the window or write files; marks that turn the
    direction of writing could make a person say yes to what does not stand there.
    """
    plain = _CONTROL.sub("", _ESCAPE.sub("", text)).replace("\u2028", "\n").replace("\u2029", "\n")
    return _LONE.sub("\ufffd", plain)
