"""A remote file read by byte ranges: few, in parallel, counted, tried again, and all of one version.

HDF5 reads its metadata through :meth:`RemoteFile.readinto`, in blocks that are kept. The bulk of the data
never passes through the HDF5 library: whoever knows which bytes are needed (:mod:`is2ice.io.remote.hdf5_chunks`) asks
:meth:`RemoteFile.fetch` for all of them at once.

Why no fsspec here: HDF5 calls ``readinto`` while its global lock is held. fsspec answers from another
Python thread, and if that thread happens to collect an HDF5 object it waits for the same lock, for ever.
Here a read under that lock is one request made in the calling thread, by compiled code that runs no Python
and takes no Python lock, so there is nothing that could wait for it; the threads of :meth:`RemoteFile.fetch`
are waited for only by callers outside HDF5. For the same reason nothing here logs, and nothing waits long for a
lock: the caches are dictionaries whose single operations are atomic, and a block fetched twice is no harm.
"""

from __future__ import annotations

import http.client
import io
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from is2ice.errors import GranuleError, RemoteError

from .earthdata import BUCKETS, LoginError, headers, is_earthdata
from .object_store import EARLY, ObjectAddress, object_address
from .patience import RETRY_SECONDS, Patience, retry_seconds, wait_asked_for

__all__ = ["ChangedError", "RemoteFile", "Traffic"]

#: Metadata of a release that is not paged lie scattered: small blocks. A page holds metadata side by side.
BLOCK, PAGED_BLOCK = 4 * 2**10, 16 * 2**10
#: Requests for metadata bring what lies around them, in spans of this many bytes: an object's header, tables and names
#: often lie near each other, and each is known only from another.
AROUND = 16 * 2**10
#: First request: the head of a file holds its root, and often more.
HEAD = 64 * 2**10
#: Ranges nearer than this are one request.
GAP = 16 * 2**10
#: Longest single request, so that several connections share a long range.
PART = 4 * 2**20
#: Requests at a time.
PARALLEL = 64
#: Most bytes of metadata blocks, and of fetched ranges, kept.
KEEP_BLOCKS, KEEP_RANGES = 64 * 2**20, 96 * 2**20
#: Pause before the second attempt at a request, s; doubled for each further one.
PAUSE = 0.25
#: Seconds until credentials that could not be renewed ahead of their end are asked for again.
AGAIN = 30.0
#: Seconds a thread waits for another that renews credentials; not for ever, since it may hold HDF5's lock.
TURN = 5.0
#: Seconds one request may take, with its body.
TIMEOUT = 60.0


class ChangedError(RemoteError):
    """The remote file is not the one that was opened: replaced, or cut, while it was read."""


@dataclass(frozen=True)
class Traffic:
    """Requests and bytes of a remote file so far.

    Attributes
    ----------
    requests : int
        Answered and failed ones.
    bytes : int
        Bytes of content.
    retries : int
        Requests made again.
    size : int
        Bytes of the whole file.
    """

    requests: int
    bytes: int
    retries: int
    size: int

    def __str__(self) -> str:
        again = f", {self.retries} of them again" if self.retries else ""
        return f"read {_amount(self.bytes)} of {_amount(self.size)} in {self.requests} requests{again}"

    def __sub__(self, before: Traffic) -> Traffic:
        return Traffic(
            self.requests - before.requests,
            self.bytes - before.bytes,
            self.retries - before.retries,
            self.size,
        )


def _amount(n: float) -> str:
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} GB"


