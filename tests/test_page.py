import io
import re
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
from PIL import Image

from apiece.page import POLICY, Page
from apiece.png import png_bytes

VOID = {"meta", "img", "path", "br"}


class Reader(HTMLParser):
    """Collects elements and text, and fails on elements that do not close."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str):
        assert self.open.pop() == tag

    def handle_data(self, data: str):
        self.texts.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def full_page() -> Page:
    page = Page("A <title> & more")
    page.heading("Head <1>")
    page.text("<script>alert(1)</script>", "two\nlines")
    page.table([["a<b", 0.123456, 3, None], ["c", float("nan"), 4, True]], ["name", "score", "count", "x"])
    page.figure(np.zeros((4, 6, 3), np.uint8), 'cap "tion" <i>')
    page.figures([(np.full((500, 500), 7, np.uint8), ""), (png_bytes(np.ones((3, 3, 3), np.uint8)), "second")])
    page.plot({"loss": ([1, 2, 3], [3, 2, 1])}, "step", "loss", log=True, caption="curve")
    page.scatter({"cars": ([1, 2], [3, 4])}, "size", "margin")
    return page


def test_a_page_loads_nothing_and_runs_nothing():
    html = full_page().html()
    reader = Reader(html)
    tags = {tag for tag, _ in reader.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in reader.elements:
        assert not [name for name in attributes if name.startswith("on") or name in ("href", "srcset", "style")]
        assert "src" not in attributes or (attributes["src"] or "").startswith("data:image/png;base64,")
    assert "url(" not in html and "@import" not in html and "http" not in html.replace("http-equiv", "")
    policies = [meta["content"] for meta in reader.all("meta") if meta.get("http-equiv")]
    assert policies == [POLICY] and POLICY.startswith("default-src 'none'")


def test_all_text_is_shown_as_it_is():
    texts = Reader(full_page().html()).texts
    for text in ("A <title> & more", "Head <1>", "<script>alert(1)</script>", "two\nlines", "a<b", 'cap "tion" <i>'):
        assert text in texts


def test_numbers_stand_right_and_what_is_missing_is_a_dash():
    html = full_page().html()
    assert re.findall(r'<td class="number">(.*?)</td>', html) == ["0.1235", "3", "–", "–", "4"]
    assert re.findall(r'<th( class="number")?>(\w+)<', html) == [
        ("", "name"),
        (' class="number"', "score"),
        (' class="number"', "count"),
        ("", "x"),
    ]


def test_pictures_are_in_the_page_pixel_by_pixel():
    page, picture = Page("t"), np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    page.figure(picture, "c")
    (image,) = Reader(page.html()).all("img")
    data = b64decode((image["src"] or "").split(",")[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)
    assert (image["width"], image["height"], image["alt"]) == ("18", "14", "c")


def test_a_large_picture_keeps_its_own_size():
    page = Page("t")
    page.figure(np.zeros((10, 800), np.uint8))
    (image,) = Reader(page.html()).all("img")
    assert (image["width"], image["height"], image["class"]) == ("800", "10", "large")


def test_a_page_fits_phones_paper_and_dark_rooms():
    html = full_page().html()
    assert "width=device-width" in html and "@media print" in html and "prefers-color-scheme: dark" in html


def test_figures_can_have_the_same_decimals_and_a_table_can_be_folded():
    page = Page("t")
    page.table([["a", 0.5, 18.25, 3]], decimals=4, folded="All <classes>")
    html = page.html()
    assert re.findall(r'<td class="number">(.*?)</td>', html) == ["0.5000", "18.2500", "3"]
    assert "<details><summary>All &lt;classes&gt;</summary>" in html and len(Reader(html).all("table")) == 1


def test_sections_stand_beside_each_other():
    page = Page("t")
    page.text("before")
    with page.columns():
        page.heading("left")
        page.plot({"a": ([0, 1], [0, 1])}, "x", "y")
        page.chart("<svg></svg>", "chart")
        page.heading("right")
        page.drawing("<svg></svg>", "drawing")
    page.heading("after")
    html = page.html()
    Reader(html)
    inside = html.split('<div class="grid pairs">')[1].split("<h2>after")[0]
    assert inside.count("<div>") == 2 and inside.index("chart") < inside.index("<div><h2>right") < inside.index(
        "drawing"
    )


def test_a_jpeg_has_its_own_type_and_size():
    file, page = io.BytesIO(), Page("t")
    Image.new("RGB", (500, 30)).save(file, "JPEG")
    page.figure(file.getvalue())
    (image,) = Reader(page.html()).all("img")
    assert (image["src"] or "").startswith("data:image/jpeg;base64,") and (image["width"], image["height"]) == (
        "500",
        "30",
    )


def test_a_table_without_rows_or_without_header():
    page = Page("t")
    page.table([], ["a", "b"])
    page.table([[1, 2]])
    reader = Reader(page.html())
    assert len(reader.all("th")) == 2 and len(reader.all("td")) == 2


def test_a_written_page_is_the_page(tmp_path: Path):
    page = full_page()
    page.write(tmp_path / "new" / "page.html")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8") == page.html()
