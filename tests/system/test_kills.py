"""What was accepted has run, whichever of our processes was killed meanwhile."""

from tests.support.sender import Ledger, Sender
from tests.support.system import System


async def test_nothing_accepted_is_lost_when_each_process_is_killed_once(
    bare_system: System,
) -> None:
    system = bare_system
    ingresses = [system.add_ingress(), system.add_ingress()]
    worker = system.add_worker("ledger")
    await system.start()
    await system.registered("shop/ledger")
    key = await system.make_key("shop", "till")
    trigger = await system.make_trigger("shop/ledger")

    async with Sender([each.url + trigger.path for each in ingresses], key) as sender:
        await sender.more(300)
        for service in (*ingresses, system.router):
            service.command.kill()
            await sender.more(150)
            await service.start()
        worker.kill()
        await sender.more(150)
        worker.start()
        await sender.more(300)

    await Ledger(system, sender).balance()
    assert sender.failed[503] == 0
