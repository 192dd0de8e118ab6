"""Run: the app on a port of this machine, until told to stop."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from kincast.errors import ServeError

_GRACE_S = 10
_START_S = 30.0


def serve(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 8321,
    *,
    allow_remote: bool = False,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Answer until interrupted; requests under way are finished first.

    Args:
        app: the ASGI app.
        host: address to listen on; only this machine's own unless ``allow_remote``.
        port: 0 takes a free one.
        allow_remote: listen on an address that other machines reach; there is no authentication.
        on_start: called with the URL once the server answers.

    Raises:
        ServeError: the port is in use, the address is not this machine's, or it is remote and that was not allowed.
    """
    listener = _listen(host, port, allow_remote)
    with contextlib.closing(listener):
        server = _Server(app, lambda: on_start(_url(listener)) if on_start else None)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn has already stopped gracefully when it raises it again
            server.run(sockets=[listener])


@contextlib.contextmanager
def running(app: Any, host: str = "127.0.0.1", port: int = 0, *, allow_remote: bool = False) -> Iterator[str]:
    """Serve in a thread while the block runs; gives the URL.

    Args:
        app: the ASGI app.
        host: as for ``serve``.
        port: as for ``serve``.
        allow_remote: as for ``serve``.

    Raises:
        ServeError: as for ``serve``, or the server did not start.
    """
    listener = _listen(host, port, allow_remote)
    started = threading.Event()
    with contextlib.closing(listener):
        server = _Server(app, started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="kincast-serve", daemon=True)
        thread.start()
        try:
            if not started.wait(_START_S):
                raise ServeError("the server did not start", where=_url(listener), hint="its log has the reason")
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


class _Server(uvicorn.Server):
    def __init__(self, app: Any, on_start: Callable[[], Any]) -> None:
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_graceful_shutdown=_GRACE_S,
        )
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell."""
        await super().startup(sockets)
        if not self.should_exit:
            self._on_start()


def _listen(host: str, port: int, allow_remote: bool) -> socket.socket:
    if not allow_remote and not _is_loopback(host):
        hint = "use 127.0.0.1, or allow it explicitly, behind a proxy that asks who is calling"
        raise ServeError(f"{host} is reached from other machines, and there is no authentication", hint=hint)
    if not 0 <= port <= 65_535:
        raise ServeError(f"there is no port {port}", hint="ports go from 0 (a free one) to 65535")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        raise ServeError(f"there is no such address: {error}", where=f"{host}:{port}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        hint = "choose another --port, or 0 for a free one"
        raise ServeError(f"the server cannot listen: {reason}", where=f"{host}:{port}", hint=hint) from None
    return listener


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
