"""`await connect(…)`."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Callable, Optional, Sequence, Union

from ..channel import check_descriptors
from ..client import explained, open_wire, target_address, wanted_contract
from ..descriptor import close_given
from ..errors import TalkwireError
from ..limits import Limits
from ..methods import method_table
from ..reconnecting import Reconnect, may_repeat, reconnect_for
from ..remote import CallOptions
from ..session import Handshake
from ..transports.registry import Options
from ..wire import Peer
from .channel import open_channel
from .connection import Connection
from .handling import execute
from .link import Link
from ..remote import left
from .remote import Opened, Remote

if TYPE_CHECKING:
    from ..transports.tls import Tls


class Client(Remote):
    """A connection to a service; `async with`, or `await close()`. Connects again as the blocking one does."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._parent = None

    @property
    def _connection(self) -> Connection:  # type: ignore[override]
        return self._link.connection

    async def close(self, timeout: Optional[float] = None) -> None:
        await self._link.close(timeout)

    def abort(self) -> None:
        self._link.abort()

    def emit(self, event: str, payload: Any = None) -> None:
        try:
            self._connection.publish(event, payload)
        finally:
            close_given(payload)

    @property
    def peer(self) -> Peer:
        return self._connection.peer

    @property
    def closed(self) -> bool:
        """Is there no connection, and is none being made?"""
        return self._link.ended

    async def wait(self) -> None:
        """Until there is no connection and none is being made."""
        await self._link.wait()

    async def notify(self, method: str, *args: Any, **named: Any) -> None:
        await self._link.ready(None)
        await super().notify(method, *args, **named)

    async def _open(self, method: str, params: Any, source: Any, options: CallOptions, stream: bool) -> Opened:
        until = None if options.timeout is None else time.monotonic() + options.timeout
        while True:
            connection = await self._link.ready(left(until))
            try:
                return await super()._open(method, params, source, options._replace(timeout=left(until)), stream)
            except TalkwireError as error:
                if not self._again(connection, error, False):
                    raise

    def _again(self, connection: Connection, error: TalkwireError, idempotent: bool) -> bool:
        return self._link.lasts and may_repeat(connection, error, idempotent)

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
    target: Union[str, Sequence[str]],
    *,
    serve: Any = None,
    start: Optional[Sequence[str]] = None,
    authkey: Optional[bytes] = None,
    timeout: float = 5.0,
    framing: str = "length",
    hello: bool = True,
    tls: Optional["Tls"] = None,
    reconnect: Union[Reconnect, bool, None] = None,
    limits: Optional[Limits] = None,
    descriptors: bool = False,
) -> Client:
    """As `talkwire.connect`; what may block happens on another thread."""
    address = target_address(target)
    methods = method_table(serve) if serve is not None else {}
    options = Options(authkey, timeout=timeout, tls=tls)

    async def dial(may_start: bool, on_end: Callable[[Connection], None]) -> Connection:
        loop = asyncio.get_running_loop()
        wire = await loop.run_in_executor(None, open_wire, address, options, start if may_start else None)
        if descriptors:
            check_descriptors(wire.peer.address)
        connection = Connection(
            wire, execute=execute, on_end=on_end, connector=True, methods=methods, contract=None,
            limits=limits or Limits(), framing=framing,
        )  # fmt: skip
        connection.wants_channel = descriptors
        auth = None
        if authkey is not None:
            from ..auth import ClientAuth

            auth = ClientAuth(authkey)
        try:
            if hello or auth is not None:
                await _shake_hands(connection, connection.handshake(wanted_contract(address), auth), timeout)
            if descriptors:
                await open_channel(connection, timeout)
        except BaseException as error:
            connection.abort()
            raise explained(error, wire) from error
        return connection

    link = Link(dial, reconnect_for(address, reconnect))
    await link.open()
    return Client(link)
