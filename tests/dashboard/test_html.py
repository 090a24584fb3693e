"""Pages escape everything; what would be obeyed can't be written."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payonce.books.words import Figures
from payonce.dashboard import assets
from payonce.dashboard.asking import fields_of, link
from payonce.dashboard.html import ROOT, document, fragment, h
from payonce.dashboard.overview import SPANS, Overview
from payonce.dashboard.overview_page import overview_page
from payonce.wording import safe

TEXTS = st.text(st.characters(codec="utf-8")) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "</td></table><h1>",
        "&lt;b&gt;",
        "'",
        "]]>",
        "<!--",
    ]
)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: bytes) -> _Reader:
    reader = _Reader()
    reader.feed(page.decode())
    reader.close()
    return reader


@given(TEXTS, TEXTS, TEXTS)
def test_any_text_is_read_back_as_text(text: str, title: str, more: str) -> None:
    found = read(fragment(h("p", text, h("code", more), title=title)))
    assert [tag for tag, _ in found.tags] == ["p", "code"]
    assert found.tags[0][1] == {"title": safe(title)}
    assert found.text == safe(text) + safe(more)


@given(st.lists(st.tuples(st.sampled_from(["p", "div", "li", "td"]), TEXTS), max_size=8))
def test_any_tree_has_the_elements_that_were_built_and_no_others(parts: list[tuple[str, str]]) -> None:
    tree = h("div", [h(tag, text) for tag, text in parts])
    assert [tag for tag, _ in read(document(tree)).tags] == ["div", *(tag for tag, _ in parts)]


LINKS = ("href", "src", "action", "hx_get", "formaction")
LED_AWAY = (
    "javascript:alert(1)",
    "https://evil.example/",
    "//evil.example",
    "/other",
    "data:text/html,x",
    "",
    ROOT + "/x",
)


@pytest.mark.parametrize(
    "attributes",
    [{"onclick": "x"}, {"on_load": "x"}, {"style": "color: red"}, {"srcdoc": "x"}]
    + [{name: text} for name in LINKS for text in LED_AWAY],
)
def test_what_would_be_obeyed_or_lead_away_is_refused(attributes: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"obeyed|leads out"):
        h("a", **attributes)


@pytest.mark.parametrize("tag", ["script", "style"])
def test_scripts_and_styles_come_as_files_only(tag: str) -> None:
    with pytest.raises(ValueError, match="obeyed"):
        h(tag, "text")


@given(
    st.dictionaries(
        st.sampled_from(["model", "tag", "key"]), st.text(st.characters(codec="utf-8"), min_size=1, max_size=99)
    )
)
def test_a_link_carries_any_value(query: dict[str, str]) -> None:
    address = link("entries", **query)
    h("a", href=address)
    assert fields_of(address.partition("?")[2]) == query


def test_a_query_is_bounded() -> None:
    assert fields_of("&".join(f"n{n}=1" for n in range(1000))) == {}
    assert len(fields_of("x=" + "y" * 10_000)["x"]) == 400


def test_the_vendored_files_are_those_that_the_dependencies_page_names() -> None:
    folder = Path(assets.__file__).parent
    page = (Path(__file__).parents[2] / "docs/design/dependencies.md").read_text()
    named = dict(re.findall(r"\| `([\w.]+)` \| .*? \| `([0-9a-f]{64})` \|", page))
    assert set(named) == {"htmx.js", "uplot.js", "uplot.css"}
    assert {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in named} == named
    assert {path.name for path in folder.glob("*.LICENSE.txt")} == {"htmx.LICENSE.txt", "uplot.LICENSE.txt"}


def test_no_file_of_ours_names_another_origin() -> None:
    folder = Path(assets.__file__).parent
    for name in ("dashboard.css", "dashboard.js"):
        assert not re.search(r"https?://|//\w+\.\w+/|@import|url\(", (folder / name).read_text().replace("// ", ""))


@pytest.mark.parametrize(
    ("avoided", "estimated", "said"),
    [
        (5_000_000, 0, "$0.005000 by answers from the cache"),
        (5_000_000, 5_000_000, "$0.005000 by answers from the cache, by price"),
        (5_000_000, 2_000_000, "$0.005000 by answers from the cache, $0.002000 of it by price"),
    ],
)
def test_the_overview_says_what_of_the_saved_money_was_worked_out_by_price(
    avoided: int, estimated: int, said: str
) -> None:
    total = Figures(requests=2, hits=1, avoided_nano=avoided, avoided_estimated=estimated)
    page = overview_page(Overview(SPANS["1h"], 0.0, total, (), {}, (), (), ()))
    reader = _Reader()
    reader.feed(fragment(*page.body).decode())
    assert f"{said}$" in reader.text, "and what prompt caching saved comes next"
