"""The documentation as a site: it builds offline, every link leads somewhere, and no page asks another host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from payonce.books.journal import Journal
from payonce.core.directives import NAMES
from payonce.core.header_table import REQUEST, RESPONSE
from payonce.core.labels import Label, headers
from payonce.model import reason as why
from payonce.model.receipt import Outcome

ROOT = Path(__file__).parents[2]
_NOWHERE = "http://127.0.0.1:9"


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of the documents in `folder`, without a way to any other host."""
    environ = {**os.environ, "NO_COLOR": "1", "http_proxy": _NOWHERE, "https_proxy": _NOWHERE}
    return subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


def copied(folder: Path) -> Path:
    shutil.copytree(ROOT / "docs", folder / "docs")
    shutil.copy(ROOT / "zensical.toml", folder)
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copied(tmp_path_factory.mktemp("site"))
    built = build(folder)
    assert built.returncode == 0, built.stdout + built.stderr
    return folder / "build" / "site"


class Page(HTMLParser):
    """What a page links to, what it loads by itself, and the anchors it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev", "alternate"):
            self.loads.append(given.get("href", ""))
        self.loads += [given[name] for name in ("src", "srcset", "data", "poster") if name in given]


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    written = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    named = set(re.findall(r'"([\w/.-]+\.md)"', (ROOT / "zensical.toml").read_text()))
    assert named == written, "a page belongs into the navigation in zensical.toml"
    for page in written:
        html = site / page.replace("README.md", "index.md").replace(".md", ".html")
        assert html.is_file(), page
    tomllib.loads((ROOT / "zensical.toml").read_text())


def test_every_link_inside_leads_to_a_page_and_a_place_on_it(site: Path) -> None:
    pages = {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}
    followed = 0
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            if file.is_dir():
                file = file / "index.html"
            assert file.is_file(), f"{path.name} links to {link}"
            if anchor and file in pages:
                assert unquote(anchor) in pages[file].anchors, f"{path.name} links to {link}"
            followed += 1
    assert followed > 500


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    loaded = 0
    for path in site.rglob("*.html"):
        for source in Page(path).loads:
            assert not re.match(r"(https?:)?//", source), f"{path.name} loads {source}"
            loaded += 1
        assert not re.search(r"@import|url\(['\"]?(https?:)?//", path.read_text())
    assert loaded > 50
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import\s+['\"]?(https?:)?//", sheet.read_text()), sheet.name


def test_an_outside_font_would_be_seen(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    settings = (folder / "zensical.toml").read_text().replace("font = false", 'font.text = "Inter"')
    (folder / "zensical.toml").write_text(settings)
    assert build(folder).returncode == 0
    with pytest.raises(AssertionError, match="loads"):
        test_no_page_loads_anything_from_another_host(folder / "build" / "site")


def test_a_broken_link_would_be_seen(tmp_path: Path) -> None:
    folder = copied(tmp_path)
    (folder / "docs" / "faq.md").write_text("# Questions\n\n[nowhere](not-there.md)\n")
    assert build(folder).returncode != 0


def test_the_table_of_headers_has_every_directive_and_every_label() -> None:
    assert {row.name for row in REQUEST} == {name.decode() for name in NAMES}
    labels = [
        Label(outcome, reason, items=items, source_id="gen-1")
        for outcome in Outcome
        for reason in (None, why.ABSENT)
        for items in (None, (1, 2))
    ]
    said = {name.decode() for label in labels for name, _ in headers(label)}
    filed = {name.decode() for name, _ in Journal(time.time, 1).named(1)}
    assert {row.name for row in RESPONSE} == said | filed | {"x-payonce-error"}
