"""The page on performance: the parts of it that benchmarks write, between two markers each."""

from collections.abc import Sequence
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "docs"

_PAGE = DIRECTORY / "performance.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a table in Markdown: the first column is text, the others are figures."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def replace(part: str, text: str) -> None:
    """Put text between the markers of a part of the page.

    Raises:
        SystemExit: they are not there.
    """
    begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->"
    whole = _PAGE.read_text()
    before, found, rest = whole.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise SystemExit(f"{_PAGE} has no {begin.strip()} and {end}: put them where the part goes")
    _PAGE.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")
