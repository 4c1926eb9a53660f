"""How the statistics of a flow are shown: fields, then tables by period, trigger and key."""

import typer

from turnout.router.cli.output import Document, number, show_fields, show_table
from turnout.router.cli.usage import period


def show(found: Document) -> None:
    """Print the statistics of a flow."""
    flow, unit = found["flow"], found["unit"]
    waiting = f", waiting about {flow['wait']:.0f} s" if flow["queued"] else ""
    refused = sum(each["total"] for each in found["refused"])
    show_fields(
        {
            "flow": f"{flow['group']}/{flow['slug']}",
            "now": flow["state"],
            "queued": number(flow["queued"]) + waiting,
            "running": number(flow["running"]),
            "workers": number(flow["workers"]),
            "calls": f"{found['calls']} in {len(found['periods'])} {unit}s",
            "refused": f"{refused} since {found['refused_since'][:10]}",
            "runs": _states(found["runs"]) or "none",
            "durations": _durations(found["durations"]),
        }
    )
    if found["sampled"] is not None:
        typer.echo(
            f"Durations, and what succeeded of each trigger and key: from {found['sampled']} runs, "
            "chosen at random.",
            err=True,
        )
    typer.echo()
    show_table(
        [f"={unit.capitalize()} (UTC)", ">Calls"],
        (
            [period(each, unit), str(calls)]
            for each, calls in zip(found["periods"], found["counts"], strict=True)
            if calls
        ),
        empty="No calls.",
    )
    if found["refused"]:
        typer.echo()
        show_table(
            ["=Refused", ">Calls", "What it means"],
            ([each["code"], str(each["total"]), each["hint"] or "-"] for each in found["refused"]),
            empty="",
        )
    for kind in ("trigger", "key"):
        if parties := found[f"{kind}s"]:
            typer.echo()
            show_table(
                [kind.capitalize(), ">Calls", ">Refused", ">Dead", ">p50", ">p95", ">p99"],
                (_row(each) for each in parties),
                empty="",
            )


def _row(party: Document) -> list[str]:
    durations = party["durations"] or {}
    return [
        party["name"] or party["id"],
        str(party["calls"]),
        str(party["refused"]),
        str(party["runs"].get("dead", 0)),
        *(_seconds(durations.get(each)) for each in ("p50", "p95", "p99")),
    ]


def _states(runs: Document) -> str:
    return ", ".join(f"{count} {state}" for state, count in runs.items())


def _durations(durations: Document | None) -> str:
    if durations is None:
        return "no attempt has ended"
    return ", ".join(f"{name} {_seconds(value)}" for name, value in durations.items())


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:.4g} s"
