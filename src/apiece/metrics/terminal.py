"""Tables on the terminal: as wide as it is, in color only there."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from apiece.metrics.sheets import Sheet

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MANY = 20
"""From more classes on only their main figure is shown, in several columns."""
PIPED = 160
"""Width where there is no terminal."""
GAP = 2


def written(lines: Sequence[str], tables: Sequence[Sheet], width: int | None = None) -> str:
    """Lines and tables as text: in color where standard output is a terminal, plain where it is piped.

    A table that is wider than the terminal goes on beneath, with its first column again.

    Args:
        width: characters in a line; by default the terminal's.
    """
    from rich.console import Console

    # Not for notebooks: rich would show the text there and then.
    console = Console(width=width, highlight=False, markup=False, emoji=False, force_jupyter=False)
    if width is None and not console.is_terminal:
        console.width = PIPED
    with console.capture() as captured:
        for line in lines:
            console.print(line)
        for sheet in tables:
            _show(console, sheet)
    text = captured.get().splitlines()
    return "\n".join(text if console.is_terminal else (line.rstrip() for line in text))


def _show(console: "Console", sheet: Sheet) -> None:
    from rich.text import Text

    lines, head, note = sheet.lines, sheet.head, sheet.note
    if sheet.main is not None and len(lines) > MANY:
        lines, head = _side_by_side(sheet, console.width)
        note = f"The {sheet.main} of each class; all its figures are in the JSON and on the page."
    console.print(Text(f"\n{sheet.title}", "bold"))
    texts = [[_cell(value) for value in line] for line in lines]
    left = [bool(lines) and all(isinstance(line[i], str) for line in lines) for i in range(len(head))]
    for chosen in _parts(head, texts, console.width, 1 if left[0] else 0):
        table = _table()
        for column in chosen:
            table.add_column(head[column], justify="left" if left[column] else "right")
        for line in texts:
            table.add_row(*(line[column] for column in chosen))
        console.print(table)
    if note:
        console.print(Text(note, "yellow"))


def _table() -> "Table":
    from rich.table import Table

    return Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="cyan", show_edge=False)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _side_by_side(sheet: Sheet, width: int) -> tuple[list[list[Any]], tuple[str, ...]]:
    """Each class with its main figure, as many beside each other as the terminal is wide, downwards first."""
    place = sheet.head.index(sheet.main or "")
    pairs = [[line[0], line[place]] for line in sheet.lines]
    name = max(len(str(pair[0])) for pair in pairs)
    figure = max(len(sheet.head[place]), *(len(_cell(pair[1])) for pair in pairs))
    columns = max(1, min((width + GAP) // (name + figure + 2 * GAP), 6))
    rows = math.ceil(len(pairs) / columns)
    pairs += [["", ""]] * (rows * columns - len(pairs))
    lines = [[value for column in range(columns) for value in pairs[column * rows + row]] for row in range(rows)]
    return [[_cell(value) for value in line] for line in lines], (sheet.head[0], sheet.head[place]) * columns


def _parts(head: Sequence[str], texts: Sequence[Sequence[str]], width: int, names: int) -> Iterator[list[int]]:
    """Which columns stand beside each other: all if they fit, else as many as do, each time with the first `names`."""
    widths = [max(len(cell) for cell in column) + GAP for column in zip(head, *texts, strict=True)]
    chosen: list[int] = []
    for column in range(len(head)):
        if len(chosen) > names and sum(widths[i] for i in chosen) + widths[column] - GAP > width:
            yield chosen
            chosen = list(range(names))
        chosen.append(column)
    yield chosen
