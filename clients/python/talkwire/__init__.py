"""Talkwire: every way processes talk. The Python side; see README.md.

>>> service = talkwire.serve('calc', {'add': lambda a, b: a + b})
>>> talkwire.connect('calc').add(2, 5)
7
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .client import Client, connect
from .codec_json import Map
from .descriptor import Descriptor
from .errors import TalkwireError, declared_error
from .limits import Limits
from .reconnecting import Reconnect
from .references import Reference, ref
from .handling import Context
from .remote import Call, Remote, Stream, Subscription
from .service import Service, serve
from .wire import Peer


if TYPE_CHECKING:
    from .transports.tls import Tls


def __getattr__(name: str) -> Any:
    if name == "Tls":  # imports ssl, which takes a while
        from .transports.tls import Tls

        return Tls
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__version__ = "0.1.0"

__all__ = [
    "Call", "Client", "Context", "Descriptor", "Limits", "Map", "Peer", "Reconnect", "Reference", "Remote", "Service", "Stream",
    "Subscription", "TalkwireError", "Tls", "connect", "declared_error", "ref", "serve",
]  # fmt: skip
