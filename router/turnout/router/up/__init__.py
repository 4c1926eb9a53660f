"""`turnout up`: all of Turnout on this machine, in the foreground, from one command."""

import asyncio
import signal
from pathlib import Path

from turnout.router.nodes import ports
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.process import end_leftover
from turnout.router.up.console import Console
from turnout.router.up.lock import Lock
from turnout.router.up.sequence import Sequence
from turnout.router.up.settings import UpSettings
from turnout.router.up.supervisor import Supervisor
from turnout.shared import settings
from turnout.shared.errors import SettingsError, TurnoutError

_EXAMPLES = Path("examples")


def run(directory: Path, modules: list[str]) -> int:
    """Run RabbitMQ, Redis, router, ingress and a worker until Ctrl-C or SIGTERM.

    Args:
        directory: where everything that lasts is kept; a later run goes on with it.
        modules: the modules with flows; without any, the examples, of which one is made ready to
            be called.

    Returns:
        The exit code: 0 after an orderly stop, 1 if something could not be started.
    """
    console = Console()
    directory = directory.absolute()
    try:
        chosen = settings.load(UpSettings)
        flows = modules or _examples()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with Lock(directory, f"ingress {chosen.ingress_url}, admin API {chosen.admin_url}"):
            for record in directory.glob("**/*process"):
                end_leftover(record)
            _check_ports(chosen)
            return asyncio.run(_up(directory, flows, not modules, chosen, console))
    except TurnoutError as error:
        console.fail(str(error))
        return 1


async def _up(
    directory: Path, modules: list[str], with_demo: bool, chosen: UpSettings, console: Console
) -> int:
    supervisor = Supervisor(console)
    sequence = Sequence(
        directory,
        modules,
        with_demo=with_demo,
        settings=chosen,
        supervisor=supervisor,
        console=console,
    )
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            console.fail("killing everything")
            supervisor.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    running = asyncio.create_task(sequence.run())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if not stop.is_set():
            running.result()
    except (TurnoutError, OSError) as error:
        console.fail(str(error))
        return 1
    finally:
        stop.set()
        running.cancel()
        await asyncio.gather(running, stopped, return_exceptions=True)
        await supervisor.stop()
    return 0


def _examples() -> list[str]:
    """Return the example modules of a checkout.

    Raises:
        SettingsError: there are none here.
    """
    found = sorted(str(path) for path in _EXAMPLES.glob("*.py"))
    if not found:
        raise SettingsError(
            f"no flows: name a module, as in 'turnout up my_flows.py' "
            f"(there is no {_EXAMPLES}/*.py here)"
        )
    return found


def _check_ports(chosen: UpSettings) -> None:
    """Refuse to start anything when ingress or the admin API could not listen.

    Raises:
        NodeError: names the port and the setting that changes it.
    """
    wanted = {
        "TURNOUT_INGRESS": (chosen.ingress_host, chosen.ingress_port),
        "TURNOUT_ADMIN": (chosen.admin_host, chosen.admin_port),
    }
    for setting, (host, port) in wanted.items():
        try:
            free = ports.is_free(port, host)
        except OSError as error:
            raise NodeError(f"{setting}_HOST: {host} cannot be listened on: {error}") from None
        if not free:
            raise NodeError(
                f"port {port} of {host} is taken: set {setting}_PORT to another, "
                f"for example {setting}_PORT={ports.free_ports(1)[0]}"
            )
    if chosen.ingress_port == chosen.admin_port:
        raise NodeError(
            f"TURNOUT_INGRESS_PORT and TURNOUT_ADMIN_PORT are both {chosen.ingress_port}"
        )
