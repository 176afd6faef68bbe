"""The scripts of the world in the page: directions, emphasis without spaces, formulas, task lists, addresses.

Each case that a person reported names its source.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from browser_support import OpenTab, Tab, artifact, run
from client import Client
from model_answers import reasoning, reply, text, tool_calls
from model_server import ModelServer
from playwright.sync_api import expect
from server import Server
from test_page_modules import DEECHAT

pytest_plugins = ["browser_fixtures"]

DRAW = "const node = document.createElement('div'); node.append(m.render(a));"
PLAIN = DRAW + (
    "for (const each of node.querySelectorAll('*'))"
    " for (const name of ['dir', 'target', 'rel', 'class']) each.removeAttribute(name);"
    "return node.innerHTML.trim();"
)


def drawn(tab: Tab, markdown: str) -> str:
    """Gives the page's HTML for a text, without directions and classes."""
    html: str = run(tab, "markdown", PLAIN, markdown)
    return html


# -- emphasis ----------------------------------------------------------------------------------------------------------

EMPHASIS = [
    ("**具体：**不说", "<strong>具体：</strong>不说", "markdown-it/markdown-it #1080"),
    ("これは**「重要」**です", "これは<strong>「重要」</strong>です", "commonmark/commonmark-spec #650"),
    ('**"강조"**는', '<strong>"강조"</strong>는', "commonmark/commonmark-spec #650"),
    ("**표시(Mark)**을 쓰세요", "<strong>표시(Mark)</strong>을 쓰세요", "commonmark/commonmark-spec PR #839"),
    ("**历经10年发展，**a", "<strong>历经10年发展，</strong>a", "markedjs/marked #3838"),
    ("~~旧的（已删）。~~新的", "<s>旧的（已删）。</s>新的", "kirodotdev/KiroCrew PR #2323"),
    ("*斜体（括号）。*继续", "<em>斜体（括号）。</em>继续", "kirodotdev/KiroCrew PR #2323"),
    ('𠀀𠀁**"加粗"**𠀀𠀁', '𠀀𠀁<strong>"加粗"</strong>𠀀𠀁', "marktext/marktext PR #4401"),
    ("한국어**[강조]**한국어", "한국어<strong>[강조]</strong>한국어", "marktext/marktext PR #4401"),
    ("真**`code`**好", "真<strong><code>code</code></strong>好", "tats-u/markdown-cjk-friendly"),
    ("好**“\ufe01字”\ufe01**b", "好<strong>“\ufe01字”\ufe01</strong>b", "tats-u/markdown-cjk-friendly, specification"),
    ("葛\U000e0100**(x)**も", "葛\U000e0100<strong>(x)</strong>も", "tats-u/markdown-cjk-friendly, specification"),
    ("_不_是", "_不_是", "an underscore within a word is none"),
    ("5 * 3 * 2 是", "5 * 3 * 2 是", "spaces on both sides"),
    ('a**"b"**c', 'a**"b"**c', "CommonMark, example 354: nothing changes without these scripts"),
    ("**😀。**x", "<strong>😀。</strong>x", "the full stop counts, not the picture"),
    ("x**😀**x", "x**😀**x", "a picture is none of these scripts: as before"),
]


@pytest.mark.parametrize(("markdown", "html", "source"), EMPHASIS, ids=[case[0] for case in EMPHASIS])
def test_emphasis_needs_no_spaces_where_a_script_has_none(
    module_tab: Tab, markdown: str, html: str, source: str
) -> None:
    assert drawn(module_tab, markdown) == f"<p>{html}</p>", source


ALIKE = """
    const { default: MarkdownIt } = await import('/static/vendor/markdown-it.js');
    const plain = new MarkdownIt({ html: false, breaks: true });
    const { emphasis } = await import('/static/js/elements/markdown/emphasis.js');
    const ours = new MarkdownIt({ html: false, breaks: true }).use(emphasis);
    let seed = 13;
    const pick = (from) => from[(seed = (seed * 1103515245 + 12345) % 2147483648) % from.length];
    const wrong = [];
    for (let n = 0; n < 3000; n += 1) {
        const words = Array.from({ length: 14 }, () => pick(a)).join('');
        if (plain.render(words) !== ours.render(words)) wrong.push(words);
    }
    return wrong;
"""


def test_without_those_scripts_emphasis_is_that_of_commonmark(module_tab: Tab) -> None:
    pieces = ["*", "**", "_", "~~", " ", "a", "b.", "(", ")", '"', "é", "—", "«", "م", "😀", "\n", "`", "[", "](u)"]
    assert run(module_tab, "markdown", ALIKE, pieces) == []


