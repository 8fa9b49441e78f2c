"""`await serve(…)`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Set, Union

from .. import names
from ..channel import Channels, check_descriptors
from ..descriptor import close_given
from ..errors import TalkwireError
from ..limits import Limits
from ..methods import method_table
from ..service import addresses_to_listen, announce_service
from ..session import Session
from ..transports.registry import Options
from ..transports.registry import listen as listen_on
from ..wire import Listener, Peer, Wire
from .connection import Connection, log_failure
from .handling import execute
from .remote import Remote

if TYPE_CHECKING:
    from ..transports.tls import Tls


class Service:
    """A running service; `async with`, or `await close()`."""

    def __init__(self, contract: str, handlers: Any, authkey: Optional[bytes], limits: Limits, descriptors: bool = False) -> None:
        self._channels = Channels() if descriptors else None
        self.contract = contract
        self.name = names.check_name(contract.partition("/")[0])
        self._methods = method_table(handlers)
        self._limits = limits
        self._authkey = authkey
        self._loop = asyncio.get_running_loop()
        self._connections: Set[Connection] = set()
        self._subscribers: Dict[str, Set[Session]] = {}
        self._listeners: List[Listener] = []
        self._claims: List[names.Claim] = []
        self._parting: Set["asyncio.Future[Any]"] = set()  # what connections that have ended still finish
        self._closing = False
        self._closed = asyncio.Event()

    @property
    def addresses(self) -> List[str]:
        return [listener.address for listener in self._listeners]

    def _listen(self, addresses: Sequence[str], options: Options, announce: bool) -> None:
        for address in addresses:
            if self._channels is not None:
                check_descriptors(address)
            listener = listen_on(address, options)
            self._listeners.append(listener)
        self._claims = announce_service(self.name, self.contract, self._listeners, announce)
        for listener in self._listeners:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _accept(self, listener: Listener) -> None:
        try:
            wire = listener.accept()
        except TalkwireError:
            return  # a peer that may not talk to us
        except OSError:
            log_failure(f"cannot accept at {listener.address}")
            self._loop.remove_reader(listener.fileno())
            self._loop.call_later(0.1, self._rearm, listener)
            return
        if wire is not None:
            self._adopt(wire, listener)

    def _rearm(self, listener: Listener) -> None:
        if not self._closing:
            self._loop.add_reader(listener.fileno(), self._accept, listener)

    def _adopt(self, wire: Wire, listener: Listener) -> None:
        if len(self._connections) >= self._limits.max_connections:
            return wire.close()
        auth = None
        if self._authkey is not None and listener.address != "stdio:":
            from ..auth import ServerAuth

            auth = ServerAuth(self._authkey)
        connection = Connection(
            wire, execute=execute, on_end=self._gone, connector=False, methods=self._methods, contract=self.contract,
            limits=self._limits, auth=auth, subscribe=self._subscribe, channels=self._channels,
        )  # fmt: skip
        connection.ends_service = listener.address == "stdio:"
        self._connections.add(connection)

    def _gone(self, connection: Connection) -> None:
        if self._channels is not None:
            self._channels.forget(connection)
        self._connections.discard(connection)
        for task in connection._tasks:
            self._parting.add(task)
            task.add_done_callback(self._parting.discard)
        for event in connection.subscribed:
            self._subscribers.get(event, set()).discard(connection)
        if connection.ends_service and not self._closing:
            self._closer = self._loop.create_task(self.close())

    def _subscribe(self, session: Session, event: str, on: bool) -> None:
        held = self._subscribers.setdefault(event, set())
        held.add(session) if on else held.discard(session)
        if not held:
            del self._subscribers[event]

    def emit(self, event: str, payload: Any = None) -> None:
        """Sends an event to its subscribers; a slow one loses events and is told how many."""
        try:
            for session in list(self._subscribers.get(event, ())):
                session.publish(event, payload)
        finally:
            if self._channels is not None:
                close_given(payload)

    def clients(self) -> List[Remote]:
        return [Remote(connection) for connection in self._connections]

    async def wait(self) -> None:
        """Until the service is closed."""
        await self._closed.wait()

    async def close(self, timeout: Optional[float] = None) -> None:
        """Takes no new calls, lets those in flight finish, ends."""
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        self._stop_listening()
        await asyncio.gather(*(connection.close(timeout) for connection in list(self._connections)))
        others = self._parting - {asyncio.current_task()}
        if others:
            await asyncio.wait(others, timeout=timeout)
        self._release()
        self._closed.set()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())
            listener.close()

    def _release(self) -> None:
        for listener in self._listeners:
            listener.release()
        for claim in self._claims:
            claim.release()

    async def __aenter__(self) -> "Service":
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()


async def serve(
    contract: Union[str, Any],
    handlers: Any,
    *,
    listen: Union[str, Sequence[str], None] = None,
    authkey: Optional[bytes] = None,
    insecure: bool = False,
    tls: Optional["Tls"] = None,
    allow: Optional[Callable[[Peer], bool]] = None,
    announce: bool = False,
    limits: Optional[Limits] = None,
    descriptors: bool = False,
) -> Service:
    """As `talkwire.serve`, in the running event loop."""
    name = contract if isinstance(contract, str) else contract.name
    service = Service(name, handlers, authkey, limits or Limits(), descriptors)
    try:
        service._listen(addresses_to_listen(listen, service.name), Options(authkey, insecure, tls=tls, allow=allow), announce)
    except BaseException:
        service._stop_listening()
        service._release()
        raise
    return service
