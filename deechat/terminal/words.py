"""What the chat in the terminal says by itself, in English and 中文."""

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
    # requests
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
    # troubles
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
}


def speaker(language: str) -> Say:
    """Gives the function that says words of the table in the language, `en` or `zh`."""

    def say(key: str, **params: object) -> str:
        words = WORDS[key][language]
        return words.format(**params) if params else words

    return say


def language_of(environment: Mapping[str, str]) -> str:
    """Names the language that the locale's variables ask for, the strongest first (POSIX, 8.2)."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return "zh" if environment[name].lower().startswith("zh") else "en"
    return "en"
