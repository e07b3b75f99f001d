"""How long to go on asking a server that is busy or away: pauses that double, Retry-After heeded, a limit to all.

The limit is ``IS2ICE_RETRY_SECONDS`` (300 s by default) or an argument. It holds for one request with all its
repetitions. A pause that a server asks for is kept; where it is longer than what is left, the request fails at once
and says so.
"""

from __future__ import annotations

import email.utils
import math
import os
import random
import time
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Any

from is2ice.errors import GranuleError

if TYPE_CHECKING:
    import requests

__all__ = ["RETRY_SECONDS", "Patience", "patient_session", "retry_seconds", "wait_asked_for"]

#: Environment variable of the limit, s, and the limit without it.
RETRY_SECONDS, DEFAULT = "IS2ICE_RETRY_SECONDS", 300.0
#: Longest pause of our own, s; a server may ask for a longer one.
LONGEST_PAUSE = 60.0
#: Seconds of patience with a server that has never answered: its name may be wrong, or the network away.
UNREACHED = 15.0
#: Answers that may be other ones later.
BUSY = (408, 429, 500, 502, 503, 504)


def retry_seconds(given: float | None = None) -> float:
    """Seconds during which a failing request is repeated.

    Parameters
    ----------
    given : float, optional
        By default ``IS2ICE_RETRY_SECONDS``, else 300.

    Raises
    ------
    GranuleError
        Not a number of seconds.
    """
    text = os.environ.get(RETRY_SECONDS, "") if given is None else str(given)
    try:
        seconds = float(text) if text else DEFAULT
    except ValueError:
        seconds = math.nan
    if not 0.0 <= seconds < math.inf:
        name = RETRY_SECONDS if given is None else "retry_seconds"
        raise GranuleError(f"{name}={text!r}: expected a number of seconds, 0 or more")
    return seconds


def wait_asked_for(header: str | None) -> float | None:
    """Seconds that a ``Retry-After`` header asks for, given as a number or as an HTTP date; None without one."""
    if not header:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:12])
    try:
        until = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, until.timestamp() - time.time())


@dataclass
class Patience:
    """Time left for one request.

    Attributes
    ----------
    limit : float
        Seconds, from the first failure on.
    pause : float
        Next pause of our own, s; doubled each time.
    """

    limit: float
    pause: float = 0.25
    until: float = field(default=math.nan, init=False)

    def next_pause(self, asked: float | None = None, *, reached: bool = True) -> float | None:
        """Return the pause before the next attempt, s; None where the time is up.

        Parameters
        ----------
        asked : float, optional
            Pause that the server asks for.
        reached : bool
            The server has answered before; one that has not gets less time.
        """
        now = time.monotonic()
        if math.isnan(self.until):
            self.until = now + self.limit
        own = self.pause * (0.5 + random.random())  # noqa: S311  spreads attempts, no secret
        self.pause = min(2 * self.pause, LONGEST_PAUSE)
        pause = own if asked is None else asked
        until = self.until if reached else min(self.until, self.until - self.limit + UNREACHED)
        return pause if now + pause <= until else None


def patient_session(
    session: requests.Session,
    *,
    timeout: float,
    limit: int,
    attempts: int | None = None,
    seconds: float | None = None,
) -> requests.Session:
    """Let a session repeat what may pass, heed Retry-After, and refuse bodies beyond a limit.

    Parameters
    ----------
    session : requests.Session
    timeout : float
        Seconds without an answer.
    limit : int
        Bytes of a body.
    attempts : int, optional
        Most repetitions; by default only time ends them.
    seconds : float, optional
        As for :func:`retry_seconds`.
    """
    from requests.adapters import HTTPAdapter
    from requests.exceptions import ContentDecodingError

    class Adapter(HTTPAdapter):
        def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
            options |= {"stream": True, "timeout": options.get("timeout") or timeout}
            response = super().send(request, **options)
            body, size = [], 0
            for piece in response.iter_content(2**20):
                size += len(piece)
                if size > limit:
                    response.close()
                    raise ContentDecodingError(f"an answer of more than {limit:,} bytes", response=response)
                body.append(piece)
            response._content = b"".join(body)
            return response

    for scheme in ("https://", "http://"):
        session.mount(scheme, Adapter(max_retries=_policy(retry_seconds(seconds), attempts)))
    return session


def _policy(limit: float, attempts: int | None) -> Any:
    """Policy of urllib3 that ends by time, not by number, and tells how long a server asked to wait."""
    from urllib3 import Retry
    from urllib3.exceptions import MaxRetryError, ResponseError

    class Policy(Retry):
        patience: Any = None
        wait: float = 0.0
        reached: bool = False

        def new(self, **options: Any) -> Any:
            other = super().new(**options)
            other.patience, other.reached = self.patience or Patience(limit), self.reached
            return other

        def increment(self, method: Any = None, url: Any = None, response: Any = None, **more: Any) -> Any:  # type: ignore[override]
            other = super().increment(method, url, response, **more)
            asked = None if response is None else wait_asked_for(response.headers.get("Retry-After"))
            other.reached = self.reached or response is not None
            wait = other.patience.next_pause(asked, reached=other.reached)
            if wait is None:
                said = f"; it asks to wait {asked:,.0f} s (Retry-After)" if asked else ""
                fault = more.get("error") or ResponseError(f"HTTP {getattr(response, 'status', '?')}{said}")
                raise MaxRetryError(more["_pool"], str(url), fault)
            other.wait = wait
            return other

        def sleep(self, response: Any = None) -> None:
            time.sleep(self.wait)

    return Policy(
        total=attempts,
        connect=None,
        read=None,
        status=None,
        other=None,
        status_forcelist=BUSY,
        allowed_methods=None,
        raise_on_status=False,
    )
