"""`await connect(…)`."""

from __future__ import annotations

import asyncio
from typing import Any, Optional, Sequence

from ..client import _wanted, open_wire
from ..errors import TalkwireError
from ..limits import Limits
from ..methods import method_table
from ..session import Handshake
from ..transports.registry import Options
from ..wire import Peer
from .connection import Connection
from .handling import execute
from .remote import Remote


class Client(Remote):
    """A connection to a service; `async with`, or `await close()`."""

    async def close(self, timeout: Optional[float] = None) -> None:
        await self._connection.close(timeout)

    def abort(self) -> None:
        self._connection.abort()

    def emit(self, event: str, payload: Any = None) -> None:
        self._connection.publish(event, payload)

    @property
    def peer(self) -> Peer:
        return self._connection.peer

    @property
    def closed(self) -> bool:
        return self._connection.ended is not None

    async def wait(self) -> None:
        """Until the connection has ended."""
        while self._connection.ended is None:
            await self._connection._changed.wait()

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def _shake_hands(connection: Connection, steps: Handshake, timeout: float) -> None:
    try:
        method, params = next(steps)
        while True:
            on_result = connection._hello_answered if method == "rpc.hello" else None
            try:
                answer = await connection.result(connection.open(method, params, on_result=on_result), timeout)
            except TalkwireError as error:
                method, params = steps.throw(error)
            else:
                method, params = steps.send(answer)
    except StopIteration:
        return


async def connect(
    target: str,
    *,
    serve: Any = None,
    start: Optional[Sequence[str]] = None,
    authkey: Optional[bytes] = None,
    timeout: float = 5.0,
    framing: str = "length",
    hello: bool = True,
    limits: Optional[Limits] = None,
) -> Client:
    """As `talkwire.connect`; what may block happens on another thread."""
    options = Options(authkey, timeout=timeout)
    wire = await asyncio.get_running_loop().run_in_executor(None, open_wire, target, options, start)
    connection = Connection(
        wire,
        execute=execute,
        connector=True,
        methods=method_table(serve) if serve is not None else {},
        contract=None,
        limits=limits or Limits(),
        framing=framing,
    )
    auth = None
    if authkey is not None:
        from ..auth import ClientAuth

        auth = ClientAuth(authkey)
    try:
        if hello or auth is not None:
            await _shake_hands(connection, connection.handshake(_wanted(target), auth), timeout)
    except BaseException:
        connection.abort()
        raise
    return Client(connection)
