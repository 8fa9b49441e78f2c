"""The protocol of one connection: calls, streams, references, events, both ways (spec/wire.md).

It has no socket, thread or event loop. A front end derives from `Session`,
gives `receive()` whole payloads in order, and supplies the hooks at the end of
`core.py`. `receive()` is called by one thread at a time; everything else may
be called by any thread.

`incoming`, `outgoing`: one call. `core`: state, values, sending, hooks. On it
`calls`, `serving`, `subscriptions`, `hello`; `session` puts them together.
"""

from .hello import Handshake
from .incoming import END, INLINE, Incoming
from .outgoing import Outgoing
from .session import Session
from .subscriptions import as_params

__all__ = ["END", "INLINE", "Handshake", "Incoming", "Outgoing", "Session", "as_params"]
