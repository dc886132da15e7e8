"""What a failing read of remote storage means, and how long to wait before the next."""

import errno
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_THROTTLE_STATUS = frozenset({429, 503})
_PERMANENT_ERRNO = frozenset(
    {
        errno.ENOENT,
        errno.EACCES,
        errno.EPERM,
        errno.EISDIR,
        errno.ENOTDIR,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENAMETOOLONG,
    }
)
# Modules whose errors are of the network, where they are no OSError.
_NETWORK = ("aiohttp.", "botocore.", "urllib3.", "http.client", "requests.", "fsspec.")
# botocore's errors that time does not heal.
_CREDENTIALS = ("Credential", "ProfileNotFound", "ParamValidation", "Token", "InvalidRegion")
# A server that asks for more is not waited for so long in one go.
_MAX_RETRY_AFTER_S = 300.0


@dataclass(frozen=True)
class Failure:
    """Why a read failed. cause: for people. is_throttled: the server asks for fewer requests.
    retry_after_s: how long it asks to wait."""

    cause: str
    is_transient: bool
    is_throttled: bool = False
    retry_after_s: float = 0.0


def judge(error: BaseException) -> Failure:
    """What an error of fsspec and the libraries below it means."""
    chain = list(_chain(error))
    for one in chain:
        status, headers = _answer(one)
        if status is not None:
            wait = _retry_after(headers)
            return Failure(
                f"HTTP {status}: {_text(one)}",
                status in _TRANSIENT_STATUS,
                status in _THROTTLE_STATUS,
                wait,
            )
    if isinstance(error, FileNotFoundError) and len(chain) > 1:
        # fsspec's for anything that goes wrong while it asks for a file's size.
        chain = chain[1:]
    cause = _text(chain[0])
    transient = all(_is_transient(one) for one in chain)
    busy = any(isinstance(one, OSError) and one.errno == errno.EBUSY for one in chain)
    return Failure(cause, transient, busy)


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return
        yield seen
        seen = seen.__cause__


def _answer(error: BaseException) -> tuple[int | None, Any]:
    """(status, headers) of an error that tells of an HTTP answer."""
    status = getattr(error, "status", None)
    if isinstance(status, int):  # aiohttp
        return status, getattr(error, "headers", None)
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        told = response.get("ResponseMetadata", {})
        status = told.get("HTTPStatusCode")
        return (status if isinstance(status, int) else None), told.get("HTTPHeaders")
    status = getattr(response, "status_code", None)  # requests
    return (status if isinstance(status, int) else None), getattr(response, "headers", None)


def _retry_after(headers: Any) -> float:
    """Seconds a Retry-After asks for. Source: RFC 9110 section 10.2.3."""
    value = ""
    for name in headers or ():
        if str(name).lower() == "retry-after":
            value = str(headers[name]).strip()
    if value.isdigit():
        return min(float(value[:9]), _MAX_RETRY_AFTER_S)
    try:
        wait = parsedate_to_datetime(value).timestamp() - time.time()
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, wait), _MAX_RETRY_AFTER_S)


def _is_transient(error: BaseException) -> bool:
    kind = type(error)
    if isinstance(error, PermissionError) or any(name in kind.__name__ for name in _CREDENTIALS):
        return False
    if isinstance(error, TimeoutError | ConnectionError | EOFError):
        return True
    if kind.__module__.startswith(_NETWORK):
        return not isinstance(error, FileNotFoundError)
    return isinstance(error, OSError) and error.errno not in _PERMANENT_ERRNO


def _text(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@dataclass
class Pace:
    """How fast one process may ask a storage: answers that throttle lengthen the pause before
    every request, good ones shorten it. One for all archives of a process."""

    sleep: Callable[[float], None] = time.sleep
    pause_s: float = 0.0
    max_pause_s: float = 60.0
    first_pause_s: float = 0.5
    _random: random.Random = field(default_factory=random.Random)

    def wait(self) -> None:
        """Before a request."""
        if self.pause_s:
            self.sleep(self.pause_s)

    def succeeded(self) -> None:
        """After a good answer."""
        self.pause_s = self.pause_s * 0.9 if self.pause_s > 0.01 else 0.0

    def failed(self, failure: Failure, tries: int) -> None:
        """After a failure: wait, longer with every one of `tries` in a row, and never the same as
        others do that failed at the same time."""
        if failure.is_throttled:
            self.pause_s = min(max(self.pause_s * 2, 0.1), self.max_pause_s)
        backoff = min(self.first_pause_s * 2 ** (tries - 1), self.max_pause_s)
        self.sleep(max(backoff * self._random.uniform(0.5, 1.5), failure.retry_after_s))
