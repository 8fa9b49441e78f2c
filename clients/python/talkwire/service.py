"""`serve`: answers calls, on threads."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Set, Union

from . import keeper as keeper_module
from .channel import Channels, check_descriptors
from .connection import Connection
from .descriptor import close_given
from .errors import TalkwireError
from .limits import Limits
from .methods import method_table
from .names import Claim, check_name, claim
from .pool import pool
from .handling import answer_value, run_call
from .remote import Remote
from .session import Session
from .transports.registry import Options, listen as listen_on
from .wakeup import WakeUp
from .wire import Listener, Peer, Wire

if TYPE_CHECKING:
    from .transports.tls import Tls


def addresses_to_listen(listen: Union[str, Sequence[str], None], name: str) -> List[str]:
    """One address, several, or by default whoever started us with a wire, else the service's own name. Raises TypeError for an empty list."""
    if listen is None:
        return ["stdio:"] if "TALKWIRE_FD" in os.environ and _is_given() else [f"unix:{name}"]
    addresses = [listen] if isinstance(listen, str) else list(listen)
    if not addresses:
        raise TypeError("listen is an address or a list of at least one")
    return addresses


def _is_given() -> bool:
    from .transports.stdio import is_given

    return is_given()


def announce_service(name: str, contract: str, listeners: Sequence[Listener], announce: bool) -> List[Claim]:
    """Tells under every `unix:` name, and if `announce` or on `shm:` under the service's own, all addresses. Raises ADDRESS_IN_USE."""
    public = [listener.address for listener in listeners if listener.address != "stdio:"]
    held: Dict[str, Claim] = {}
    for listener in listeners:
        scheme, _, rest = listener.address.partition(":")
        if scheme == "unix" and rest[0] not in "/@" and listener.claim is not None:
            held[rest] = listener.claim
    if (announce or f"shm:{name}" in public) and name not in held:
        held[name] = claim(name)
    for one in held.values():
        one.announce(public, contract)
    return list(held.values())


