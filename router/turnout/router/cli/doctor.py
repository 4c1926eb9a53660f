"""`turnout doctor`: is everything as it should be, and what is to be done?"""

import asyncio

import typer

from turnout.router.cli.output import Json, show_json, show_table


def doctor(json: Json = False) -> None:
    """Look at broker, Redis, database, permissions, clocks; exit 1 if there is a problem.

    It uses the settings of the router, TURNOUT_INGRESS_AMQP_URL and TURNOUT_WORKER_AMQP_URL, or
    else what `turnout up` says of itself. It changes nothing.
    """
    from turnout.router.doctor import Place, examine  # noqa: PLC0415 - so that help is instant

    findings = asyncio.run(examine(Place.find()))
    is_ill = any(each.level == "problem" for each in findings)
    if json:
        show_json({"ok": not is_ill, "findings": [each._asdict() for each in findings]})
    else:
        show_table(
            ["=", "=Of", "Found"],
            (
                [each.level, each.subject, "\n-> ".join(filter(None, (each.text, each.advice)))]
                for each in findings
            ),
            empty="",
        )
    if is_ill:
        raise typer.Exit(1)
