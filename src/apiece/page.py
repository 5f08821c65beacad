"""One self-contained HTML page: text, tables, pictures and plots. It loads nothing from anywhere and runs no script."""

import math
import struct
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from apiece.files import write_text
from apiece.plots import Curve, svg_plot
from apiece.png import SIGNATURE, png_bytes

Picture = UInt8[ndarray, "H W 3"] | UInt8[ndarray, "H W"] | bytes
"""RGB, grey, or the bytes of a PNG or JPEG file."""

SMALL = 400
"""Pictures narrower than this are enlarged pixel by pixel, not blurred."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2024; --paper: #fff; --faint: #667; --line: #d8dbe0; --stripe: #f4f5f7;
  --s0: #0b62a8; --s1: #c8500a; --s2: #1a7f4b; --s3: #8a3fb5; --s4: #b3261e; --s5: #00808a;
  --s6: #8a6d00; --s7: #5b6472; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --paper: #15181c; --faint: #9aa3ad; --line: #363c44;
  --stripe: #1d2126; --s0: #63b1f2; --s1: #ff9a57; --s2: #57c98b; --s3: #cf97f0; --s4: #ff8a80; --s5: #4fd0d8;
  --s6: #dfbf4a; --s7: #aab4c0; } }
@media print { :root { color-scheme: light; --ink: #000; --paper: #fff; --faint: #444; --line: #bbb; --stripe: #f4f4f4;
  --s0: #0b62a8; --s1: #c8500a; --s2: #1a7f4b; --s3: #8a3fb5; --s4: #b3261e; --s5: #00808a;
  --s6: #8a6d00; --s7: #5b6472; }
  figure, tr { break-inside: avoid; } h1, h2 { break-after: avoid; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 3rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 0; }
p { max-width: 44rem; white-space: pre-line; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: left; border-bottom: 1px solid var(--line); }
th { border-bottom: 2px solid var(--line); } tr:nth-child(even) td { background: var(--stripe); }
.number { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; } figcaption { color: var(--faint); font-size: .9rem; }
img { display: block; max-width: 100%; height: auto; } .small { image-rendering: pixelated; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); }
.grid figure { margin: 0; } .grid img { width: 100%; }
.grid.pairs { grid-template-columns: repeat(auto-fill, minmax(min(100%, 31rem), 1fr)); }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--faint); }
.plot { max-width: 40rem; } svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg path { fill: none; }
.axis { stroke: var(--faint); } svg .grid { stroke: var(--line); stroke-width: .7; }
.line { stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.points { stroke-width: 4.5; stroke-linecap: round; stroke-opacity: .65; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; font-size: .9rem; padding-left: 3rem; }
.drawn svg { width: auto; max-width: 100%; } .bar { fill: var(--s0); fill-opacity: .75; } .cell { fill: var(--s0); }
.dots { stroke: var(--s1); stroke-width: 6; stroke-linecap: round; }
svg text.fine { font-size: 9px; } svg text.on { fill: var(--paper); }
.legend span { display: flex; align-items: center; gap: .4rem; } .key { width: 28px; flex: none; }
""" + "".join(f".s{number} {{ stroke: var(--s{number}); }}\n" for number in range(8))

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class Page:
    """A page that grows from top to bottom. All text is plain text: whatever it contains is shown, not interpreted.

    Args:
        title: heading and window title.
    """

    def __init__(self, title: str):
        self.title = title
        self._parts: list[str] = []

    def heading(self, text: str, level: int = 2) -> None:
        """A heading of a section (2) or of a part of one (3)."""
        self._parts.append(f"<h{level}>{escape(text)}</h{level}>")

    def text(self, *paragraphs: str) -> None:
        """Paragraphs; line breaks in them are kept."""
        self._parts += [f"<p>{escape(paragraph)}</p>" for paragraph in paragraphs]

    def table(
        self,
        rows: Iterable[Sequence[Any]],
        header: Sequence[str] = (),
        *,
        decimals: int | None = None,
        folded: str = "",
    ) -> None:
        """A table. Numbers stand on the right; None and NaN are a dash.

        Args:
            decimals: of floats; by default they have four digits.
            folded: words to click on to see the table.
        """
        style = ".4g" if decimals is None else f".{decimals}f"
        cells = [[_cell(value, style) for value in row] for row in rows]
        numeric = [
            all(cell.startswith('<td class="number">') for cell in column) for column in zip(*cells, strict=True)
        ]
        kinds = [' class="number"' if right else "" for right in numeric] or [""] * len(header)
        head = "".join(f"<th{kind}>{escape(name)}</th>" for kind, name in zip(kinds, header, strict=False))
        body = "".join(f"<tr>{''.join(row)}</tr>" for row in cells)
        head = f"<thead><tr>{head}</tr></thead>" if head else ""
        table = f'<div class="wide"><table>{head}<tbody>{body}</tbody></table></div>'
        self._parts.append(f"<details><summary>{escape(folded)}</summary>{table}</details>" if folded else table)

    def figure(self, picture: Picture, caption: str = "") -> None:
        """A picture in its own size, small ones doubled; never wider than the page."""
        self._parts.append(_figure(picture, caption))

    def figures(self, pictures: Iterable[tuple[Picture, str]], *, pairs: bool = False) -> None:
        """Pictures with captions side by side, as many as the page is wide; `pairs`: each is two pictures wide."""
        inside = "".join(_figure(picture, caption) for picture, caption in pictures)
        self._parts.append(f'<div class="grid{" pairs" * pairs}">{inside}</div>')

    @contextmanager
    def columns(self) -> Iterator[None]:
        """What is added in the block stands in columns, where the page is wide enough; each heading begins one."""
        before, self._parts = self._parts, []
        try:
            yield
        finally:
            cells: list[list[str]] = [[]]
            for part in self._parts:
                if part.startswith("<h") and cells[-1]:
                    cells.append([])
                cells[-1].append(part)
            inside = "".join(f"<div>{''.join(cell)}</div>" for cell in cells)
            self._parts = [*before, f'<div class="grid pairs">{inside}</div>']

    def chart(self, svg: str, caption: str = "") -> None:
        """A chart as wide as a plot."""
        self._parts.append(_plot(svg, caption))

    def drawing(self, svg: str, caption: str = "") -> None:
        """A drawing in its own size; never wider than the page."""
        self._parts.append(f'<figure class="drawn">{svg}{_caption(caption)}</figure>')

    def plot(
        self,
        series: Mapping[str, Curve],
        x_label: str,
        y_label: str,
        *,
        log: bool = False,
        shares: bool = False,
        caption: str = "",
    ) -> None:
        """Lines: for each name x and y. What is not finite breaks a line.

        Args:
            log: a logarithmic y axis.
            shares: y goes from 0 to 1, whatever the values.
        """
        self._parts.append(_plot(svg_plot(series, x_label, y_label, log=log, shares=shares), caption))

    def scatter(
        self, series: Mapping[str, Curve], x_label: str, y_label: str, *, log: bool = False, caption: str = ""
    ) -> None:
        """Points: for each name x and y. `log` makes the y axis logarithmic."""
        self._parts.append(_plot(svg_plot(series, x_label, y_label, log=log, marks="points"), caption))

    def html(self) -> str:
        """The page as it stands."""
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{escape(self.title)}</h1>\n" + "\n".join(self._parts) + "\n</main>\n</body>\n</html>\n"
        )

    def write(self, path: Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            InputError: the file cannot be written.
        """
        write_text(path, self.html())


def _cell(value: Any, style: str) -> str:
    """A cell as HTML; `style` is how floats are written."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return '<td class="number">–</td>'
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape(str(value))}</td>"
    return f'<td class="number">{format(value, style if isinstance(value, float) else "")}</td>'


def _figure(picture: Picture, caption: str) -> str:
    """A picture as HTML."""
    data = picture if isinstance(picture, bytes) else png_bytes(picture)
    kind, (width, height) = _kind_and_size(data)
    scale = 2 if width < SMALL else 1
    image = (
        f'<img class="{"small" if width < SMALL else "large"}" width="{scale * width}" height="{scale * height}" '
        f'alt="{escape(caption, quote=True)}" src="data:image/{kind};base64,{b64encode(data).decode()}">'
    )
    return f"<figure>{image}{_caption(caption)}</figure>"


def _kind_and_size(data: bytes) -> tuple[str, tuple[int, int]]:
    """Format, width and height of a PNG or JPEG file's bytes; a PNG's size stands in its first chunk."""
    if data.startswith(SIGNATURE):
        return "png", struct.unpack(">II", data[16:24])
    from PIL import Image

    with Image.open(BytesIO(data)) as picture:
        return "jpeg", picture.size


def _plot(svg: str, caption: str) -> str:
    return f'<figure class="plot">{svg}{_caption(caption)}</figure>'


def _caption(text: str) -> str:
    return f"<figcaption>{escape(text)}</figcaption>" if text else ""
