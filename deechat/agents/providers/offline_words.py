"""What the offline provider says, in English and Chinese, as Markdown."""

from __future__ import annotations

from typing import Any

_CONNECT_EN = """\
**A model on this machine.** DeeChat finds a running Ollama, llama.cpp, LM Studio or vLLM server by itself. Start one \
of them, and 15 seconds later ask me again:

```sh
ollama pull qwen3:4b                      # Ollama, port 11434
llama-server -m model.gguf --jinja        # or llama.cpp, port 8080
lms server start                          # or LM Studio, port 1234
```

**A model server somewhere else.** Any OpenAI-compatible API will do; start DeeChat with its address:

```sh
export OPENAI_BASE_URL=http://192.168.1.20:11434/v1
export DEECHAT_MODEL=qwen3:4b             # else the server's first one
make run                                  # or: deechat
```

**A service with an API key:**

```sh
export OPENAI_API_KEY=your-key
export OPENAI_BASE_URL=https://api.openai.com/v1
make run                                  # or: deechat
```
"""

_CONNECT_ZH = """\
**本机上的模型。** DeeChat 会自动发现正在运行的 Ollama、llama.cpp、LM Studio 或 vLLM 服务。启动其中一个，\
过 15 秒再来问我：

```sh
ollama pull qwen3:4b                      # Ollama，端口 11434
llama-server -m model.gguf --jinja        # 或 llama.cpp，端口 8080
lms server start                          # 或 LM Studio，端口 1234
```

**其他机器上的模型服务。** 任何兼容 OpenAI 的接口都可以，带上地址重新启动 DeeChat：

```sh
export OPENAI_BASE_URL=http://192.168.1.20:11434/v1
export DEECHAT_MODEL=qwen3:4b             # 不写则用服务器的第一个模型
make run                                  # 或者：deechat
```

**带 API 密钥的服务：**

```sh
export OPENAI_API_KEY=your-key
export OPENAI_BASE_URL=https://api.openai.com/v1
make run                                  # 或者：deechat
```
"""

