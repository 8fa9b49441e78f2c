"""`tls://host:port`: mutual TLS, 1.2 or later. Both sides show a certificate, and both are checked."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from typing import Any, List, Optional

from ..errors import TalkwireError
from ..wire import Listener, Peer, SocketWire, Wire
from .registry import Options
from .tcp import TcpListener, check_reach, host_port, open_listener, tune

_RECORD = 16 * 1024  # bytes; TLS carries no more in one piece
_HANDSHAKE = 1.0  # seconds that one step of a handshake may wait for room to write


class Tls:
    """Files in PEM: whose certificates we accept, and what we show ourselves.

    `ca`: the authority of the other side. `cert`, `key`: ours; a server needs them, a client where the server
    checks. `check_clients=False` (server): callers show no certificate. `server_name` (client): the name in the
    server's certificate, if it is not that of the address.
    """

    def __init__(
        self,
        ca: Optional[str] = None,
        cert: Optional[str] = None,
        key: Optional[str] = None,
        check_clients: bool = True,
        server_name: Optional[str] = None,
    ) -> None:
        self.ca, self.cert, self.key = ca, cert, key
        self.check_clients, self.server_name = check_clients, server_name

    def check_server(self) -> None:
        """Raises TypeError for what a server misses."""
        if not self.cert or not self.key:
            raise TypeError("to listen on tls: pass tls=Tls(ca=…, cert=…, key=…)")
        if self.check_clients and not self.ca:
            raise TypeError("Tls.ca says whose certificates clients may show; for clients without any say check_clients=False")

    def server_context(self) -> ssl.SSLContext:
        """Raises OSError for files that cannot be read."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED if self.check_clients else ssl.CERT_NONE
        return self._fill(context)

    def client_context(self) -> ssl.SSLContext:
        """As `server_context`. Without `ca` the system's authorities count."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks certificate and name
        if not self.ca:
            context.load_default_certs()
        return self._fill(context)

    def _fill(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.ca:
            context.load_verify_locations(self.ca)
        if self.cert:
            context.load_cert_chain(self.cert, self.key)
        return context


class TlsWire(SocketWire):
    """A socket whose handshake may still be going on: then reading goes on with it."""

    unanswered = "most likely it does not accept our certificate (Tls.cert, Tls.key)"

    def __init__(self, sock: ssl.SSLSocket, peer: Peer) -> None:
        super().__init__(sock, peer)
        self._tls = sock
        self._shaken = False
        self._one = threading.Lock()  # OpenSSL's object is for one thread at a time
        sock.setblocking(False)

    def prepare_for_loop(self) -> None:
        pass

    @property
    def pending(self) -> bool:
        return self._shaken and self._tls.pending() > 0

    def receive(self, buffer: memoryview, wait: float = 0.0) -> int:
        try:
            return self._receive(buffer)
        except ssl.SSLWantReadError:
            if wait <= 0.0 or not super().wait_readable(wait):
                raise BlockingIOError from None
        try:
            return self._receive(buffer)
        except ssl.SSLWantReadError:
            raise BlockingIOError from None

    def _receive(self, buffer: memoryview) -> int:
        try:
            with self._one:
                if not self._shaken:
                    self._shake()
                return self._tls.recv_into(buffer)
        except ssl.SSLWantWriteError:
            raise ssl.SSLWantReadError from None  # a step of the handshake that did not fit; tried again
        except ssl.SSLZeroReturnError:
            return 0
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            raise refusal(error, self.peer.address) from error

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantWriteError:
            poller = select.poll()
            poller.register(self.fileno(), select.POLLOUT)
            poller.poll(_HANDSHAKE * 1000)
            self._tls.do_handshake()
        self._shaken = True
        self.peer.identity = common_name(self._tls)

    def wait_readable(self, timeout: Optional[float]) -> bool:
        return self.pending or super().wait_readable(timeout)

    def send(self, parts: List[Any]) -> List[Any]:
        views = [memoryview(part).cast("B") for part in parts if len(part)]
        while views:
            piece = views[0][:_RECORD]
            if len(piece) < _RECORD and len(views) > 1 and len(piece) + len(views[1]) <= _RECORD:
                views[:2] = [memoryview(bytes(views[0]) + bytes(views[1]))]
                continue
            try:
                with self._one:
                    sent = self._tls.send(piece)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                break
            rest = views[0][sent:]
            views[:1] = [rest] if len(rest) else []
        return list(views)

    def end_sending(self) -> None:
        with self._one:
            if self._shaken:
                try:
                    self._tls.unwrap()
                except (OSError, ValueError):
                    pass  # it waits for the other side's word, which may come later or never
        self._shutdown(socket.SHUT_WR)

    def _shutdown(self, how: int) -> None:
        try:
            socket.socket.shutdown(self._tls, how)  # SSLSocket's own would read on without decrypting
        except OSError:
            pass  # the peer was faster: it is already shut down


def common_name(sock: ssl.SSLSocket) -> Optional[str]:
    """The common name in the peer's certificate, if it showed one that was checked."""
    certificate: Any = sock.getpeercert() or {}
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                return str(value)
    return None


def refusal(error: OSError, address: str) -> TalkwireError:
    """What a failed handshake means."""
    text = getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error)
    if isinstance(error, ssl.SSLCertVerificationError) or "CERT" in text or "UNKNOWN_CA" in text or "HANDSHAKE_FAILURE" in text:
        return TalkwireError(
            "UNAUTHENTICATED", f"{address}: {text}; check Tls.ca, Tls.cert and the name in the address", outcome="not-sent"
        )
    return TalkwireError("CONNECTION_LOST", f"{address}: {text}")


def listen(rest: str, options: Options) -> Listener:
    """Listens; port 0 takes a free one, see the listener's `address`. Raises PERMISSION_DENIED, TypeError."""
    tls = options.tls or Tls()
    tls.check_server()
    check_reach("tls", rest, tls.check_clients or options.authkey is not None or options.insecure)
    context = tls.server_context()
    return _TlsListener(open_listener("tls", rest), context)


class _TlsListener(TcpListener):
    scheme = "tls"

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(sock)
        self._context = context

    def _wire(self, sock: socket.socket, peer: Peer) -> Wire:
        sock.setblocking(False)
        return TlsWire(self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False), peer)


def connect(rest: str, options: Options) -> Wire:
    """Connects, and checks the service, within `options.timeout` seconds. Raises UNAUTHENTICATED, PEER_NOT_FOUND."""
    host, port = host_port(rest, "tls")
    tls = options.tls or Tls()
    context = tls.client_context()
    try:
        plain = socket.create_connection((host, port), timeout=options.timeout)
    except OSError as error:
        raise TalkwireError("PEER_NOT_FOUND", f"nobody serves tls:{rest} ({error.strerror or error})") from error
    tune(plain)
    try:
        secured = context.wrap_socket(plain, server_hostname=tls.server_name or host)
    except (OSError, ValueError) as error:
        plain.close()
        known = refusal(error, f"tls:{rest}") if isinstance(error, ssl.SSLError) else None
        if known is not None and known.code == "UNAUTHENTICATED":
            raise known from error
        raise TalkwireError("PEER_NOT_FOUND", f"what answers at tls:{rest} does not speak TLS as we do: {error}") from error
    wire = TlsWire(secured, Peer(f"tls:{rest}"))
    wire._shaken = True
    wire.peer.identity = common_name(secured)
    return wire
