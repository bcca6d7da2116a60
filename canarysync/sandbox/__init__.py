"""The simulated Canary Speech API (API.md), with faults on request, on loopback only.

``canarysync sandbox``, ``canarysync demo`` and the tests talk to it. From the inside out: ``wire`` (requests
and answers as values), ``tokens``, ``store`` (the scores), ``present`` (how a score is shown), ``faults``
(what goes wrong, and how often), ``routes``, ``api`` (the five endpoints), ``control`` (the sandbox's own
endpoints), ``listener`` (HTTP on sockets) and ``server`` (the whole).
"""

from canarysync.sandbox.faults import Fault, Faults, Kind
from canarysync.sandbox.server import Sandbox
from canarysync.sandbox.store import StoredScore
from canarysync.sandbox.tokens import SANDBOX_API_KEY
from canarysync.sandbox.wire import Endpoint

__all__ = ["SANDBOX_API_KEY", "Endpoint", "Fault", "Faults", "Kind", "Sandbox", "StoredScore"]
