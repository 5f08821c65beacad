import re
from xml.etree import ElementTree

import numpy as np
import pytest

from apiece.charts import BOTTOM, HEIGHT, LEFT, NUMBERED, RIGHT, TOP, WIDTH, svg_bars, svg_columns, svg_matrix


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def rectangles(svg: str, kind: str) -> list[dict[str, float]]:
    found = [one for one in parsed(svg).iter("rect") if one.get("class") == kind]
    return [{key: float(value) for key, value in one.items() if key != "class"} for one in found]


def words(svg: str) -> list[str]:
    return [text.text or "" for text in parsed(svg).iter("text")]


def test_bars_are_as_long_as_their_values_and_stay_in_the_picture():
    values, behind = {"a": 0.1, "much longer name": 0.4, "none": None, "less": -0.2}, ["0.1 (1)", "(22)", "-", "<b>"]
    svg = svg_bars(values, "cost", behind)
    lengths = [bar["width"] for bar in rectangles(svg, "bar")]
    assert lengths[1] == pytest.approx(4 * lengths[0], abs=0.2) and lengths[2:] == [0, 0]
    assert all(bar["x"] + bar["width"] < WIDTH for bar in rectangles(svg, "bar"))
    assert set(behind) <= set(words(svg))
    assert {"0.100", "0.400", "–", "-0.200"} <= set(words(svg_bars(values, "cost")))
    assert len(rectangles(svg_bars({"a": 0.0}, "cost"), "bar")) == 1


def test_counts_are_bars_too_and_one_among_thousands_is_seen():
    counts = {"person": 1200, "a class of a very long name indeed": 3, "rare": 1, "none": 0}
    svg = svg_bars(counts, "objects", [f"{count:,}" for count in counts.values()], width=700)
    widths = [bar["width"] for bar in rectangles(svg, "bar")]
    assert 300 < widths[0] < 700 and widths[1] == pytest.approx(widths[0] * 3 / 1200, abs=0.11) and widths[2:] == [1, 0]
    assert {"person", "1,200", "3", "0"} <= set(words(svg)) and any(text.endswith("…") for text in words(svg))


def test_columns_stand_between_their_edges_and_reach_their_heights():
    edges, heights = np.linspace(0, 1, 5), np.array([0.0, 0.5, np.nan, 1.0])
    svg = svg_columns(edges, heights, ["3", "4", "", "5"], "score", "share", marks=np.array([0.1, 0.3, np.nan, 0.9]))
    bars = rectangles(svg, "bar")
    high = HEIGHT - TOP - BOTTOM
    assert [bar["height"] for bar in bars] == pytest.approx([0, high / 2, 0, high], abs=0.1)
    assert bars[3]["y"] == pytest.approx(TOP) and bars[3]["x"] + bars[3]["width"] < WIDTH - RIGHT
    dots = re.search(r'class="dots" d="(.*?)"', svg)
    assert dots is not None and dots[1].count("h0") == 3
    assert float(dots[1][1:].split()[0]) == pytest.approx(LEFT + 0.1 * (WIDTH - LEFT - RIGHT), abs=0.1)
    assert {"3", "4", "5", "score", "share", "0", "0.25", "1"} <= set(words(svg))


def test_cells_are_darker_the_larger_their_share_and_empty_ones_are_not_drawn():
    svg = svg_matrix(np.array([[9, 1], [0, 3]]), ["cat", "dog"], ["cat", "none"], "true", "found as")
    cells = [one for one in parsed(svg).iter("rect")]
    assert [cell[0].text for cell in cells] == ["cat → cat: 9 (90%)", "cat → none: 1 (10%)", "dog → none: 3 (100%)"]
    opacity = [float(cell.get("fill-opacity", 0)) for cell in cells]
    assert opacity[1] < opacity[0] < opacity[2] == 1
    assert [text for text in words(svg) if text.isdigit()] == ["9", "1", "3"]


def test_large_matrices_have_no_numbers_but_names():
    size = NUMBERED + 30
    names = [f"class {number}" for number in range(size)]
    svg = svg_matrix(np.eye(size, dtype=np.int64), names, names, "true", "found as")
    assert not [text for text in words(svg) if text.isdigit()] and words(svg).count("class 7") == 2
    picture = parsed(svg)
    cells = [(float(one.get("x", 0)), float(one.get("y", 0))) for one in picture.iter("rect")]
    assert len(set(cells)) == size
    width, height = float(picture.get("width", 0)), float(picture.get("height", 0))
    assert max(x for x, _ in cells) < width < 1120 and max(y for _, y in cells) < height


def test_names_are_shown_not_interpreted_and_long_ones_cut():
    name = "<b>&" + "x" * 60
    svg = svg_matrix(np.array([[1]]), [name], [name], "<i>", "b")
    assert "<b>" not in svg and "<i>" not in svg
    assert words(svg)[0] == "<b>&" + "x" * 17 + "…"
    assert "<b>" not in svg_bars({name: 1.0}, "<i>")
