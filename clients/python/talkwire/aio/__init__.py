"""The same words for asyncio: `await aio.serve(…)`, `await aio.connect(…)`, `await client.add(2, 5)`.

Everything runs in the event loop. Handlers may be `async def`, async
generators, or plain functions (which block the loop as long as they run).
"""

from .client import Client, connect
from .handling import Context
from .remote import Remote, Stream, Subscription
from .service import Service, serve

__all__ = ["Client", "Context", "Remote", "Service", "Stream", "Subscription", "connect", "serve"]
