"""Markdown as the page shows it: right, the same however it comes, in linear time, and never more than text."""

import random
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest

pytestmark = pytest.mark.browser

SOURCES = ("dom.js", "inline.js", "code.js", "markdown.js")
SHOW = """([text, step]) => {
  const root = document.createElement("div"), markdown = new Markdown(root);
  for (let i = step; i < text.length; i += step) markdown.update(text.slice(0, i), false);
  markdown.update(text, true);
  for (const bar of root.querySelectorAll(".code-bar")) bar.remove();
  return root.innerHTML;
}"""
LINK = ' target="_blank" rel="noopener noreferrer nofollow"'


@pytest.fixture(scope="module")
def reader(chromium: Any) -> Iterator[Any]:
    """A page that holds nothing but the code that reads Markdown."""
    page = chromium.new_page()
    folder = files("wayra.server.page")
    page.add_script_tag(content="".join((folder / name).read_text(encoding="utf-8") for name in SOURCES))
    yield page
    page.close()


def shown(reader: Any, text: str, step: int = 1 << 30) -> str:
    html: str = reader.evaluate(SHOW, [text, step])
    return html


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# One #\n### Three", "<h1>One</h1><h3>Three</h3>"),
        ("Head\n===\n\nLess\n---", "<h1>Head</h1><h2>Less</h2>"),
        ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
        ("**b *i* b** _i_ ~~s~~", "<p><strong>b <em>i</em> b</strong> <em>i</em> <s>s</s></p>"),
        ("***both***", "<p><em><strong>both</strong></em></p>"),
        ("snake_case_name 2 * 3 * 4 ~5", "<p>snake_case_name 2 * 3 * 4 ~5</p>"),
        ("`a*b` ``x`y``", "<p><code>a*b</code> <code>x`y</code></p>"),
        (r"\*no\* &lt;b&gt;", "<p>*no* &lt;b&gt;</p>"),
        ("**unclosed and `this", "<p>**unclosed and `this</p>"),
        ("- a\n  - b\n- c", "<ul><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ul>"),
        ("1. a\n  - b\n2. c", "<ol><li><p>a</p><ul><li><p>b</p></li></ul></li><li><p>c</p></li></ol>"),
        ("3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
        ("- [ ] a\n- [x] b", '<ul><li class="task">☐ <p>a</p></li><li class="task">☑ <p>b</p></li></ul>'),
        ("> a\nb\n\nc", "<blockquote><p>a<br>b</p></blockquote><p>c</p>"),
        ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
        (
            "[a](https://a.b/c_(d)) <https://x.y/?a=1> https://z.w/p_q.",
            f'<p><a href="https://a.b/c_(d)"{LINK} title="https://a.b/c_(d)">a</a> '
            f'<a href="https://x.y/?a=1"{LINK} title="https://x.y/?a=1">https://x.y/?a=1</a> '
            f'<a href="https://z.w/p_q"{LINK} title="https://z.w/p_q">https://z.w/p_q</a>.</p>',
        ),
        ("![cat](https://a.b/c.png)", f'<p><a href="https://a.b/c.png"{LINK} title="https://a.b/c.png">cat</a></p>'),
        (
            "| a | b |\n|---|--:|\n| 1 | `x\\|y` |\nafter",
            '<div class="table" tabindex="0" role="region" aria-label="Table"><table><thead><tr><th>a</th>'
            '<th class="align-right">b</th></tr></thead><tbody><tr><td>1</td>'
            '<td class="align-right"><code>x|y</code></td></tr></tbody></table></div><p>after</p>',
        ),
        (
            "```py\nif x: # y\n\n  pass\n```\n",
            '<div class="code"><pre tabindex="0" role="region" aria-label="Code, py"><code>'
            '<span class="code-word">if</span> x: <span class="code-comment"># y</span>\n\n  '
            '<span class="code-word">pass</span></code></pre></div>',
        ),
        (
            "````\n```\n````",
            '<div class="code"><pre tabindex="0" role="region" aria-label="Code"><code>```</code></pre></div>',
        ),
        (
            r"\(a_1 * b_2\) and $$c_d$$",
            r'<p><code class="maths">\(a_1 * b_2\)</code> and <code class="maths">$$c_d$$</code></p>',
        ),
        ("<b>no</b> <br> yes", "<p>&lt;b&gt;no&lt;/b&gt; <br> yes</p>"),
    ],
)  # fmt: skip
def test_it_reads_as_it_is_meant(reader: Any, text: str, html: str) -> None:
    assert shown(reader, text) == html


