import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apiece.histograms import Histogram, svg_histograms


def parts(svg):
    """The drawings as XML; they must be well formed."""
    return ElementTree.fromstring(f"<x>{svg}</x>")


def bars(drawing):
    return [{key: float(value) for key, value in bar.attrib.items() if key != "class"} for bar in drawing.iter("rect")]


def texts(drawing):
    return [text.text for text in drawing.iter("text")]


def test_columns_are_as_high_as_there_are_objects():
    edges, counts = 2.0 ** np.arange(5), np.array([10, 0, 5, 1000])
    drawing = parts(svg_histograms([Histogram("Size <of> objects", edges, counts, "px & more", "objects")]))
    heights = [bar["height"] for bar in bars(drawing)]
    assert heights[3] > 140 and heights[1] == 0
    # Few are still to be seen beside many.
    assert heights[0] == pytest.approx(max(1.5, heights[3] / 100), abs=0.06) and heights[2] >= 1.5
    left = [bar["x"] for bar in bars(drawing)]
    assert np.allclose(np.diff(left), left[1] - left[0], atol=0.11)
    words = [title.text for title in drawing.iter("title")]
    assert words == ["1 to 2: 10 objects", "2 to 4: 0 objects", "4 to 8: 5 objects", "8 to 16: 1,000 objects"]
    assert {"Size <of> objects", "px & more", "1", "10", "1000"} <= set(texts(drawing))


def test_shares_are_written_as_percentages():
    drawing = parts(svg_histograms([Histogram("x", np.linspace(0, 1, 11), np.arange(10), "y", "images", True)]))
    assert {"0 %", "20 %", "100 %"} <= set(texts(drawing))


def test_marks_stand_where_their_value_is():
    edges = 2.0 ** np.arange(5)
    histogram = Histogram("x", edges, np.ones(4, int), "px", "objects", marks={"half": 4.0})
    drawing = parts(svg_histograms([histogram]))
    line = next(path for path in drawing.iter("path") if "stroke-dasharray" in path.attrib)
    place = re.match(r"M([\d.]+)", line.attrib["d"])
    assert place is not None and float(place[1]) == pytest.approx(bars(drawing)[2]["x"], abs=0.11)
    assert "half" in texts(drawing)


def test_a_histogram_without_counts_is_left_out():
    empty = Histogram("empty", np.zeros(1), np.zeros(0, int), "x", "y")
    full = Histogram("full", np.array([1.0, 2.0]), np.array([1]), "x", "y")
    assert [texts(one)[0] for one in parts(svg_histograms([empty, full]))] == ["full"]


@settings(max_examples=80, deadline=None)
@given(low=st.floats(-18, 30), octaves=st.floats(0.03, 20), most=st.integers(1, 10**9))
def test_any_range_has_some_ticks_and_any_count_some_lines(low, octaves, most):
    edges = 2.0 ** np.linspace(low, low + octaves, 4)
    drawing = parts(svg_histograms([Histogram("x", edges, np.array([most, 0, 1]), "y", "z")]))
    across = [text for text in drawing.iter("text") if text.attrib.get("y") == "203"]
    up = [text for text in drawing.iter("text") if text.attrib.get("text-anchor") == "end"]
    assert 2 <= len(across) <= 12 and 2 <= len(up) <= 6
    assert all(50 <= float(text.attrib["x"]) <= 335 for text in across)
