"""`turnout registry`: all of it into a file, and back."""

import json as json_
import os
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from turnout.router.cli import client
from turnout.router.cli.arguments import Reason, examples
from turnout.router.cli.output import Document, Json, show_json, show_table

app = typer.Typer(
    help="The registry as a whole: back it up, or move it to another environment.",
    no_args_is_help=True,
)

#: Seconds that a very large registry may take.
_PATIENCE = 600.0


@app.command(
    epilog=examples("registry export registry.json", "registry export backup.json --with-secrets")
)
def export(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Where to write it; -: to the standard output.")
    ],
    with_secrets: Annotated[
        bool,
        typer.Option(
            "--with-secrets",
            help="The hashes of keys and the routing keys, too: callers go on as before.",
        ),
    ] = False,
) -> None:
    """Write all groups, flows, API keys, triggers and their limits into a file.

    Without secrets, keys and URLs are made anew where it is imported. Admin tokens are never in it.
    """
    found = client.find().get("registry", "export", secrets=str(with_secrets).lower())
    text = json_.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if file == "-":
        typer.echo(text, nl=False)
    else:
        _write_private(Path(file), text)
        typer.echo(f"Written to {file}, readable for you alone.", err=True)
    if with_secrets:
        typer.echo(
            "It holds the hashes of API keys and all routing keys: keep it like a password.",
            err=True,
        )


@app.command(
    "import",
    epilog=examples(
        "registry import registry.json --dry-run", "registry import registry.json --yes"
    ),
)
def import_(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="What `export` has written; -: reads it here.")
    ],
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    reason: Reason = None,
    json: Json = False,
) -> None:
    """Bring the registry in line with a file: all of it, or nothing if a part is refused.

    What is not in the file stays, and to import it again changes nothing. Keys and URLs that are
    made anew are shown this one time.
    """
    document = _read(file)
    api = client.find()

    def send(*, dry: bool) -> Document:
        answer: Document = api.post(
            "registry",
            "import",
            body=document,
            patience=_PATIENCE,
            dry_run=str(dry).lower(),
            reason=reason,
        )
        return answer

    plan = send(dry=True)
    refused = bool(plan["counts"].get("refused"))
    if not json:
        _show_plan(plan)
    if not (dry_run or refused):
        if plan["items"] and not yes:
            typer.confirm("Import it?", abort=True, err=True)
        plan = send(dry=False)
        if not json:
            _show_made(plan)
    if json:
        show_json(plan)
    if refused:
        raise typer.Exit(1)


def _show_plan(plan: Document) -> None:
    show_table(
        ["=What", "Name", "Why, or which fields"],
        (
            [
                f"{each['action']}\n{each['kind']}",
                f"{each['label']}\n{each['id']}",
                each["refusal"] or ", ".join(each["changes"]) or "-",
            ]
            for each in plan["items"]
        ),
        empty="Nothing to do.",
    )
    counts = ", ".join(f"{count} {action}" for action, count in sorted(plan["counts"].items()))
    typer.echo(counts or "The file is empty.", err=True)
    if plan["counts"].get("refused"):
        typer.echo("Nothing can be imported until nothing is refused.", err=True)


def _show_made(done: Document) -> None:
    """Show what was made, each in one line: it is copied from here."""
    for each in done["items"]:
        for made in filter(None, (each["key"], each["url"])):
            typer.echo(f"{each['label']}\n  {made}")
    if any(each["key"] for each in done["items"]):
        typer.echo("Keep the keys now: they are stored nowhere.", err=True)


def _read(file: str) -> Any:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        document = json_.loads(text)
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from None
    except ValueError as error:
        raise typer.BadParameter(f"{file} is no JSON: {error}", param_hint="FILE") from None
    if not isinstance(document, dict) or document.get("format") != "turnout-registry":
        raise typer.BadParameter(
            f"{file} was not written by `turnout registry export`", param_hint="FILE"
        )
    return document


def _write_private(path: Path, text: str) -> None:
    """Write a file for its owner alone; what was there is whole until all of it is written."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(
            os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        ) as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint="FILE") from None