def test_what_comes_piece_by_piece_ends_as_what_comes_whole(reader: Any) -> None:
    parts = [
        "*",
        "**",
        "_",
        "`",
        "```",
        "~~",
        "[",
        "](",
        "https://a.b",
        ")",
        "|",
        "|-|-|",
        "- ",
        "1. ",
        "> ",
        "# ",
        "\n",
    ]
    parts += [
        "\n\n",
        "  ",
        "    ",
        "word",
        "two words",
        "\\",
        "<",
        "&amp;",
        "$$",
        "\\(",
        "---",
        "===",
        "[x] ",
        "!",
        "é",
        "<br>",
    ]
    draw = random.Random(20)
    texts = ["".join(draw.choice(parts) for _ in range(draw.randrange(4, 60))) for _ in range(400)]
    texts += [" ".join(draw.choice(parts) for _ in range(1500)) for _ in range(4)]
    for text in texts:
        whole = shown(reader, text)
        assert shown(reader, text, draw.choice((1, 2, 3, 7)) * (1 + len(text) // 500)) == whole, text


def test_what_is_not_closed_yet_is_shown_as_it_will_be(reader: Any) -> None:
    begun = """text => {
      const root = document.createElement("div");
      new Markdown(root).update(text, false);
      return root.innerHTML;
    }"""
    for text, html in {
        "so **bol": "<p>so <strong>bol</strong></p>",
        "so **bold*": "<p>so <strong>bold</strong></p>",
        "so `cod": "<p>so <code>cod</code></p>",
        "so [text](https://a": '<p>so <span class="unlinked">text</span></p>',
        "so\n-": "<p>so</p>",
        "so\n``": "<p>so</p>",
        "so\n\n| a | b |\n|--": "<p>so</p><p></p>",
        "2 * 3": "<p>2 * 3</p>",
    }.items():
        assert reader.evaluate(begun, text) == html, text


GROWING = {
    "prose": "Some words, and more of them. ",
    "marked": "**a** `b` [c](https://d.e) *f* ",
    "stars": "*a ",
    "mixed stars": "*a **b ",
    "brackets": "[",
    "pictures": "![a](",
    "links": "[a](b ",
    "titles": '[a](b "',
    "dollars": "$$",
    "addresses": "<http://",
    "entities": "&amp",
    "quotations": ">",
    "rows": "|x|y|\n",
    "code": "a line of code\n",
    "items": "- item\n",
    "parentheses": ")",
    "ticks": "`a ``b ",
}


@pytest.mark.parametrize("name", GROWING)
def test_the_work_grows_as_the_text_does(reader: Any, name: str) -> None:
    """Counted, not timed: nodes made and characters looked at while a text grows in steps of the same size."""
    count = """([text, step]) => {
      let work = 0;
      const special = InlineReader.prototype.special, add = InlineReader.prototype.add, line = Markdown.prototype.line;
      InlineReader.prototype.special = function (char) { work += 1; return special.call(this, char); };
      InlineReader.prototype.add = function (node) { work += 1; return add.call(this, node); };
      Markdown.prototype.line = function (raw) { work += raw.length / 100; return line.call(this, raw); };
      try {
        const markdown = new Markdown(document.createElement("div"));
        for (let i = step; i < text.length; i += step) markdown.update(text.slice(0, i), false);
        markdown.update(text, true);
      } finally {
        Object.assign(InlineReader.prototype, { special, add });
        Markdown.prototype.line = line;
      }
      return work;
    }"""
    head = {"rows": "|a|b|\n|-|-|\n", "code": "```\n", "parentheses": "http://a/"}.get(name, "")
    piece = GROWING[name]

    def work(length: int) -> float:
        found: float = reader.evaluate(count, [head + piece * (length // len(piece)), 100])
        return found

    assert work(48_000) < 2.6 * work(24_000) + 5_000


ATTACKS = [
    "<script>hit()</script>",
    "<img src=x onerror=hit()>",
    "<svg/onload=hit()>",
    "<svg><script>hit()</script></svg>",
    '<iframe srcdoc="<script>parent.hit()</script>"></iframe>',
    "<style>@import 'http://evil.test/x.css'</style>",
    "<link rel=stylesheet href=http://evil.test/x.css>",
    "<base href=http://evil.test/>",
    "<meta http-equiv=refresh content='0;url=http://evil.test/'>",
    "<form action=http://evil.test/><button>x</button></form>",
    "<math><mtext><table><mglyph><style><img src=x onerror=hit()>",
    "</div></article><script>hit()</script>",
    "<noscript><p title='</noscript><img src=x onerror=hit()>'>",
    "[a](javascript:hit())",
    "[a](JaVaScRiPt:hit())",
    "[a]( javascript:hit())",
    "[a](<javascript:hit()>)",
    "[a](java\tscript:hit())",
    "[a](javascript&colon;hit())",
    "[a](&#106;avascript:hit())",
    "[a](\x01javascript:hit())",
    "[a](data:text/html,<script>parent.hit()</script>)",
    "[a](vbscript:hit())",
    "[a](file:///etc/passwd)",
    "[a](blob:http://evil.test/x)",
    "[a](//evil.test/x)",
    "[a](/v1/models)",
    "[a](https://evil.test\" onmouseover=\"hit())",
    '[a](https://evil.test "x" onmouseover="hit()")',
    "[a](https://evil.test 'x\" onmouseover=\"hit()')",
    "[<img src=x onerror=hit()>](https://evil.test)",
    "![a](http://evil.test/x.png)",
    '![a](x"onerror="hit())',
    "![a](javascript:hit())",
    "<javascript:hit()>",
    "<https://evil.test/\"onmouseover=hit()>",
    "```<img src=x onerror=hit()>\n<img src=x onerror=hit()>\n```",
    "```html\n</code></pre><script>hit()</script>\n```",
    "`<script>hit()</script>`",
    "# <img src=x onerror=hit()>",
    "| <script>hit()</script> | b |\n|---|---|\n| [a](javascript:hit()) | <img src=x onerror=hit()> |",
    "- <img src=x onerror=hit()>\n> <script>hit()</script>",
    "$$<img src=x onerror=hit()>$$",
    "&lt;script&gt;hit()&lt;/script&gt;",
    "<br onclick=hit()>",
    "<think><img src=x onerror=hit()></think><script>hit()</script>",
]  # fmt: skip
HARMLESS = {
    "A", "BLOCKQUOTE", "BR", "BUTTON", "CODE", "DETAILS", "DIV", "EM", "H1", "H2", "HR", "LI", "OL", "P", "PRE", "S",
    "SPAN", "STRONG", "SUMMARY", "SVG", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR", "UL", "USE",
}  # fmt: skip


def assert_harmless(chat: Any) -> None:
    """No element, attribute or address that could act; `check` looks at the policy's complaints and at requests."""
    found = chat.page.evaluate(
        """() => [...document.querySelectorAll("article *, #list *, #title, #toast *, #notices *")].map((node) => [
          node.tagName.toUpperCase(), [...node.attributes].map((one) => one.name), node.getAttribute("href") ?? ""])"""
    )
    assert found
    for tag, attributes, address in found:
        assert tag in HARMLESS | {"SECTION", "SMALL", "H2"}, tag
        assert not any(name.startswith("on") or name in ("style", "src", "srcdoc", "action") for name in attributes)
        assert re.match(r"https?:|mailto:|#|$", address), address
    assert chat.page.evaluate("violations") == []


def test_nothing_in_an_answer_or_a_question_acts(chat: Any) -> None:
    together = "\n\n".join(ATTACKS)
    # Once in small pieces, so that every half of an attack is shown too; once each by itself.
    chat.answer_with(*[together[i : i + 3] for i in range(0, len(together), 3)])
    chat.ask(together)
    chat.wait_answered()
    assert_harmless(chat)
    for attack in ATTACKS[::3]:
        chat.answer_with(attack)
        chat.page.keyboard.press("Control+k")
        chat.ask(attack)
        chat.wait_answered()
    assert_harmless(chat)
    for link in chat.page.locator("article a").all():
        link.hover()
    chat.page.reload()
    chat.page.locator("article").first.wait_for()
    assert_harmless(chat)


def test_nothing_in_an_error_acts(chat: Any) -> None:
    chat.refuse_with(400, "<img src=x onerror=hit()> [a](javascript:hit())")
    chat.ask("Hello")
    chat.wait_answered()
    assert (
        chat.answers.get_by_role("alert").locator("p").inner_text() == "<img src=x onerror=hit()> [a](javascript:hit())"
    )
    assert_harmless(chat)


def test_code_is_copied_as_it_is(new_page: Any, real_server: Any) -> None:
    chat = new_page(permissions=["clipboard-read", "clipboard-write"]).open()
    code = 'def f():\n\n    return "<b>"  # x'
    chat.answer_with("Look:\n\n```python\n", code, "\n```\n\nDone.")
    chat.ask("Code.")
    chat.wait_answered()
    chat.page.get_by_role("button", name="Copy code").click()
    assert chat.page.evaluate("navigator.clipboard.readText()") == code
    chat.answers.get_by_role("button", name="Copy message").click()
    assert chat.page.evaluate("navigator.clipboard.readText()") == f"Look:\n\n```python\n{code}\n```\n\nDone."
