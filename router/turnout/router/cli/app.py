"""The tree of commands. What a command needs is imported when it runs, so that help is instant."""

from typing import Annotated

import typer

from turnout.router.cli import (
    audit,
    dead,
    doctor,
    events,
    flows,
    groups,
    history,
    keys,
    queues,
    refusals,
    registry,
    replays,
    run_once,
    runs,
    services,
    tokens,
    topology,
    triggers,
    unrouted,
    usage,
)

_REGISTRY = "Registry (through the admin API)"
_ADMIN = "Administration (through the admin API)"
_CALLS = "Calls (through the admin API)"

app = typer.Typer(
    help="Start flows by webhook: each call goes over RabbitMQ to a worker that runs its flow.",
    epilog="The admin API is found by TURNOUT_ADMIN_URL and TURNOUT_ADMIN_TOKEN, or else by the "
    "file .turnout/up.json that `turnout up` writes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
services.add_to(app)
app.command(rich_help_panel="Services")(doctor.doctor)
app.add_typer(groups.app, name="group", rich_help_panel=_REGISTRY)
app.add_typer(flows.app, name="flow", rich_help_panel=_REGISTRY)
app.add_typer(keys.app, name="key", rich_help_panel=_REGISTRY)
app.add_typer(triggers.app, name="trigger", rich_help_panel=_REGISTRY)
app.command(rich_help_panel=_CALLS, epilog=usage.EXAMPLES)(usage.usage)
app.command(rich_help_panel=_CALLS, epilog=run_once.EXAMPLES)(run_once.run_once)
app.add_typer(events.app, name="event", rich_help_panel=_CALLS)
app.add_typer(runs.app, name="run", rich_help_panel=_CALLS)
app.add_typer(history.app, name="history", rich_help_panel=_CALLS)
app.add_typer(queues.app, name="queue", rich_help_panel=_CALLS)
app.add_typer(replays.app, name="replay", rich_help_panel=_CALLS)
app.add_typer(dead.app, name="dead", rich_help_panel=_CALLS)
app.add_typer(unrouted.app, name="unrouted", rich_help_panel=_CALLS)
app.add_typer(refusals.app, name="refusal", rich_help_panel=_CALLS)
app.add_typer(tokens.app, name="token", rich_help_panel=_ADMIN)
app.add_typer(audit.app, name="audit", rich_help_panel=_ADMIN)
app.add_typer(registry.app, name="registry", rich_help_panel=_ADMIN)
app.add_typer(topology.app, name="topology", rich_help_panel="Broker (through the admin API)")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - slow, and rarely wanted

        typer.echo(f"turnout {version('turnout')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