# -- addresses ---------------------------------------------------------------------------------------------------------

ADDRESSES = [
    ("见 https://example.com。好", "https://example.com", "github/cmark-gfm #377"),
    ("https://example.com/docs（说明）了解", "https://example.com/docs", "openchamber/openchamber #3039"),
    ("（https://example.com/baz）です", "https://example.com/baz", "ubugeeei-prod/ox-content #1138"),
    ("https://example.com/qux、続き", "https://example.com/qux", "ubugeeei-prod/ox-content #1138"),
    ("《https://example.com/x》", "https://example.com/x", "markdown-it/linkify-it #116"),
    ("https://example.com～", "https://example.com", "a sign that Unicode counts as mathematics"),
    ("https://example.com/a؟ نعم", "https://example.com/a", "an Arabic question mark"),
    ("https://example.com/a_(b).", "https://example.com/a_(b)", "as before"),
]


@pytest.mark.parametrize(("markdown", "address", "source"), ADDRESSES, ids=[case[0] for case in ADDRESSES])
def test_an_address_ends_before_the_punctuation(module_tab: Tab, markdown: str, address: str, source: str) -> None:
    look = "return [node.querySelector('a').textContent, node.textContent.trim()]"
    found = run(module_tab, "markdown", DRAW + look, markdown)
    assert found == [address, markdown], source


# -- formulas ----------------------------------------------------------------------------------------------------------

FORMULAS = [
    (r"so \(x^2\) is", "markedjs/marked #3445"),
    (r"and \[ a_1 \\ b_2 \] too", "markedjs/marked #3158"),
    (r"\[ \]", "the issue's own"),
    ("\\[\nx = 1 \\\\\n+ y\n\\]", "theacodes/cmarkgfm #67"),
    ("$$\n\\begin{array}{c|c}\n\\tau & Q \\\\\n- w^\\top\n\\end{array}\n$$", "theacodes/cmarkgfm #67"),
    (r"$\frac{1}{2} + f_2 + \left[ q_f \right]$", "HappenApps/Quiver #96"),
    (r"$x^*(\boldsymbol{b}) = a^*$", "yzane/vscode-markdown-pdf #221"),
    ("$a_1 + b_2$ and $c_1*d*e$", "the issue's own"),
    (r"质量$E_0 = m*c^2*1$是", "no spaces around it"),
    (r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", "an environment without dollars"),
    (r"$$a_1 * b * c$$", "on one line"),
]


@pytest.mark.parametrize(("markdown", "source"), FORMULAS, ids=[case[0] for case in FORMULAS])
def test_a_formula_stays_what_the_model_wrote(module_tab: Tab, markdown: str, source: str) -> None:
    look = "return [node.textContent.trim(), node.querySelectorAll('em,li,br').length]"
    said, marked = run(module_tab, "markdown", DRAW + look, markdown)
    assert (said, marked) == (markdown, 0), source


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("$5 and *$6*", "$5 and <em>$6</em>"),
        ("US$5, A$6, *so*", "US$5, A$6, <em>so</em>"),
        ("$HOME/*.txt, `$PATH` and *$x*", "$HOME/*.txt, <code>$PATH</code> and <em>$x</em>"),
        (r"\$5 *and* \$6", "$5 <em>and</em> $6"),
        (r"a \*b\* \\ \(\) \[no link](/x)", r"a *b* \ () [no link](/x)"),
        (r"\( and `x\)` *so*", "( and <code>x\\)</code> <em>so</em>"),
        ("$$ is the *shell's* number", "$$ is the <em>shell's</em> number"),
    ],
)
def test_prices_names_and_escapes_are_no_formulas(module_tab: Tab, markdown: str, html: str) -> None:
    assert drawn(module_tab, markdown) == f"<p>{html}</p>"


# -- task lists --------------------------------------------------------------------------------------------------------


def test_a_task_is_a_box_that_nobody_ticks_and_its_words_are_its_name(module_tab: Tab) -> None:
    """facebook/astryx #6329, rust-lang/mdBook #3212: it needs a name; omnigent-ai/omnigent PR #721: and no bullet."""
    list_of = """
        node.querySelectorAll('input').forEach((each) => document.querySelector('main').append(each.closest('li')));
        const boxes = [...document.querySelectorAll('main input[type=checkbox]')];
        const found = boxes.map((each) => [each.labels[0].textContent, each.checked, each.disabled]);
        boxes.forEach((each) => each.closest('li').remove());
        return found;
    """
    tasks = "- [ ] a **b**\n- [x] read `it`\n\n1. [X] third\n\n- [ ]\n- [ ]no\n- [x](https://x.y)\n\n* [ ] loose\n\n  m"
    found = run(module_tab, "markdown", DRAW + list_of, tasks)
    assert found == [
        ["a b", False, True],
        ["read it", True, True],
        ["third", True, True],
        ["", False, True],
        ["loose", False, True],
    ]


