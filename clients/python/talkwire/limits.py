"""Every limit with its default; what happens beyond it stands beside it."""

from __future__ import annotations


class Limits:
    """Limits of one connection (the last two: of one listener). Change them by keyword."""

    max_message = 64 * 1024 * 1024  # bytes; beyond: MESSAGE_TOO_LARGE, the connection ends
    max_depth = 64  # beyond: TOO_DEEP
    max_batch = 100  # entries; beyond: LIMIT_EXCEEDED for the whole batch
    max_calls = 10_000  # incoming calls in flight; beyond: LIMIT_EXCEEDED
    max_streams = 256  # incoming calls with streams; beyond: LIMIT_EXCEEDED
    max_references = 10_000  # each way; beyond: LIMIT_EXCEEDED
    max_descriptors = 64  # received and neither closed nor taken; beyond: LIMIT_EXCEEDED, the connection ends
    max_queue = 16 * 1024 * 1024  # outgoing bytes; beyond: a sender waits, an event is dropped and counted
    max_events = 10_000  # arrived and not yet handled; beyond: the oldest is dropped and counted
    max_subscriptions = 1_000  # beyond: LIMIT_EXCEEDED
    window = 512 * 1024  # bytes of stream credit
    handshake = 5.0  # seconds until the first whole message; beyond: the connection ends
    heartbeat = 0  # milliseconds, 0 for none
    drain = 30.0  # seconds that close() waits for calls in flight
    max_connections = 10_000  # beyond: new ones are refused

    def __init__(self, **changes: float) -> None:
        for name, value in changes.items():
            if not hasattr(Limits, name) or name.startswith("_"):
                raise TypeError(f"unknown limit {name!r}")
            if value < 0:
                raise TypeError(f"limit {name!r} must not be negative")
            setattr(self, name, value)
