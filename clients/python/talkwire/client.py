"""`connect`: finds a service and calls it, blocking."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

from .channel import check_descriptors, open_channel
from .connection import Connection
from .descriptor import close_given
from .errors import TalkwireError
from .limits import Limits
from .methods import MethodTable, method_table
from .handling import answer_value, run_call
from .link import Link
from .reconnecting import Reconnect, may_repeat, not_sent, reconnect_for
from .remote import CallOptions, Opened, Remote, left
from .session import Session
from .starting import await_gone, find_or_start
from .transports import registry
from .transports.registry import Options
from .wire import Peer, Wire

if TYPE_CHECKING:
    from .balance import Directory
    from .transports.tls import Tls  # imports ssl, which takes a while


class Client(Remote):
    """A connection to a service: `client.add(2, 5)`. Close it, or use `with`.

    One that was made with a name, a Unix socket, TCP, TLS or a FIFO connects again when its connection is lost:
    calls that were not sent and idempotent ones are made again, others fail with the outcome `maybe-ran`,
    subscriptions heal, streams and references end.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._parent = None

    @property
    def _connection(self) -> Connection:  # type: ignore[override]
        return self._link.connection

    def emit(self, event: str, payload: Any = None) -> None:
        """Sends an event of ours to the other side, if it subscribed. Never blocks."""
        try:
            self._connection.publish(event, payload)
        finally:
            close_given(payload)

    @property
    def peer(self) -> Peer:
        return self._connection.peer

    def close(self, timeout: Optional[float] = None) -> None:
        """Lets calls in flight finish, then ends. Blocks up to `timeout` s (default `limits.drain`)."""
        self._link.close(timeout)

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Blocks until there is no connection and none is being made; False after `timeout` s."""
        return self._link.wait(timeout)

    def abort(self) -> None:
        """Ends now."""
        self._link.abort()

    @property
    def closed(self) -> bool:
        """Is there no connection, and is none being made?"""
        return self._link.ended

    def notify(self, method: str, *args: Any, **named: Any) -> None:
        """Sends a notification: nobody answers."""
        self._link.ready(None)
        super().notify(method, *args, **named)

    def _open(
        self, method: str, params: Any, source: Any, options: CallOptions, stream: bool, input: bool = False
    ) -> Opened:
        until = None if options.timeout is None else time.monotonic() + options.timeout
        while True:
            connection = self._link.ready(left(until))
            try:
                return super()._open(method, params, source, options._replace(timeout=left(until)), stream, input)
            except TalkwireError as error:
                if not self._again(connection, error, False):
                    raise

    def _again(self, connection: Connection, error: TalkwireError, idempotent: bool) -> bool:
        return self._link.lasts and may_repeat(connection, error, idempotent)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def shake_hands(session: Session, contract: Optional[str], authkey: Optional[bytes], call: Callable[..., Any]) -> None:
    """Drives `Session.handshake` with a blocking `call(method, params)`."""
    auth = None
    if authkey is not None:
        from .auth import ClientAuth

        auth = ClientAuth(authkey)
    steps = session.handshake(contract, auth)
    try:
        method, params = next(steps)
        while True:
            try:
                answer = call(method, params)
            except TalkwireError as error:
                method, params = steps.throw(error)
            else:
                method, params = steps.send(answer)
    except StopIteration:
        return


def open_wire(address: str, options: Options, start: Optional[Sequence[str]]) -> Wire:
    """A wire to an address, or to the first address of a name that answers. May block."""
    scheme, _ = registry.split(address)
    if scheme:
        return registry.connect(address, options)
    name = address.partition("/")[0]
    entry = find_or_start(name, start)
    try:
        return _open_first(name, entry["addresses"], options)
    except TalkwireError as error:
        # What was found may be just ending; whoever may start the service waits for that, and tries once more.
        if not start or error.code != "PEER_NOT_FOUND" or not await_gone(entry):
            raise
    return _open_first(name, find_or_start(name, start)["addresses"], options)


def _open_first(name: str, addresses: Sequence[str], options: Options) -> Wire:
    failure: Optional[TalkwireError] = None
    for candidate in _usable(addresses):
        try:
            return registry.connect(candidate, options)
        except TalkwireError as error:
            failure = failure or error
    listed = ", ".join(addresses) or "nothing"
    raise failure or TalkwireError("PEER_NOT_FOUND", f"{name!r} listens only on {listed}, and this client has no such wire")


def _usable(addresses: Sequence[str]) -> List[str]:
    return [address for address in addresses if address.partition(":")[0] in ("shm", "unix", "tcp", "tls", "fifo")]


def target_address(target: Union[str, Sequence[str]]) -> str:
    """The address; a list is a command for `spawn:`, of which no word is split. Raises TypeError."""
    if isinstance(target, str):
        return target
    if isinstance(target, (list, tuple)) and target and all(isinstance(word, str) for word in target):
        import shlex

        return "spawn:" + " ".join(map(shlex.quote, target))
    raise TypeError("connect takes a name, an address, or a command as a list, such as ['python3', 'worker.py']")


def connect(
    target: Union[str, Sequence[str]],
    *,
    serve: Any = None,
    start: Optional[Sequence[str]] = None,
    authkey: Optional[bytes] = None,
    tls: Optional["Tls"] = None,
    timeout: float = 5.0,
    framing: str = "length",
    hello: bool = True,
    reconnect: Union[Reconnect, bool, None] = None,
    limits: Optional[Limits] = None,
    descriptors: bool = False,
    hub: Optional["Directory"] = None,
    balance: str = "round-robin",
) -> Client:
    """Connects to a name (`'calc'`, `'bank/1'`) or an address (`'unix:/run/x.sock'`), or starts a child (`['python3', 'w.py']`).

    `serve`: handlers that the other side may call. `start`: a command that starts
    the service if nothing is found. `timeout`: seconds for connecting and for
    the handshake, each. `tls`: certificates for `tls:`. `framing` and `hello=False` are for plain JSON-RPC servers.
    `reconnect`: by default on, but off for child processes. `descriptors`: values of the kind `Descriptor` may travel, on `unix:`.
    `hub`: the calls are shared among all instances of the service that are registered there, by `balance`: `round-robin`,
    `least-pending`, `sticky`; an instance that fails is left out.
    Raises PEER_NOT_FOUND, START_FAILED, CONTRACT_MISMATCH, UNAUTHENTICATED, INVALID_ADDRESS. Blocks.
    """
    address = target_address(target)
    methods = method_table(serve) if serve is not None else {}
    options = Options(authkey, timeout=timeout, tls=tls)

    plan = _Plan(wanted_contract(address), options, methods, limits or Limits(), framing, hello, descriptors)
    if hub is not None:
        return _balanced(address, hub, balance, plan)

    def dial(may_start: bool, on_end: Callable[[Connection], None]) -> Connection:
        return _dial(open_wire(address, options, start if may_start else None), plan, on_end)

    return Client(Link(dial, reconnect_for(address, reconnect)))


class _Plan(NamedTuple):
    """What a connection is to be like."""

    contract: Optional[str]
    options: Options
    methods: MethodTable
    limits: Limits
    framing: str
    hello: bool
    descriptors: bool


def _dial(wire: Wire, plan: _Plan, on_end: Callable[[Connection], None]) -> Connection:
    """A connection that has shaken hands."""
    timeout = plan.options.timeout
    if plan.descriptors:
        check_descriptors(wire.peer.address)
    connection = Connection(
        wire,
        execute=run_call,
        answer=answer_value,
        on_end=on_end,
        connector=True,
        methods=plan.methods,
        contract=None,
        limits=plan.limits,
        framing=plan.framing,
    )
    connection.wants_channel = plan.descriptors
    authkey = plan.options.authkey
    try:
        if plan.hello or authkey is not None:
            shake_hands(connection, plan.contract, authkey, lambda method, params: _greet(connection, method, params, timeout))
        if plan.descriptors:
            open_channel(connection, timeout)
    except BaseException as error:
        connection.abort()
        raise explained(error, wire) from error
    connection.begin_idle()
    return connection


def _balanced(target: str, hub: "Directory", balance: str, plan: _Plan) -> Client:
    from .balance import Balanced

    if registry.split(target)[0]:
        raise TypeError(f'a hub knows services by their names; "{target}" is an address, connect to it without hub')
    name = target.partition("/")[0]

    def reach(addresses: Sequence[str], lost: Callable[[], None]) -> Client:
        opened: List[Client] = []

        def dial(may_start: bool, on_end: Callable[[Connection], None]) -> Connection:
            def ended(connection: Connection) -> None:
                on_end(connection)
                if opened:
                    lost()

            return _dial(_open_first(name, addresses, plan.options), plan, ended)

        opened.append(Client(Link(dial, None)))
        return opened[0]

    return Balanced(name, balance, reach).open(hub)


def explained(error: BaseException, wire: Wire) -> BaseException:
    """Why there is no connection: a peer that ends it instead of answering `rpc.hello` may have a reason that the wire knows."""
    if not isinstance(error, TalkwireError):
        return error
    if wire.unanswered is None or not error.code.startswith("CONNECTION_"):
        return not_sent(error)
    return TalkwireError(
        "UNAUTHENTICATED", f"{wire.peer.address} ended the connection before it answered: {wire.unanswered}", outcome="not-sent"
    )


def _greet(connection: Connection, method: str, params: Dict[str, Any], timeout: float) -> Any:
    on_result = connection._hello_answered if method == "rpc.hello" else None
    return connection.result(connection.open(method, params, on_result=on_result), timeout)


def wanted_contract(target: str) -> Optional[str]:
    """The contract to ask for: only a name with a version says one."""
    return target if "/" in target and ":" not in target else None
