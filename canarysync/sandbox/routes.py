"""From a request to the function that serves it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from canarysync.sandbox.wire import Answer, Endpoint, Refusal, Request


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. ``serve`` gets the request, and what stands in its path for the pattern's group, decoded.

    ``endpoint`` is None for the sandbox's own endpoints, which no fault strikes and no counter counts.
    """

    endpoint: Endpoint | None
    method: str
    pattern: re.Pattern[str]
    serve: Callable[[Request, str], Answer]


def find(routes: Sequence[Route], request: Request) -> tuple[Route, str]:
    """The route of a request and its variable (``""`` where it has none). Refusal: 404, or 405."""
    matches = [(route, match) for route in routes if (match := route.pattern.fullmatch(request.path))]
    for route, match in matches:
        if route.method == request.method:
            return route, unquote(match.group(1)) if match.re.groups else ""
    if matches:
        raise Refusal(405, f"this path takes {', '.join(route.method for route, _ in matches)}")
    raise Refusal(404, "there is nothing at this path")