class RemoteFile(io.RawIOBase):
    """A file at a URL, for h5py and for whoever knows which bytes it needs.

    Parameters
    ----------
    url : str
        ``http(s)://`` or ``s3://``; secrets in it are shown nowhere.
    name : str
        For messages.
    seconds : float, optional
        Time for which a request that fails is repeated (:mod:`is2ice.io.remote.patience`).

    Attributes
    ----------
    size : int
        Bytes of the file.
    version : tuple
        Size, entity tag and time of change at opening; every later answer must agree.

    Raises
    ------
    GranuleError
        No such file, access refused, or a server without byte ranges.
    RemoteError
        The server cannot be reached or failed every time.
    """

    def __init__(self, url: str, name: str, seconds: float | None = None) -> None:
        self._url, self.name = url, name
        self._seconds = retry_seconds(seconds)
        self._busy_until = 0.0  # the server asked all to wait so long, time.monotonic()
        self.block = BLOCK
        self._sent: list[int] = []  # bytes of each answer; list.append is atomic
        self._again: list[int] = []
        self._blocks: dict[int, bytes] = {}
        self._used: set[int] = set()  # blocks read from, not brought by others alone
        self._ranges: dict[int, bytes] = {}
        self._at = 0
        self.adopted = 0  # blocks that an index holds (:mod:`is2ice.io.remote.byte_index`)
        self.version: tuple[int, Any, Any] | None = None
        self._renewing = threading.Lock()
        self._failure: tuple[float, bool, str] | None = (
            None  # of the last renewal: when, whether of a login, what
        )
        self._address: ObjectAddress = object_address(url, timeout=TIMEOUT)
        head = self._request(0, HEAD)
        self.size = self.version[0]  # type: ignore[index]
        whole = len(head) if len(head) == self.size else len(head) // BLOCK * BLOCK
        self._put({k // BLOCK: head[k : k + BLOCK] for k in range(0, whole, BLOCK)})

    # -- as a file, for HDF5 --------------------------------------------------------------------------
    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer from the current position."""
        view = memoryview(buffer).cast("B")
        data = self.read_at(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def use_pages(self) -> None:
        """Read metadata in larger blocks: the file is paged, so that they lie together."""
        if self.block != PAGED_BLOCK:
            self.block, self._blocks, self._used = PAGED_BLOCK, {}, set()

    def blocks(self) -> dict[int, bytes]:
        """Return the blocks of metadata that were read from, by their number."""
        return {i: data for i, data in list(self._blocks.items()) if i in self._used}

    def adopt(self, size: int, blocks: Mapping[int, bytes]) -> None:
        """Take blocks of a size that were read before, of the same version of the file."""
        self.block, self._blocks, self.adopted, self._used = size, dict(blocks), len(blocks), set(blocks)

    def read_at(self, start: int, count: int) -> bytes | memoryview:
        """Bytes at a position, from what is kept if they are there; fewer at the end of the file."""
        stop = min(start + count, self.size)
        if stop <= start:
            return b""
        kept = self._ranges.get(start)
        if kept is not None and len(kept) >= stop - start:
            return memoryview(kept)[: stop - start]
        if stop - start >= self.block:
            whole = self._held(start, stop)
            return self._request(start, stop) if whole is None else whole[: stop - start]
        size = self.block
        first, last = start // size, (stop - 1) // size
        pieces = [self._block(i) for i in range(first, last + 1)]
        joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return memoryview(joined)[start - first * size : stop - first * size]

    def _block(self, i: int) -> bytes:
        self._used.add(i)
        data = self._blocks.get(i)
        if data is None:
            start, stop = self._around(i)
            span = self._request(start, stop)
            self._put(self._cut(start, span))
            at = i * self.block - start
            data = span[at : at + self.block]  # not looked up: other threads may have dropped it by now
        return data

    def _around(self, i: int) -> tuple[int, int]:
        """Bytes of the span that a block lies in."""
        span = max(AROUND, self.block)
        start = i * self.block // span * span
        return start, min(start + span, self.size)

    def _cut(self, start: int, data: bytes) -> dict[int, bytes]:
        """Cut a span into blocks that are not kept yet."""
        size = self.block
        numbers = range(start // size, (start + len(data) - 1) // size + 1)
        return {i: data[i * size - start : (i + 1) * size - start] for i in numbers if i not in self._blocks}

    def _put(self, blocks: dict[int, bytes]) -> None:
        while (len(self._blocks) + len(blocks)) * self.block > KEEP_BLOCKS and self._blocks:
            self._blocks.pop(next(iter(list(self._blocks)), -1), None)
        self._blocks |= blocks

    # -- many ranges at once --------------------------------------------------------------------------
    def fetch(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Bytes of several ranges, asked for in parallel; neighbours share a request.

        Never call this from code that holds HDF5's lock.

        Parameters
        ----------
        ranges : sequence of (start, stop)

        Returns
        -------
        list of bytes-like
            In the order of the ranges.
        """
        got = self._gather(ranges)
        return [
            got[start] if len(got[start]) == stop - start else got[start][: stop - start]
            for start, stop in ranges
        ]

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Get several ranges, so that reading any of them, whole, makes no request."""
        self._gather(ranges)

    def load(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Get the blocks that ranges lie in, in one round: small pieces of metadata bring their neighbours."""
        size = self.block
        wanted = {i for a, b in ranges if b > a for i in range(a // size, (b - 1) // size + 1)}
        self._used |= wanted
        missing = sorted({self._around(i) for i in wanted if i not in self._blocks})
        spans = _spans(missing, gap=0)
        with ThreadPoolExecutor(max(1, min(PARALLEL, len(spans)))) as pool:
            answers = pool.map(lambda span: self._request(span[0], span[1]), spans)
            for (start, _, _), data in zip(spans, answers, strict=True):
                self._put(self._cut(start, data))

    def _gather(self, ranges: Iterable[tuple[int, int]]) -> dict[int, bytes]:
        """Bytes by start of their range; what had to be asked for is kept."""
        out: dict[int, bytes] = {}
        missing: list[tuple[int, int]] = []
        for a, b in sorted(set(ranges)):
            kept = self._held(a, b)
            if kept is None:
                missing.append((a, b))
            else:
                out[a] = kept
        spans = _spans(missing)
        if not spans:
            return out
        parts = [(a, min(a + PART, stop)) for start, stop, _ in spans for a in range(start, stop, PART)]
        if len(parts) == 1:
            got = {parts[0][0]: self._request(*parts[0])}
        else:
            with ThreadPoolExecutor(min(PARALLEL, len(parts))) as pool:
                answers = pool.map(lambda part: self._request(*part), parts)
                got = {part[0]: data for part, data in zip(parts, answers, strict=True)}
        fresh = {}
        for start, stop, members in spans:
            whole = b"".join(got[a] for a in range(start, stop, PART))
            for a, b in members:
                fresh[a] = whole[a - start : b - start]
        self._keep(fresh)
        return out | fresh

    def _held(self, start: int, stop: int) -> bytes | None:
        """Bytes of a range if they need no request."""
        kept = self._ranges.get(start, b"")
        if len(kept) >= stop - start:
            return kept
        size = self.block
        numbers = range(start // size, (stop - 1) // size + 1)
        pieces = [self._blocks.get(i) for i in numbers]
        if any(piece is None for piece in pieces):
            return None
        self._used.update(numbers)
        return b"".join(pieces)[start % size : start % size + stop - start]  # type: ignore[arg-type]

    def _keep(self, fresh: dict[int, bytes]) -> None:
        kept = self._ranges
        kept.update(fresh)
        held = sum(map(len, list(kept.values())))
        for start in list(kept):
            if held <= KEEP_RANGES or start in fresh:  # what was asked for now is about to be read
                continue
            held -= len(kept.pop(start, b""))

    @property
    def traffic(self) -> Traffic:
        """Requests and bytes so far."""
        sent = list(self._sent)
        return Traffic(len(sent), sum(sent), len(self._again), self.version[0] if self.version else 0)

    # -- one request ----------------------------------------------------------------------------------
    def _request(self, start: int, stop: int) -> bytes:
        """One range, tried again while the failure may pass and time is left."""
        import obstore

        patience, renewed = Patience(self._seconds, PAUSE), False
        while True:
            used = self._entry()
            time.sleep(max(0.0, self._busy_until - time.monotonic()))
            try:
                answer = obstore.get(used.store, used.path, options={"range": (start, stop)})
                data = answer.bytes().to_bytes()
            except Exception as error:
                self._sent.append(0)
                verdict = _judge(error)
                if verdict.mismatch and start > 0:
                    self._request(0, 1)  # says so if the file is another one by now
                if verdict.kind == "credentials" and not renewed:
                    renewed = True
                    self._renew(used, verdict)
                elif verdict.kind != "passing":
                    raise self._said(verdict) from None  # the error's own text holds the URL
                else:
                    asked = self._asked_to_wait(verdict.status)
                    reached = self.version is not None or verdict.status is not None
                    pause = patience.next_pause(asked, reached=reached)
                    if pause is None:
                        raise self._said(replace(verdict, asked=asked)) from None
                    if asked:
                        self._busy_until = max(self._busy_until, time.monotonic() + asked)
                    else:
                        time.sleep(pause)
                self._again.append(1)
                continue
            self._sent.append(len(data))
            self._check(answer.meta, answer.range, start, stop, len(data))
            return data

    def _asked_to_wait(self, status: int | None) -> float | None:
        """Seconds that a busy web server asks to wait.

        The errors of the store do not hold the headers of an answer, so it is asked once more, by the calling thread
        alone and following no redirect, since the request carries the login.
        """
        if status not in (429, 503) or not self._url.startswith(("http://", "https://")):
            return None
        self._sent.append(0)
        return _wish_of(self._url)

    def _entry(self) -> ObjectAddress:
        """Return the way in, renewed before its credentials end; by one thread, while others use what is still good."""
        if self._address.stale and self._renewing.acquire(blocking=False):
            try:
                self._address = object_address(self._url, timeout=TIMEOUT)
            except (GranuleError, LoginError):  # let in for a while still; a refusal will be told
                self._address = replace(self._address, until=time.time() + EARLY + AGAIN)
            finally:
                self._renewing.release()
        return self._address

    def _renew(self, refused: ObjectAddress, verdict: _Verdict) -> None:
        """Renew the credentials; threads refused together share one renewal."""
        asked = time.monotonic()
        mine = self._renewing.acquire(timeout=TURN)
        try:
            if self._address is not refused:
                return
            if self._failure is None or self._failure[0] < asked:
                try:
                    self._address = object_address(self._url, timeout=TIMEOUT)
                    return
                except (GranuleError, LoginError) as error:
                    self._failure = (time.monotonic(), isinstance(error, LoginError), str(error))
            _, login, said = self._failure
        finally:
            if mine:
                self._renewing.release()
        raise (_Refused if login else GranuleError)(
            f"{self.name}: access refused ({_told(verdict)}), and there are no new credentials: {said}"
        ) from None

    def _check(self, meta: Any, got: tuple[int, int], start: int, stop: int, length: int) -> None:
        """Every answer must be of the version opened, and of the range asked for."""
        modified = meta["last_modified"]
        now = (int(meta["size"]), meta.get("e_tag"), modified if modified.year > 1970 else None)
        if self.version is None:
            self.version = now
        elif now != self.version:
            before, after = self.version[0], now[0]
            what = f"from {before:,} to {after:,} bytes" if before != after else "its content is another"
            raise ChangedError(
                f"{self.name}: the remote file changed while it was read ({what}); open it again to read the new one"
            )
        if got != (start, min(stop, now[0])) or length != got[1] - got[0]:
            raise RemoteError(
                f"{self.name}: asked for bytes {start:,} to {stop:,}, the server sent {length:,} from {got[0]:,}; "
                "try again"
            )

    def _said(self, verdict: _Verdict) -> GranuleError:
        """Describe a failure to the user, without the URL's secrets."""
        said = _told(verdict)
        if verdict.kind == "absent":
            return GranuleError(f"{self.name}: no such file")
        if verdict.kind == "credentials" or (verdict.kind == "ranges" and is_earthdata(self._url)):
            if is_earthdata(self._url):
                return _Refused(
                    f"{self.name}: Earthdata refused access ({said}); log in (is2ice.login()), renew an expired "
                    "token, or accept NSIDC's licence in your Earthdata profile"
                )
            if self._url.startswith("s3://"):
                return GranuleError(
                    f"{self.name}: access refused ({said}); {_bucket_help(verdict, self._url)}"
                )
            return GranuleError(
                f"{self.name}: access refused ({said}); log in, or ask for a new signed URL if this one has expired"
            )
        if verdict.kind == "ranges":
            return GranuleError(
                f"{self.name}: the server gives no byte ranges, so it cannot be streamed; download it"
            )
        if verdict.kind == "passing":
            what = f"the server failed ({said})" if verdict.status else "the server cannot be reached"
            if verdict.stalled:
                what = f"the server stalled (no whole answer within {TIMEOUT:g} s)"
            when = "try again"
            if verdict.asked:
                when = (
                    f"it asks to wait {verdict.asked:,.0f} s (Retry-After): try again then, or allow more by "
                    f"{RETRY_SECONDS}"
                )
            return RemoteError(f"{self.name}: {what}; {when}")
        return GranuleError(f"{self.name}: cannot be read ({said})")


def _wish_of(url: str) -> float | None:
    """Ask a busy server for a single byte, and return the seconds it asks to wait."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=10.0)
        try:
            target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            connection.request("GET", target, headers=headers(url) | {"Range": "bytes=0-0"})
            answer = connection.getresponse()
            return wait_asked_for(answer.headers.get("Retry-After")) if answer.status in (429, 503) else None
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, LoginError, ValueError):
        return None


def _told(verdict: _Verdict) -> str:
    """Return a failure in few words."""
    if verdict.expired:
        return "the credentials have expired"
    return f"HTTP {verdict.status}" if verdict.status else verdict.kind


def _bucket_help(verdict: _Verdict, url: str) -> str:
    """Advise what to do about a bucket that refuses access."""
    if url.removeprefix("s3://").split("/", 1)[0] in BUCKETS:
        return (
            "NSIDC's buckets let in from AWS us-west-2 only, and with a fresh Earthdata login (is2ice.login()); "
            "elsewhere use the https address"
        )
    if verdict.expired:
        return (
            "renew them (`aws sso login`, or new AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; "
            "those of a profile or role renew themselves) and read again"
        )
    return "may these credentials read there? AWS_NO_SIGN_REQUEST=YES reads a public bucket"


class _Refused(GranuleError, LoginError):
    """Earthdata let nobody in."""


@dataclass(frozen=True)
class _Verdict:
    kind: str  # absent, credentials, ranges, passing or lasting
    status: int | None = None
    stalled: bool = False
    mismatch: bool = False  # an answer of another range than asked for
    expired: bool = False
    asked: float | None = None  # seconds that the server asks to wait


def _judge(error: Exception) -> _Verdict:
    """Classify a failed request by the error of obstore."""
    if isinstance(error, GranuleError | LoginError):
        raise error
    text, name = str(error), type(error).__name__
    found = re.search(r"status code: (\d{3})", text)
    status = int(found[1]) if found else None
    if isinstance(error, FileNotFoundError):
        return _Verdict("absent", status or 404)
    expired = "ExpiredToken" in text
    if name in ("UnauthenticatedError", "PermissionDeniedError") or expired:
        return _Verdict("credentials", status, expired=expired)
    if status is not None and status < 500 and status not in (408, 429):
        return _Verdict("ranges" if status == 416 else "lasting", status)
    if name == "NotSupportedError" or "RangeNotSupported" in text or "NotPartial" in text:
        return _Verdict("ranges")
    return _Verdict("passing", status, "TimedOut" in text or "Timeout" in text, "UnexpectedRange" in text)


def _spans(ranges: Sequence[tuple[int, int]], gap: int = GAP) -> list[tuple[int, int, list[tuple[int, int]]]]:
    """Ranges in order, joined where the gap between them is small, with the members of each."""
    out: list[tuple[int, int, list[tuple[int, int]]]] = []
    for a, b in ranges:
        if out and a - out[-1][1] <= gap:
            start, stop, members = out[-1]
            members.append((a, b))
            out[-1] = (start, max(stop, b), members)
        else:
            out.append((a, b, [(a, b)]))
    return out