# -- growing -----------------------------------------------------------------------------------------------------------

DOCUMENT = """\
**具体：**不说 これは**「重要」**です，见 https://example.com/a。好

سلام **دنیا**، `npm i` را بزنید

- [ ] یک
- [x] **Vite** را اجرا کنید

- `کد`
- React خوب است و بس

> نقل

| نام | n |
|---|---|
| علی | 5 |

1. [ ] 数字（一）。**二。**三
"""


@pytest.mark.parametrize("step", [1, 3, 40])
def test_a_text_that_grew_looks_like_one_that_was_there_at_once(module_tab: Tab, step: int) -> None:
    grow = """
        const grown = document.createElement('div'), growing = new m.GrowingMarkdown(grown), wrong = [];
        const tidy = (node) => node.innerHTML.replace(/\\n+/g, '\\n').trim();
        for (let end = 0; end <= a.text.length + a.step; end += a.step) {
            growing.update(a.text.slice(0, end));
            if (/[-.] \\[[ x]?$/.test(a.text.slice(0, end))) continue; // shown when it is known to be a box
            const whole = document.createElement('div');
            whole.append(m.render(a.text.slice(0, end)));
            if (tidy(grown) !== tidy(whole)) wrong.push([end, tidy(grown).slice(-200), tidy(whole).slice(-200)]);
        }
        return wrong;
    """
    assert run(module_tab, "markdown", grow, {"text": DOCUMENT, "step": step}) == []


def test_while_a_formula_grows_nothing_of_it_comes_and_goes(module_tab: Tab) -> None:
    grow = r"""
        const node = document.createElement('div'), growing = new m.GrowingMarkdown(node), wrong = [];
        for (let end = 1; end <= a.length; end += 1) {
            growing.update(a.slice(0, end));
            const from = a.slice(0, end).search(/\\[([]/);
            if (from >= 0 && !node.textContent.includes(a.slice(from, end).trim())) wrong.push([end, node.textContent]);
            if (from >= 0 && node.querySelector('em, li, hr, h2')) wrong.push([end, node.innerHTML]);
        }
        growing.update(a, true);
        return [wrong, node.textContent.trim()];
    """
    for words in (r"so \(x_1 * y * z\)", "so\n\n\\[\na \\\\\n- b * c * d \\\\\n---\n\\]"):
        wrong, said = run(module_tab, "markdown", grow, words)
        assert wrong == []
        assert re.sub(r"\s+", " ", said) == re.sub(r"\s+", " ", words)


def test_a_block_stays_on_its_side_while_it_grows(module_tab: Tab) -> None:
    """A new item, a number or a command has no letter that says its side: it begins on that of the whole text."""
    grow = """
        const node = document.createElement('div'), growing = new m.GrowingMarkdown(node), seen = [];
        document.querySelector('main').append(node);
        for (let end = 1; end <= a.length; end += 1) {
            growing.update(a.slice(0, end));
            const block = [...node.querySelectorAll('p, li')].at(-1);
            if (block && /[^\\x00-\\x7f]/.test(a.slice(0, end))) seen.push(getComputedStyle(block).direction);
        }
        node.remove();
        return [...new Set(seen)];
    """
    for words in ("سلام\n\n1. یک\n2. `npm run` دو\n3. 3.11 سه\n\n`npm` را\n\n12. دو", "سلام\n\n- [ ] یک\n- [x] دو"):
        assert run(module_tab, "markdown", grow, words) == ["rtl"]


# -- directions --------------------------------------------------------------------------------------------------------

