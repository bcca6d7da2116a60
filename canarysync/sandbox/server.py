"""The sandbox as a whole: start it, stop it, look at what it was asked."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType

from canarysync.errors import SetupError
from canarysync.sandbox.api import Api
from canarysync.sandbox.control import Control, Tally
from canarysync.sandbox.faults import Faults, Kind
from canarysync.sandbox.listener import Listener
from canarysync.sandbox.routes import Route, find
from canarysync.sandbox.store import Store, StoredScore
from canarysync.sandbox.tokens import SANDBOX_API_KEY, SCOPE, Tokens
from canarysync.sandbox.wire import Answer, Delivery, Endpoint, Refusal, Request

_UNANSWERED = Answer(0, b"", delivery=Delivery.NONE)


class Sandbox:
    """The simulated API. A context manager. Stopped and started again, it keeps its port, scores and faults.

    ``host`` must be loopback; ``port`` 0 takes a free one. ``token_life_s`` is the life of access tokens, and
    ``clock`` (Unix seconds) rules the life of tokens only. ``store_path`` names a file that keeps the scores
    from one process to the next. ``normalise`` shows scores re-formatted, as a real server may. ``log`` gets
    one line for each request, without anything that came from a client.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str = SANDBOX_API_KEY,
        token_life_s: float = 900.0,
        store_path: Path | None = None,
        normalise: bool = False,
        log: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """SetupError: ``host`` is not loopback, or ``store_path`` cannot be used."""
        self._host = _loopback(host)
        self._port = port
        self._log = log
        self.faults = Faults()
        self._tally = Tally()
        self._tokens = Tokens(api_key, token_life_s, clock)
        self._store = Store(store_path)
        control = Control(self._store, self._tokens, self.faults, self._tally)
        self._routes = Api(self._store, self._tokens, normalise).routes() + control.routes()
        self._listener: Listener | None = None
        self._stopping = threading.Event()

    def start(self) -> None:
        """Listens and serves, on threads of its own. SetupError: the port is taken."""
        try:
            self._listener = Listener(self._host, self._port, self._respond, self._tally.connected)
        except OSError as error:
            where = f"{self._host}:{self._port}"
            raise SetupError("start the sandbox", where, error.strerror or "", "choose another port") from error
        self._port = self._listener.port
        self._stopping.clear()
        self._listener.start()

    def stop(self) -> None:
        """Closes the port and every connection at once; no request is being worked on when it returns."""
        self._stopping.set()
        listener, self._listener = self._listener, None
        if listener:
            listener.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Blocks until ``stop`` is called (True), or for ``timeout_s``."""
        return self._stopping.wait(timeout_s)

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base url, without a slash at its end. The port is known once the sandbox was started."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    @property
    def scores(self) -> tuple[StoredScore, ...]:
        """Every score taken, oldest first."""
        return self._store.all()

    @property
    def requests(self) -> Counter[tuple[str, int]]:
        """API requests by endpoint and status, ``("put", 200)``. Status 0: not answered, or not wholly."""
        return self._tally.counts

    def access_token(self, scope: str = SCOPE, life_s: float | None = None) -> str:
        """A ready access token. It lives for ``token_life_s``, if not told otherwise."""
        return self._tokens.access(scope, life_s)

    def revoke_tokens(self, refresh_too: bool = False) -> None:
        """Makes all access tokens worthless now, and all refresh tokens if asked."""
        self._tokens.revoke(refresh_too)

    def _respond(self, request: Request) -> Answer:
        try:
            route, variable = find(self._routes, request)
        except Refusal as refusal:
            return refusal.answer
        serve = partial(_serve, route, request, variable)
        answer = self._serve_with_faults(route.endpoint, serve) if route.endpoint else serve()
        if self._log:
            self._log(f"{request.method} {route.endpoint or 'sandbox'} {answer.status} {answer.delivery}")
        return answer

    def _serve_with_faults(self, endpoint: Endpoint, serve: Callable[[], Answer]) -> Answer:
        with self._tally.in_flight():
            answer = self._suffer(endpoint, serve)
        self._tally.answered(endpoint, answer)
        return answer

    def _suffer(self, endpoint: Endpoint, serve: Callable[[], Answer]) -> Answer:
        """Serves a request as the faults in force have it. A stop ends every wait, and answers nothing."""
        plan = self.faults.plan(endpoint)
        if self._stopping.wait(plan.delay_s):
            return _UNANSWERED
        fault = plan.fault
        if fault is None:
            return serve()
        if fault.kind is Kind.EXPIRED:
            self._tokens.revoke()
        answer = serve() if fault.carried_out else _UNANSWERED
        return _UNANSWERED if self._stopping.wait(fault.delay_s) else fault.spoil(answer)


def _serve(route: Route, request: Request, variable: str) -> Answer:
    try:
        return route.serve(request, variable)
    except Refusal as refusal:
        return refusal.answer


def _loopback(host: str) -> str:
    """``host`` as an address. SetupError: it is none, or others could reach it."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:
        pass
    hint = "use 127.0.0.1, ::1 or localhost: the sandbox has no business on a network"
    raise SetupError("start the sandbox", host, "this is not a loopback address", hint)
