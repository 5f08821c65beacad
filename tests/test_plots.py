import re
from xml.etree import ElementTree

import numpy as np
import pytest

from apiece.plots import HEIGHT, LEFT, RIGHT, WIDTH, svg_plot


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{svg}</div>")


def path(svg: str, kind: str, number: int = 0) -> str:
    return [p.get("d", "") for p in parsed(svg).iter("path") if p.get("class", "").startswith(kind)][number]


def points(drawn: str) -> np.ndarray:
    return np.array([[float(x), float(y)] for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", drawn)])


def written(svg: str) -> list[str]:
    return [text.text or "" for text in parsed(svg).iter("text")]


def test_larger_values_lie_further_right_and_higher_and_all_in_the_picture():
    drawn = points(path(svg_plot({"a": ([0, 1, 5], [2, 3, 3.5])}, "x", "y"), "line"))
    assert (np.diff(drawn[:, 0]) > 0).all() and (np.diff(drawn[:, 1]) < 0).all()
    assert drawn[:, 0].min() > LEFT and drawn[:, 0].max() < WIDTH - RIGHT and drawn[:, 1].max() < HEIGHT
    assert (drawn[2, 0] - drawn[0, 0]) == pytest.approx(5 * (drawn[1, 0] - drawn[0, 0]), abs=0.5)


def test_decades_are_equally_high_on_a_logarithmic_axis():
    svg = svg_plot({"a": ([1, 2, 3, 4], [1, 10, 100, 0])}, "x", "y", log=True)
    drawn = points(path(svg, "line"))
    assert len(drawn) == 3
    assert np.diff(drawn[:, 1])[0] == pytest.approx(np.diff(drawn[:, 1])[1], abs=0.2)
    assert {"1", "10", "100"} <= set(written(svg))


def test_what_is_not_finite_breaks_a_line_and_a_point_alone_is_a_dot():
    svg = svg_plot({"a": ([0, 1, 2, 3, 4, 5], [1, 1, np.nan, 1, np.inf, 1])}, "x", "y")
    drawn = path(svg, "line")
    assert drawn.count("M") == 3 and drawn.count("L") == 1 and drawn.count("h0") == 2


def test_a_long_line_stays_short_in_the_file_and_keeps_its_peaks():
    y = np.zeros(200_000)
    y[[777, 150_000]] = 5, -3
    svg = svg_plot({"a": (np.arange(len(y)), y)}, "x", "y")
    assert len(svg) < 60_000
    down = points(path(svg, "line"))[:, 1]
    high, low = points(path(svg_plot({"a": ([0, 1], [5, -3])}, "x", "y"), "line"))[:, 1]
    assert down.min() == high and down.max() == low


def test_points_that_cover_each_other_are_drawn_once():
    drawn = path(svg_plot({"a": ([1, 1, 2] * 1000, [3, 3, 4] * 1000)}, "x", "y", marks="points"), "points")
    assert drawn.count("h0") == 2


def test_each_series_has_its_look_and_its_name():
    svg = svg_plot({f"run {n}": ([0, 1], [n, n]) for n in range(20)}, "x", "y")
    lines = [p for p in parsed(svg).iter("path") if p.get("class", "").startswith("line") and p.get("d", "")[0] == "M"]
    looks = {(line.get("class"), line.get("stroke-dasharray")) for line in lines}
    assert len(looks) == 20
    assert [span[0].tail for span in parsed(svg).iter("span")] == [f"run {n}" for n in range(20)]


def test_names_and_labels_are_shown_not_interpreted():
    svg = svg_plot({'<b>&"': ([0], [0])}, "<i>", 'a"b')
    assert "<b>" not in svg and "<i>" not in svg
    assert written(svg)[-2:] == ["<i>", 'a"b'] and next(parsed(svg).iter("span"))[0].tail == '<b>&"'


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(
    ("x", "y"),
    [
        ([], []),
        ([5], [3]),
        ([0, 1], [0, 0]),
        ([1e6, 1e6 + 1], [1e-9, 3e-9]),
        ([1, 2], [-1e300, 1e300]),
        ([1], [np.nan]),
    ],
)
def test_ticks_differ_whatever_the_range(x: list[float], y: list[float], log: bool):
    labels = written(svg_plot({"a": (x, y)}, "", "", log=log))[:-2]
    assert len(labels) >= 4
    heights = [text.get("y") for text in parsed(svg_plot({"a": (x, y)}, "", "", log=log)).iter("text")][:-2]
    assert len(set(zip(labels, heights, strict=True))) == len(labels)
    assert svg_plot({}, "x", "y", log=log).startswith("<svg")


def test_shares_go_from_nothing_to_one_whatever_the_values():
    labels = written(svg_plot({"a": ([0, 1], [0.4, 0.45])}, "x", "y", shares=True))
    assert {"0", "0.2", "1"} <= set(labels)
    assert "0.2" not in written(svg_plot({"a": ([2, 3], [0.4, 0.45])}, "x", "y"))