PERSIAN = """\
# راهنما

سلام! `npm i` را در https://example.com/a/ ببینید؟

`npm` را نصب کنید

- یک
- Vite را اجرا کنید
- English item

1. اول

   دوم

> نقل قول

- [ ] کار

| نام | n |
|---|--:|
| علی | 5 |

```js
سلام()
```

English, at the end."""
SIDES = """(selector) => [...document.querySelectorAll(`dee-answer:last-of-type ${selector}`)]
    .map((node) => getComputedStyle(node).direction)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_each_text_goes_its_own_way(
    open_tab: OpenTab, agent_server: Server, model: ModelServer, width: int, scheme: str
) -> None:
    """ollama PR #16954, NousResearch/hermes-agent PR #44596 and #44628, zai-org/feedback #273."""
    words = {"fa": ("چطور نصب کنم؟\nPlease!", PERSIAN), "ar": ("كيف حالك؟", "مرحبا!\n\n* واحد\n\n> اقتباس")}
    words["he"] = ("מה שלומך?", "שלום, `code`.\n\n1. אחת")
    client = Client(agent_server).new_thread()
    for asked, answer in reversed(words.values()):
        thought = reply(reasoning("او می‌پرسد (React)."), tool_calls(("calculator", {"expression": "6*7"})))
        model.script(thought, reply(text(answer)))
        client.ask(asked)
    tab = open_tab(agent_server, viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.open(f"/#/default/{client.thread}")
    expect(tab.answers).to_have_count(3)
    expect(tab.answer.locator("dee-text pre")).to_be_visible()
    sides: Any = lambda selector: tab.page.evaluate(SIDES, selector)  # noqa: E731
    assert set(sides("dee-text :is(h1, blockquote, blockquote p, ol, ol li, ol p, ul, table, .task)")) == {"rtl"}
    assert sides("dee-text > p") == ["rtl", "rtl", "ltr"]
    assert sides("dee-text ul:not(:has(.task)) > li") == ["rtl", "rtl", "ltr"]
    assert set(sides("dee-text :is(pre, code, a)")) == {"ltr"}
    assert sides(".thoughts") == ["rtl"]
    assert sides(".tool pre") == ["ltr", "ltr"]
    assert tab.prompts.last.evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert tab.page.locator("h1").first.evaluate("node => getComputedStyle(node).direction") == "rtl"
    quote = tab.answer.locator("blockquote").evaluate("node => getComputedStyle(node).borderRightWidth")
    assert quote == "3px"
    item = tab.answer.locator("li").first.evaluate("node => getComputedStyle(node).marginRight")
    assert item != "0px"  # where the marker stands
    for written, side in (("سلام", "rtl"), ("hi سلام", "ltr"), ("שלום", "rtl")):
        tab.field.fill(written)
        assert tab.field.evaluate("node => getComputedStyle(node).direction") == side
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
    tab.page.screenshot(path=artifact(f"writing-{width}-{scheme}.png"))


def test_questions_and_options_go_their_own_way(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    choice = {"kind": "choice", "question": "چای یا قهوه (coffee)؟", "options": ["چای", "Coffee"]}
    questions = [{"kind": "input", "question": "Which city?"}, choice]
    model.script(reply(tool_calls(("ask_user", {"questions": questions}))), "خوب")
    tab = open_tab(agent_server).open()
    tab.send("بپرس")
    side = "nodes => nodes.map(node => getComputedStyle(node).direction)"
    expect(tab.card).to_be_visible()
    assert tab.card.locator(".question-text").evaluate_all(side) == ["ltr", "rtl"]  # "1 of 2" has no say
    assert tab.card.locator(".option").evaluate_all(side) == ["rtl", "ltr"]
    tab.card.get_by_role("textbox").fill("تهران")
    tab.card.get_by_text("چای", exact=True).click()
    tab.card.get_by_role("button", name="Send", exact=True).click()
    tab.wait_done()
    assert tab.done_card.locator("dd").evaluate_all(side) == ["rtl", "rtl"]


def test_titles_and_names_go_their_own_way(open_tab: OpenTab, agent_server: Server, model: ModelServer) -> None:
    model.script("خوب")
    made = Client(agent_server).post("/api/workspace/new", {"name": "فضای کار"}).json()["workspace"]
    Client(agent_server, workspace=made["slug"]).new_thread("گفتگوی اول (React)").ask("سلام")
    tab = open_tab(agent_server).open(f"/#/{made['slug']}")
    side = "node => getComputedStyle(node).direction"
    expect(tab.threads).to_have_count(1)
    assert tab.threads.get_by_role("link").evaluate(side) == "rtl"
    assert tab.page.locator("option", has_text="فضای کار").first.evaluate(side) == "rtl"
    tab.button("Workspace settings").click()
    assert tab.page.get_by_role("textbox", name="Name").evaluate(side) == "rtl"


def test_the_style_sheets_know_no_left_and_right() -> None:
    """What stands at a side stands at a text's beginning or end; one place is about what a table's author said."""
    names = r"(?:margin|padding|border)-(?:left|right)|left|right|float|text-align: (?:left|right)"
    sided = re.compile(rf"^\s*(?:{names})\b.*$", re.MULTILINE)
    found = [
        (sheet.name, line.strip())
        for sheet in sorted((DEECHAT / "static" / "css").rglob("*.css"))
        for line in sided.findall(sheet.read_text(encoding="utf-8"))
    ]
    assert found == [("dee-text.css", "text-align: right; /* as the table's author says it */")]
