"""Events, from both ends."""

from __future__ import annotations

from typing import Any, Dict

from ..codec_json import quote
from ..errors import TalkwireError
from .core import Core


class Subscriptions(Core):
    def _subscribe(self, event: Any, on: bool) -> bool:
        if type(event) is not str or event.startswith(("rpc.", "$/", "#")):
            raise TalkwireError("INVALID_INPUT", "an event has a name")
        known = event in self.subscribed
        if on and not known:
            if len(self.subscribed) >= self.limits.max_subscriptions:
                raise TalkwireError("LIMIT_EXCEEDED", "too many subscriptions on one connection")
            self.subscribed[event] = 0
        elif not on:
            self.subscribed.pop(event, None)
        if self._on_subscribe is not None and on != known:
            self._on_subscribe(self, event, on)
        return on or known

    def publish(self, event: str, payload: Any) -> None:
        """Sends an event to this subscriber. Never blocks: what does not fit its queue is dropped and counted."""
        dropped = self.subscribed.get(event)
        if dropped is None or self.ended is not None:
            return
        if not self._has_room():
            self.subscribed[event] = dropped + 1
            return
        if dropped:
            self.subscribed[event] = 0
            self._notify("$/lost", f'{{"event":{quote(event)},"count":{dropped}}}')
        params = as_params(payload)
        # Others get it, too: who emits it closes what was given.
        self._carrying(params, lambda: self._notify(event, *self._encode(params, descriptors=True)), keep=True)

    def _event(self, name: str, params: Any) -> None:
        payload = params[0] if type(params) is list and len(params) == 1 else None if params == [] else params
        self._deliver(name, payload)

    def _lost_events(self, params: Dict[str, Any], size: int) -> None:
        event, count = params.get("event"), params.get("count")
        if type(event) is str and type(count) is int and count > 0:
            for listener in self.listeners.get(event, []):
                listener.lost += count


def as_params(value: Any) -> Any:
    """How one value travels as params (§ 3.1): a plain object by name, None as nothing, all else by position."""
    if value is None:
        return []
    if type(value) is dict and all(type(key) is str for key in value):
        return value
    return [value]
