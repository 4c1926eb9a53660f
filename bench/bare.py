"""The least that aiohttp can do for a call: read the body, answer 202.

    python -m bench.bare PORT

The same low-level server, event loop and options as the ingress, so that what differs is the work.
"""

import asyncio
import sys

import uvloop
from aiohttp import web


async def answer(request: web.BaseRequest) -> web.Response:
    await request.read()
    # GET is how the benchmark finds out that it serves.
    return web.Response(status=200 if request.method == "GET" else 202)


async def main(port: int) -> None:
    runner = web.ServerRunner(web.Server(answer, access_log=None, auto_decompress=False))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