class Service:
    """A running service. `close()` (or leaving its `with`) drains and ends it."""

    def __init__(
        self,
        contract: str,
        handlers: Any,
        listen: Union[str, Sequence[str], None] = None,
        authkey: Optional[bytes] = None,
        insecure: bool = False,
        tls: Optional["Tls"] = None,
        allow: Optional[Callable[[Peer], bool]] = None,
        announce: bool = False,
        limits: Optional[Limits] = None,
        descriptors: bool = False,
    ) -> None:
        self._channels = Channels() if descriptors else None
        self.contract = contract
        self.name = check_name(contract.partition("/")[0])
        self._methods = method_table(handlers)
        self._limits = limits or Limits()
        self._authkey = authkey
        self._lock = threading.Lock()
        self._connections: Set[Connection] = set()
        self._subscribers: Dict[str, Set[Session]] = {}
        self._listeners: List[Listener] = []
        self._claims: List[Claim] = []
        self._closed = threading.Event()
        self._waker: Optional[WakeUp] = None
        self._closing = False
        self._keeper = keeper_module.enter()
        try:
            self._listen(addresses_to_listen(listen, self.name), Options(authkey, insecure, tls=tls, allow=allow), announce)
        except BaseException:
            self._stop_listening()
            self._release()
            keeper_module.leave()
            raise

    @property
    def addresses(self) -> List[str]:
        return [listener.address for listener in self._listeners]

    def _listen(self, addresses: List[str], options: Options, announce: bool) -> None:
        for address in addresses:
            if self._channels is not None:
                check_descriptors(address)
            listener = listen_on(address, options)
            self._listeners.append(listener)
        self._claims = announce_service(self.name, self.contract, self._listeners, announce)
        for listener in self._listeners:
            self._rearm(listener)

    def _accept(self, listener: Listener) -> None:
        """(keeper) Takes all who wait."""
        try:
            while not self._closing:
                try:
                    wire = listener.accept()
                except TalkwireError:
                    continue  # a peer that may not talk to us
                if wire is None:
                    break
                self._adopt(wire, listener)
        except OSError as error:
            if self._closing:
                return
            import logging

            logging.getLogger("talkwire").error("cannot accept at %s: %s", listener.address, error)
            # Out of descriptors or memory: the backlog waits until some are free again.
            self._keeper.at(time.monotonic() + 0.1, lambda: self._rearm(listener))
            return
        self._rearm(listener)

    def _rearm(self, listener: Listener) -> None:
        if not self._closing:
            self._keeper.arm(listener.fileno(), lambda: self._accept(listener))

    def _adopt(self, wire: Wire, listener: Listener) -> None:
        if len(self._connections) >= self._limits.max_connections:
            wire.close()
            return
        auth = None
        if self._authkey is not None and listener.address != "stdio:":
            from .auth import ServerAuth

            auth = ServerAuth(self._authkey)
        connection = Connection(
            wire,
            execute=run_call,
            answer=answer_value,
            on_end=self._gone,
            connector=False,
            methods=self._methods,
            contract=self.contract,
            limits=self._limits,
            auth=auth,
            subscribe=self._subscribe,
            channels=self._channels,
        )
        connection.ends_service = listener.address == "stdio:"
        with self._lock:
            self._connections.add(connection)
        connection.start()

    def _gone(self, connection: Connection) -> None:
        if self._channels is not None:
            self._channels.forget(connection)
        with self._lock:
            self._connections.discard(connection)
            for event in connection.subscribed:
                self._subscribers.get(event, set()).discard(connection)
        if connection.ends_service and not self._closing:
            pool().submit(self.close, urgent=True)

    def _subscribe(self, session: Session, event: str, on: bool) -> None:
        with self._lock:
            held = self._subscribers.setdefault(event, set())
            held.add(session) if on else held.discard(session)
            if not held:
                del self._subscribers[event]

    def emit(self, event: str, payload: Any = None) -> None:
        """Sends an event to its subscribers. Never blocks: a slow one loses events and is told how many."""
        with self._lock:
            sessions = list(self._subscribers.get(event, ()))
        try:
            for session in sessions:
                self._publish(session, event, payload)
        finally:
            if self._channels is not None:
                close_given(payload)

    def _publish(self, session: Session, event: str, payload: Any) -> None:
        try:
            session.publish(event, payload)
        except TalkwireError:
            if session.ended is None:
                raise

    def clients(self) -> List[Remote]:
        """Everybody who is connected now, to be called back."""
        with self._lock:
            return [Remote(connection) for connection in self._connections]

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Blocks until the service is closed; False after `timeout` s. Ctrl-C raises KeyboardInterrupt."""
        waker = WakeUp.of_main_thread()
        if waker is None:
            return self._closed.wait(timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._waker = waker
        try:
            while not self._closed.is_set():
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    break
                waker.wait(left)
            return self._closed.is_set()
        finally:
            self._waker = None
            waker.close()

    def close(self, timeout: Optional[float] = None) -> None:
        """Takes no new calls, lets those in flight finish (up to `timeout` s, default `limits.drain`), ends. Blocks."""
        with self._lock:
            first, self._closing = not self._closing, True
            connections = list(self._connections)
        if not first:
            self._closed.wait()
            return
        self._stop_listening()
        _close_all(connections, timeout)
        self._release()
        keeper_module.leave()
        self._closed.set()
        waker = self._waker
        if waker is not None:
            waker.notify()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            self._keeper.disarm(listener.fileno())
            listener.close()

    def _release(self) -> None:
        for listener in self._listeners:
            listener.release()
        for held in self._claims:
            held.release()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _close_all(connections: List[Connection], timeout: Optional[float]) -> None:
    """Side by side: one slow peer does not hold up the others."""
    if len(connections) == 1:
        return connections[0].close(timeout)
    threads = [threading.Thread(target=c.close, args=(timeout,), daemon=True) for c in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def serve(
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
    """Serves `handlers` (an object, a dict or a module) under a name (`'calc'`, `'bank/1'`).

    `listen`: an address or several, by default whoever started us by `connect("spawn:…")`, else `unix:<name>`. `announce`: be found
    by name even without that address. `tls`: certificates for `tls:`. `allow(peer)`: who may
    connect to `unix:`, by default our own user and root; must not block. `descriptors`: values of the kind `Descriptor` may travel, on `unix:`. Does not block; see `Service.wait`.
    Raises ADDRESS_IN_USE, PERMISSION_DENIED (also an open address without authkey), INVALID_ADDRESS.
    """
    name = contract if isinstance(contract, str) else contract.name
    return Service(name, handlers, listen, authkey, insecure, tls, allow, announce, limits, descriptors)
