"""How commands show what the admin API answered: as JSON, as fields, as a table of 80 columns."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the API's answer as JSON.")]

Document = dict[str, Any]


def tell_more(found: Document) -> None:
    """Say how to go on, where a listing does."""
    if found.get("next_cursor"):
        typer.echo(f"There are more: --cursor {found['next_cursor']}", err=True)


def show_json(document: Document) -> None:
    """Print an answer as it came."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def show_fields(fields: Mapping[str, str]) -> None:
    """Print one thing, a field a line, none of them cut or broken: they are copied from here."""
    width = max(map(len, fields)) + 2
    for name, value in fields.items():
        typer.echo(f"{name:<{width}}" + value.replace("\n", "\n" + " " * width))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, empty: str) -> None:
    """Print a listing; a cell too wide for its column goes on below, nothing is cut.

    Args:
        columns: the headings; those that start with "=" are never broken, nor those with ">",
            which are numbers.
        rows: the cells, as many as columns.
        empty: what is said when there are no rows.
    """
    from rich.console import Console  # noqa: PLC0415 - so that help is instant
    from rich.table import Table  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            Text(column.lstrip("=>")),
            overflow="fold",
            no_wrap=column.startswith(("=", ">")),
            justify="right" if column.startswith(">") else "left",
        )
    for row in rows:
        table.add_row(*map(Text, row))  # Text: names are not markup
    if table.row_count:
        Console().print(table)
    else:
        typer.echo(empty, err=True)


def moment(text: str | None) -> str:
    """Shorten a moment of the API, for example "2027-01-31T09:30:00.123Z", to its minute."""
    return "never" if text is None else f"{text[:10]} {text[11:16]} UTC"


def second(text: str | None) -> str:
    """Shorten a moment of the API to its second, in two short lines."""
    return "-" if text is None else text[:19].replace("T", "\n")


def last_used(thing: Document) -> str:
    """Say when a key or trigger was last used, in two short lines."""
    if thing["calls_today"] is None:
        return "unknown"
    text = thing["last_used_at"]
    return "never" if text is None else f"{text[:10]}\n{text[11:16]} UTC"


def calls_today(thing: Document) -> str:
    """Say how often a key or trigger was used since midnight UTC."""
    return "?" if thing["calls_today"] is None else str(thing["calls_today"])


def usage_fields(thing: Document) -> dict[str, str]:
    """Say both, for one key or trigger."""
    return {
        "last used": last_used(thing).replace("\n", " "),
        "calls today": "unknown" if thing["calls_today"] is None else calls_today(thing),
    }


def number(value: int | None) -> str:
    """Show a number that may not be known."""
    return "?" if value is None else str(value)


def day(text: str | None) -> str:
    """Shorten a moment of the API to its day."""
    return "never" if text is None else text[:10]
