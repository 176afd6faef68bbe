"""The work that a hostile text makes for the page grows like the text: no stored answer freezes a tab that shows it.

What is counted is characters read: patched methods of strings and expressions add up what they look at while a text is
parsed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from browser_support import Tab, run

pytest_plugins = ["browser_fixtures"]


def name(number: int) -> str:
    """Gives each number an environment's name of its own."""
    return "".join("abcdefghij"[int(digit)] for digit in str(number))


# What the text is → how it begins, one piece of it by the piece's number, how it ends, and the number of pieces.
Text = tuple[str, Callable[[int], str], str, int]
HOSTILE: dict[str, Text] = {
    "one formula on one line": ("$$", lambda _: "a", "$$", 50_000),
    "a backtick at the end of a line of dollars": ("$$", lambda _: "a", "`$$", 50_000),
    "openings before one closing": ("", lambda _: r"\(a" * 1500 + "\\)\n\n", "", 4),
    "openings and a backtick before one closing": ("", lambda _: r"\(a" * 1500 + "`\\)\n\n", "", 4),
    "openings without a letter": ("", lambda _: r"\(" * 2400 + "\\)\n\n", "", 4),
    "openings that begin lines": ("", lambda _: "\\[\nx\nx\nx\n", "", 1000),
    "openings that begin lines before a closing in a sentence": ("", lambda _: "\\[\n" * 95 + "\\] x\n", "", 40),
    "openings that begin long lines": ("", lambda _: r"\[" + "x" * 90 + "\n", "", 400),
    "openings in a quote": ("", lambda _: "> \\[\n> x\n", "", 1000),
    "environments of many names": ("", lambda n: rf"\begin{{{name(n)}}} ", "", 2000),
    "environments of many names on lines": ("", lambda n: f"\\begin{{{name(n)}}}\nx\n", "", 1000),
    "openings in links": ("", lambda _: r"[a]\(", r"\)", 2000),
    "dollars": ("", lambda _: "$a ", "", 4000),
    "dollars that are escaped": ("", lambda _: r"$a\$", "", 4000),
    "emphasis that opens and closes": ("", lambda _: "**具体：", "", 2000),
    "a run of stars": ("", lambda _: "*", "具", 5000),
    "tasks": ("", lambda _: "- [ ] a\n", "", 1000),
    "tasks and spaces": ("", lambda _: "- [ ] " + " " * 500 + "a\n", "", 40),
    "nested quotes": ("س\n\n", lambda _: ">" * 90 + " a `b`\n", "", 40),
    "words and code": ("", lambda _: "hello React `", "", 2000),
    "a foreign word in each block": ("س\n\n", lambda _: "React `a`\n\n", "", 1000),
}


def written(text: Text, times: int) -> str:
    """Writes a text of so many times its pieces."""
    begin, piece, end, pieces = text
    return begin + "".join(map(piece, range(pieces * times))) + end


PARSERS = """
    const { default: MarkdownIt } = await import('/static/vendor/markdown-it.js');
    const [plain, ours] = [1, 2].map(() => new MarkdownIt({ html: false, breaks: true }));
    for (const name of ['emphasis', 'formulas', 'tasks', 'direction']) {
        ours.use((await import(`/static/js/elements/markdown/${name}.js`))[name]);
    }
"""
COUNTED = """
    function read(md, words, env) {
        const { indexOf, slice } = String.prototype, { exec } = RegExp.prototype;
        let chars = 0;
        String.prototype.indexOf = function (what, from = 0) {
            const at = indexOf.call(this, what, from);
            chars += (at < 0 ? this.length : at + what.length) - from;
            return at;
        };
        String.prototype.slice = function (...range) {
            const part = slice.apply(this, range);
            chars += part.length;
            return part;
        };
        RegExp.prototype.exec = function (words) {
            const from = this.sticky || this.global ? this.lastIndex : 0, found = exec.call(this, words);
            const end = found ? found.index + found[0].length : this.sticky ? from + 1 : words.length;
            chars += end - from;
            return found;
        };
        try { md.parse(words, env); } finally {
            Object.assign(String.prototype, { indexOf, slice });
            RegExp.prototype.exec = exec;
        }
        return chars;
    }
    const env = () => (a.growing ? { growing: [] } : {});
    return a.texts.map((words) => [read(plain, words, env()), read(ours, words, env())]);
"""


@pytest.mark.parametrize("growing", [False, True], ids=["stored", "growing"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_the_characters_read_grow_like_the_text(module_tab: Tab, text: Text, growing: bool) -> None:
    texts = [written(text, times) for times in (1, 2)]
    (plain, once), (_, twice) = run(module_tab, "markdown", PARSERS + COUNTED, {"texts": texts, "growing": growing})
    length, double = map(len, texts)
    assert twice / once < 1.2 * double / length  # linear
    assert once - plain < 40 * length  # and by no great factor


def test_no_expression_goes_back_in_a_long_line(module_tab: Tab) -> None:
    """Nothing but time shows how often an expression goes back; the library alone, on the same text, is the measure."""
    timed = """
        const took = (md) => Math.min(...[1, 2, 3].map(() => {
            const begun = performance.now();
            md.parse(a, {});
            return performance.now() - begun;
        }));
        return [took(plain), took(ours)];
    """
    plain, ours = run(module_tab, "markdown", PARSERS + timed, "$$" + "a" * 250_000 + "`$$")
    assert ours < 20 * max(plain, 1)


@pytest.mark.parametrize("form", ["$${}$$", r"so \({}\)"])
def test_a_formula_has_a_greatest_length(module_tab: Tab, form: str) -> None:
    count = "return a.map((words) => m.render(words).querySelectorAll('.math').length);"
    texts = [form.format("a " * length) for length in (2000, 4000)]
    assert run(module_tab, "markdown", count, texts) == [1, 0]


def test_emphasis_nests_only_so_deep(module_tab: Tab) -> None:
    """The browser needs the square of the depth to build what thousands of stars nest."""
    look = "const node = m.render(a); return [node.textContent.trim(), node.querySelectorAll('strong, em, s').length]"
    for mark in ("*", "_", "~~"):
        stars = mark * 999
        assert run(module_tab, "markdown", look, f"a {stars}b{stars}") == ["a b", 50]


def test_the_browser_looks_for_no_direction_by_itself(module_tab: Tab) -> None:
    """With dir="auto" it reads a block again for each element in it that gets a `dir`; the text's own is set once."""
    look = """
        const node = document.createElement('div'), seen = new MutationObserver(() => {});
        seen.observe(node, { attributes: true, attributeFilter: ['dir'] });
        const growing = new m.GrowingMarkdown(node);
        for (let end = 1; end <= a.length; end += 1) growing.update(a.slice(0, end));
        growing.update(a, true);
        const sides = [...m.render(a).querySelectorAll('[dir]')].map((each) => `${each.tagName} ${each.dir}`);
        return [sides, seen.takeRecords().length];
    """
    words = "سلام `a`\n\n- React `b`\n\n> hello `c`"
    sides, settings = run(module_tab, "markdown", look, words)
    assert sides == ["P rtl", "CODE ltr", "UL ltr", "LI ltr", "CODE ltr", "BLOCKQUOTE ltr", "P ltr", "CODE ltr"]
    assert settings == 1
