"""The words of the chat in the terminal, in English and 中文."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Say = Callable[..., str]

WORDS: dict[str, dict[str, str]] = {
    "greeting": {
        "en": "DeeChat · {url} · {place}. While an answer comes, what you type steers it and Ctrl-C stops it. /help",
        "zh": "DeeChat · {url} · {place}。回答进行中可以直接输入来引导，Ctrl-C 停止。/help 查看命令",
    },
    "own_server": {
        "en": "no server is running, so this chat has one of its own",
        "zh": "没有正在运行的服务，本次对话自带一个",
    },
    "joined": {"en": "An answer is being made here; this is it, from the start.", "zh": "这里正在回答，以下从头显示。"},
    "busy": {
        "en": "Somebody else's question is being answered here; yours comes next.",
        "zh": "这里正在回答别人的问题，你的问题随后发送。",
    },
    "help": {
        "en": "/continue  go on with an answer that was broken off\n"
        "/stop      stop the answer (also Ctrl-C)\n"
        "/new       a new thread\n"
        "/threads   list the threads; /threads 2 goes to the second\n"
        "/quit      leave (also Ctrl-D)",
        "zh": "/continue  继续中断的回答\n"
        "/stop      停止回答（也可用 Ctrl-C）\n"
        "/new       新建对话\n"
        "/threads   列出对话；/threads 2 切换到第二个\n"
        "/quit      离开（也可用 Ctrl-D）",
    },
    "no_command": {
        "en": "There is no command {name}; /help lists them.",
        "zh": "没有命令 {name}，/help 列出所有命令。",
    },
    "not_now": {"en": "{name} has to wait until the answer is over.", "zh": "{name} 要等回答结束后才能用。"},
    "no_answer_to_stop": {"en": "No answer is being made.", "zh": "现在没有正在进行的回答。"},
    "can_continue": {"en": "/continue goes on; or ask again.", "zh": "/continue 继续，或重新提问。"},
    "nothing_to_continue": {"en": "There is no answer here to go on with.", "zh": "这里没有可以继续的回答。"},
    "again_leaves": {"en": "Ctrl-C again, or Ctrl-D, leaves.", "zh": "再按一次 Ctrl-C 或 Ctrl-D 离开。"},
    "goes_on": {"en": "The answer goes on at the server.", "zh": "回答会在服务器上继续。"},
    "goes_on_later": {
        "en": "The answer is not over; the next start goes on with it.",
        "zh": "回答还没有结束，下次启动时继续。",
    },
    "kept": {"en": "The answer was over already; your line comes next.", "zh": "回答已经结束，这一行随后发送。"},
    "behind": {"en": "This line comes after those that wait.", "zh": "前面还有等待发送的行，这一行排在其后。"},
    "lost": {"en": "The connection is gone; trying again …", "zh": "连接断开，正在重试……"},
    "back": {"en": "Connected again.", "zh": "已重新连接。"},
    "newest_threads": {
        "en": "These are the {count} with the newest messages.",
        "zh": "以上是最近有消息的 {count} 个对话。",
    },
    "no_threads": {"en": "There are no threads yet.", "zh": "还没有对话。"},
    "unnamed": {"en": "new thread", "zh": "新对话"},
    # asking
    "approval_hint": {"en": "   y/n/a/e> ", "zh": "   y/n/a/e> "},
    "approval_keys": {"en": "y, n, a or e.", "zh": "请输入 y、n、a 或 e。"},
    "edit": {
        "en": "   These are the arguments; type them anew as one line of JSON, or nothing to go back.\n   {given}",
        "zh": "   当前参数如下；输入一行新的 JSON，或直接回车返回。\n   {given}",
    },
    "edit_hint": {"en": "   JSON> ", "zh": "   JSON> "},
    "no_json": {"en": "That is no JSON object: {why}.", "zh": "这不是 JSON 对象：{why}。"},
    "question_hint": {"en": "   {number}/{count} {question} {how}> ", "zh": "   {number}/{count} {question} {how}> "},
    "how_text": {"en": "", "zh": ""},
    "how_choice": {"en": "[number]", "zh": "［编号］"},
    "how_choices": {"en": "[numbers: 1,3]", "zh": "［编号：1,3］"},
    "how_skip": {"en": "(Enter skips)", "zh": "（回车跳过）"},
    "must_answer": {"en": "This one needs an answer.", "zh": "这个问题必须回答。"},
    "numbers": {"en": "A number from 1 to {most}.", "zh": "请输入 1 到 {most} 的编号。"},
    "numbers_several": {"en": "Numbers from 1 to {most}, as in 1,3.", "zh": "请输入 1 到 {most} 的编号，如 1,3。"},
    "nobody_refuses": {
        "en": "Nobody is here to answer (the input is over), so it is refused.",
        "zh": "输入已结束，没有人能回答，按拒绝处理。",
    },
    "answered_elsewhere": {"en": "Somebody else has answered.", "zh": "已由别人回答。"},
    # faults
    "unreachable": {
        "en": "No DeeChat server answers at {url} ({why}).",
        "zh": "{url} 没有 DeeChat 服务应答（{why}）。",
    },
    "no_deechat": {
        "en": "What answers at {url} is no DeeChat server (status {status}).",
        "zh": "{url} 上应答的不是 DeeChat 服务（状态码 {status}）。",
    },
    "redirected": {
        "en": "{url} sends on to {target}: give that address to --server.",
        "zh": "{url} 跳转到 {target}：请把该地址给 --server。",
    },
    "bad_address": {
        "en": "--server is {url!r}, but an address such as http://127.0.0.1:8000 is expected.",
        "zh": "--server 是 {url!r}，应为类似 http://127.0.0.1:8000 的地址。",
    },
    "password_needed": {
        "en": "The server at {url} has a password: set DEECHAT_PASSWORD to it.",
        "zh": "{url} 的服务设有密码：请设置 DEECHAT_PASSWORD。",
    },
    "password_wrong": {
        "en": "DEECHAT_PASSWORD is not the password of the server at {url}.",
        "zh": "DEECHAT_PASSWORD 不是 {url} 的密码。",
    },
    "no_start": {
        "en": "No server is running at {url}, and one of this chat's own did not start:",
        "zh": "{url} 没有正在运行的服务，自带的服务也未能启动：",
    },
    "server_ended": {"en": "This chat's own server has ended:", "zh": "自带的服务已经结束："},
    # frames
    "continues": {"en": "↪ goes on from the answer before", "zh": "↪ 接着上一个回答继续"},
    "arguments": {"en": "🔧 {name}{given}", "zh": "🔧 {name}{given}"},
    "progress": {"en": "   {name} … {text}{share}", "zh": "   {name} … {text}{share}"},
    "share": {"en": "  ({percent})", "zh": "  （{percent}）"},
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
    "was_thinking": {"en": "↻ So far that was thinking:", "zh": "↻ 以上是思考过程："},
    "was_text": {"en": "↻ That was no thinking but the answer:", "zh": "↻ 以上不是思考，而是回答："},
    "summarized": {
        "en": "⋯ What was said earlier is a summary for the model from here on.",
        "zh": "⋯ 从这里起，模型看到的较早对话是一份摘要。",
    },
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


def speaker(language: str) -> Say:
    """Return a function that gives the words of a key in the language, `en` or `zh`, with the parameters filled in."""

    def say(key: str, **params: object) -> str:
        words = WORDS[key][language]
        return words.format(**params) if params else words

    return say


def language_of(environment: Mapping[str, str]) -> str:
    """Return the language that the locale's variables ask for, the strongest first (POSIX, 8.2)."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return "zh" if environment[name].lower().startswith("zh") else "en"
    return "en"