WORDS: dict[str, dict[str, str]] = {
    "greeting": {
        "en": "Hello! No language model is connected yet, so I am DeeChat's offline helper: I calculate, tell the "
        "time and date and read web pages. Try *what is 17% of 2,340?*, or say *help* to see how to connect a model.",
        "zh": "你好！现在还没有连接语言模型，我是 DeeChat 的离线助手：会计算、报时间和日期，也能打开网页。"
        "试试“2340 的 17% 是多少”，或者输入“帮助”看看如何连接模型。",
    },
    "thanks": {"en": "You are welcome!", "zh": "不客气！"},
    "help": {
        "en": "I am DeeChat's offline helper, not a language model. I calculate (*what is 17% of 2,340?*, "
        "`sqrt(2) * 10`), tell the time and date (*what time is it in Tokyo?*), fetch a page once you allow it "
        "(*read https://example.org*) and show how questions look (*ask me something*). With a model, DeeChat answers "
        f"questions, writes, and uses its tools on its own. This is how to connect one:\n\n{_CONNECT_EN}",
        "zh": "我是 DeeChat 的离线助手，不是语言模型。我会计算（“2340 的 17% 是多少”`sqrt(2) * 10`），"
        "报时间和日期（“东京现在几点”），"
        "在你同意后读取网页（“打开 https://example.org”），也能演示提问（“问我一个问题”）。"
        f"连接模型之后，DeeChat 就能回答问题、写作，并自己使用工具。连接的方法如下：\n\n{_CONNECT_ZH}",
    },
    "no_model": {
        "en": "I cannot answer that: no language model is connected, and without one I only calculate, tell the time "
        f"and date and show how a page begins. This is how to connect one:\n\n{_CONNECT_EN}",
        "zh": "这个问题我回答不了：现在没有连接语言模型，我只会计算、报时间和日期、打开网页。连接模型的方法如下：\n\n"
        + _CONNECT_ZH,
    },
    "no_tools": {
        "en": "That needs a tool (`{names}`) that this workspace does not allow. In its settings, set the mode to "
        "*agent* and the tool to anything but *never*, to let me use it.",
        "zh": "这需要用到工具（`{names}`），而这个工作区不允许使用它。"
        "在工作区设置里把模式改为“agent”，并且不要把该工具设为“从不”，我就能用了。",
    },
    "value": {"en": "`{asked}` = **{result}**", "zh": "`{asked}` = **{result}**"},
    "no_value": {
        "en": "Sorry, I could not work out `{asked}`. {result}",
        "zh": "抱歉，`{asked}` 算不出来。计算器说：{result}",
    },
    "time_here": {
        "en": "It is **{time}** on {weekday}, {date} (the server's clock, UTC{offset}).",
        "zh": "现在是 {date} {weekday} **{time}**（服务器时间，UTC{offset}）。",
    },
    "time_there": {
        "en": "In {asked} it is **{time}** on {weekday}, {date} (UTC{offset}).",
        "zh": "{asked}现在是 {date} {weekday} **{time}**（UTC{offset}）。",
    },
    "no_current_time": {
        "en": "Sorry, I could not look up that time. {result}",
        "zh": "抱歉，查不到这个时间。时钟说：{result}",
    },
    "result_web_fetch": {
        "en": "This came from {asked}:\n\n{result}",
        "zh": "读取 {asked} 得到：\n\n{result}",
    },
    "no_web_fetch": {
        "en": "I could not read {asked}. {result}",
        "zh": "无法读取 {asked}。原因：{result}",
    },
    "no_ask_user": {
        "en": "I could not ask you. {result}",
        "zh": "未能提问。原因：{result}",
    },
    "refused": {"en": "You refused it, so I did not use `{asked}`.", "zh": "你已拒绝，所以没有使用 `{asked}`。"},
    "refused_web_fetch": {"en": "You refused it, so I did not read {asked}.", "zh": "你已拒绝，所以没有读取 {asked}。"},
    "unanswered": {
        "en": "Nobody said yes or no, so I did not use `{asked}`.",
        "zh": "没有人允许或拒绝，所以没有使用 `{asked}`。",
    },
    "unanswered_web_fetch": {
        "en": "Nobody said yes or no, so I did not read {asked}.",
        "zh": "没有人允许或拒绝，所以没有读取 {asked}。",
    },
    "unanswered_ask_user": {
        "en": "My questions were not answered. Say “ask me something” to be asked again.",
        "zh": "我的提问没有得到回答。输入“问我一个问题”可以重新提问。",
    },
    "result_ask_user": {
        "en": "Thank you. This is what I was told; with a model, it would go on from here:\n\n{result}",
        "zh": "谢谢。这是收到的回答；连接模型后，它会据此继续：\n\n{result}",
    },
    "result": {"en": "{asked}: {result}", "zh": "{asked}：{result}"},
}

WEEKDAYS = {
    "en": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "zh": ("星期一", "星期二", "星期三", "星期四", "星期五", "星期六", "星期日"),
}

SKIPPED = {"en": "(skipped)", "zh": "（跳过）"}

# What is asked of somebody who wants to be asked: a question of each kind.
QUESTIONS: dict[str, list[dict[str, Any]]] = {
    "en": [
        {"kind": "input", "question": "Which city do you live in?", "inputType": "text", "placeholder": "Paris"},
        {"kind": "choice", "question": "Tea or coffee?", "options": ["Tea", "Coffee", "Neither"]},
        {
            "kind": "choice",
            "question": "What do you want to use DeeChat for?",
            "options": ["Writing", "Programming", "Looking things up"],
            "optionDescriptions": ["letters, texts, translations", "code and its tests", "answers with their sources"],
            "multiSelect": True,
            "allowOther": True,
        },
    ],
    "zh": [
        {"kind": "input", "question": "你住在哪座城市？", "inputType": "text", "placeholder": "北京"},
        {"kind": "choice", "question": "喝茶还是咖啡？", "options": ["茶", "咖啡", "都不喝"]},
        {
            "kind": "choice",
            "question": "你想用 DeeChat 做什么？",
            "options": ["写作", "编程", "查资料"],
            "optionDescriptions": ["信件、文章、翻译", "代码和测试", "有来源的回答"],
            "multiSelect": True,
            "allowOther": True,
        },
    ],
}


def say(key: str, language: str, **params: object) -> str:
    """Return the words in the language, `en` or `zh`; the parameters are used as they are."""
    words = WORDS[key][language]
    return words.format(**params) if params else words
