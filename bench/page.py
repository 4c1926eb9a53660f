"""The pages on performance: the parts of them that benchmarks write, between two markers each."""

from collections.abc import Sequence
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "docs"

PERFORMANCE = DIRECTORY / "performance.md"
HISTORY = DIRECTORY / "performance-history.md"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Make a table in Markdown: the first column is text, the others are figures."""
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def replace(part: str, text: str, page: Path = PERFORMANCE) -> None:
    """Put text between the markers of a part of a page.

    Raises:
        SystemExit: they are not there.
    """
    begin, end = f"<!-- {part}:begin -->\n", f"<!-- {part}:end -->"
    whole = page.read_text()
    before, found, rest = whole.partition(begin)
    _, also_found, after = rest.partition(end)
    if not found or not also_found:
        raise SystemExit(f"{page} has no {begin.strip()} and {end}: put them where the part goes")
    page.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")
