"""Several instances of one service behind one client: docs/hub/hub.md."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Protocol, Sequence, Set, Tuple, TypeVar

from .client import Client
from .connection import Connection
from .errors import NOT_SENT, TalkwireError
from .pool import pool
from .remote import CallOptions, Opened, Subscription, left, split_input
from .wire import Peer

T = TypeVar("T")

BALANCES = ("round-robin", "least-pending", "sticky")
#: seconds in which who failed is only asked when nobody else is there
SHUNNED = 1.0
#: it did not run, or not there: another instance may be asked
ELSEWHERE = frozenset(("UNAVAILABLE", "CONNECTION_LOST", "CONNECTION_CLOSED", "PEER_NOT_FOUND", "PEER_EXITED"))


class Reachable(NamedTuple):
    """A running service, and where it can be reached from here."""

    id: str
    addresses: Sequence[str]


class Closable(Protocol):
    def close(self) -> None: ...


class Directory(Protocol):
    """Who knows where services run: a hub."""

    def follow(self, service: str, changed: Callable[[List[Reachable]], None]) -> Closable:
        """Tells who is there, before it returns and again at each change."""


#: a client of one instance, that is not connected again; told when its connection ends
Reach = Callable[[Sequence[str], Callable[[], None]], Client]


class _Place:
    def __init__(self, instance: Reachable) -> None:
        self.id = instance.id
        self.addresses = list(instance.addresses)
        self.lock = threading.Lock()
        self.client: Optional[Client] = None
        #: calls of ours that it has not answered
        self.pending = 0
        #: when it failed last, on time.monotonic()
        self.failed = float("-inf")


class Balanced(Client):
    """A client of all instances of a service: each call goes to one of them."""

    def __init__(self, service: str, balance: str, reach: Reach) -> None:
        if balance not in BALANCES:
            raise TypeError(f"balance is one of {', '.join(BALANCES)}")
        self._service = service
        self._balance = balance
        self._reach = reach
        self._parent = None
        self._lock = threading.Lock()
        self._places: List[_Place] = []
        self._turn = 0
        self._stuck: Optional[_Place] = None
        self._following: Optional[Closable] = None
        self._over = threading.Event()
        self._heard: Dict[Subscription, Dict[_Place, Subscription]] = {}
        self._hearing = threading.Lock()
        self._current: Optional[Client] = None

    def open(self, directory: Directory) -> "Balanced":
        """Returns when an instance has answered. Raises PEER_NOT_FOUND, or what the last one that was tried said."""
        self._following = directory.follow(self._service, self._update)
        try:
            self._somewhere(lambda client: None, False)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def _connection(self) -> Connection:  # type: ignore[override]
        """That of whoever was asked last."""
        assert self._current is not None
        return self._current._connection

    @property
    def peer(self) -> Peer:
        return self._connection.peer

    @property
    def closed(self) -> bool:
        return self._over.is_set()

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Blocks until it is closed; False after `timeout` s."""
        return self._over.wait(timeout)

    def close(self, timeout: Optional[float] = None) -> None:
        for client in self._end():
            client.close(timeout)

    def abort(self) -> None:
        for client in self._end():
            client.abort()

    def _end(self) -> List[Client]:
        self._over.set()
        if self._following is not None:
            self._following.close()
        return self._clients()

    def _clients(self) -> List[Client]:
        with self._lock:
            return [place.client for place in self._places if place.client is not None]

    def emit(self, event: str, payload: Any = None) -> None:
        """Sends an event of ours to every instance that we are connected to, if it subscribed."""
        for client in self._clients():
            client.emit(event, payload)

    # -- calls

    def notify(self, method: str, *args: Any, **named: Any) -> None:
        self._somewhere(lambda client: client.notify(method, *args, **named), False)

    def _call(self, method: str, args: Tuple[Any, ...], named: Dict[str, Any], options: CallOptions) -> Any:
        until = None if options.timeout is None else time.monotonic() + options.timeout
        # What was read cannot be sent twice: only connecting is tried elsewhere.
        once = split_input(args)[1] is not None
        return self._somewhere(
            lambda client: client._call(method, args, named, options._replace(timeout=left(until))), options.idempotent, once
        )

    def _open(
        self, method: str, params: Any, source: Any, options: CallOptions, stream: bool, input: bool = False
    ) -> Opened:
        return self._somewhere(lambda client: client._open(method, params, source, options, stream, input), False, True)

    def _somewhere(self, action: Callable[[Client], T], repeatable: bool, once: bool = False) -> T:
        """The call at one instance after the other, until one takes it. `once`: from here on a failure is the caller's."""
        tried: Set[_Place] = set()
        last: Optional[TalkwireError] = None
        while True:
            place = self._pick(tried)
            if place is None:
                raise last or self._nobody()
            tried.add(place)
            begun = False
            try:
                client = self._client_of(place)
                self._current = client
                begun = True
                return action(client)
            except TalkwireError as error:
                elsewhere = error.code in ELSEWHERE and (error.outcome == NOT_SENT or repeatable)
                if not elsewhere or (begun and once) or self.closed:
                    raise
                place.failed = time.monotonic()
                # Where it may have run says more than where it was not sent.
                if last is None or last.outcome == NOT_SENT:
                    last = error
            finally:
                with self._lock:
                    place.pending -= 1

    def _pick(self, tried: Set[_Place]) -> Optional[_Place]:
        """Who is asked next; it counts as one who has a call of ours from here on."""
        if self.closed:
            raise TalkwireError("CONNECTION_CLOSED", "this client is closed; connect() makes a new one", outcome=NOT_SENT)
        with self._lock:
            there = [place for place in self._places if place not in tried]
            now = time.monotonic()
            well = [place for place in there if now - place.failed > SHUNNED] or there
            place = self._best(well) if well else None
            if place is not None:
                place.pending += 1
            return place

    def _best(self, well: List[_Place]) -> _Place:
        if self._balance == "least-pending":
            return min(well, key=lambda place: place.pending)
        if self._balance == "sticky":
            if self._stuck not in well:
                self._stuck = well[0]
            assert self._stuck is not None
            return self._stuck
        self._turn += 1
        return well[(self._turn - 1) % len(well)]

    def _client_of(self, place: _Place) -> Client:
        with place.lock:
            if place.client is None or place.client.closed:
                place.client = self._reach(place.addresses, self._hear_soon)
                self._hear_soon()
            return place.client

    def _nobody(self) -> TalkwireError:
        return TalkwireError(
            "PEER_NOT_FOUND",
            f'no instance of "{self._service}" that can be reached from here is registered at the hub; start one, and hub.register() it',
        )

    # -- who is there

    def _update(self, instances: List[Reachable]) -> None:
        with self._lock:
            known = {place.id: place for place in self._places}
            self._places = [_same(known.get(each.id), each) or _Place(each) for each in instances]
            gone = [place for place in known.values() if place not in self._places]
        for place in gone:
            # It takes no new calls; those that it has are still answered.
            if place.client is not None:
                pool().submit(place.client.close)
        for subscription in list(self._heard):
            self._hear_at_all(subscription)

    # -- events

    def on(self, event: str, function: Callable[[Any], None]) -> Subscription:
        """Calls `function(payload)` for each such event of every instance, also of those that come later."""
        if not callable(function):
            raise TypeError("on(event, function) takes a function")
        subscription = Subscription(self, event, function)
        self._heard[subscription] = {}
        errors = self._hear_at_all(subscription)
        if errors and not self._heard[subscription]:
            del self._heard[subscription]
            raise errors[0]
        return subscription

    def _off(self, subscription: Subscription) -> None:
        for each in self._heard.pop(subscription, {}).values():
            each.close()

    def _hear_at_all(self, subscription: Subscription) -> List[TalkwireError]:
        errors = []
        with self._hearing:
            for place in list(self._places):
                try:
                    self._hear(subscription, place)
                except TalkwireError as error:
                    errors.append(error)  # it may be just ending; who is there is told by the hub
        return errors

    def _hear(self, subscription: Subscription, place: _Place) -> None:
        at = self._heard.get(subscription)
        if at is None or self.closed:
            return
        client = self._client_of(place)
        if place not in at or at[place]._remote is not client:
            at[place] = client.on(subscription.event, subscription.function)

    def _hear_soon(self) -> None:
        """(any thread) A connection was lost, or is new: who listens hears it from there, too."""
        if self._heard and not self.closed:
            pool().submit(self._hear_again)

    def _hear_again(self) -> None:
        for subscription in list(self._heard):
            self._hear_at_all(subscription)


def _same(place: Optional[_Place], instance: Reachable) -> Optional[_Place]:
    return place if place is not None and place.addresses == list(instance.addresses) else None
