"""host_deadlock: an event loop waits for a future that nobody will set."""

import asyncio


async def main() -> None:
    await asyncio.get_running_loop().create_future()


asyncio.run(main())
