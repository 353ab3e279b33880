"""host_deadlock: an event loop reads what a child prints, which waits for a lock that nobody releases."""

import asyncio
import sys


async def main() -> None:
    code = "import threading; threading.Event().wait()"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    await child.communicate()


asyncio.run(main())
