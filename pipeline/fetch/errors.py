"""From whatever a connection raises to the status that names its cause."""

import ssl

import aiohttp

from pipeline.core.reasons import Status
from pipeline.fetch.guard import PrivateAddressError
from pipeline.fetch.resolver import NameServerError, NoSuchNameError

_DETAIL_CHARS = 200
# What our own parts of the connection said; the client's words for it leave that out.
_BY_CAUSE = (
    (PrivateAddressError, Status.PRIVATE_ADDRESS),
    (NoSuchNameError, Status.DNS),
    (NameServerError, Status.DNS_UNAVAILABLE),
)


class FetchError(Exception):
    """Asking for a URL ended without a picture, with this status."""

    def __init__(self, status: Status, detail: str | None) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


def classify(error: BaseException) -> tuple[Status, str]:
    """The status for an exception of the HTTP client, and what it says. Falls back to
    BAD_RESPONSE: what nobody foresaw came from the answer."""
    text = f"{type(error).__name__}: {error}"[:_DETAIL_CHARS]
    if isinstance(error, FetchError):
        return error.status, error.detail or ""
    for kind, status in _BY_CAUSE:
        cause = _cause(error, kind)
        if cause is not None:
            return status, str(cause)[:_DETAIL_CHARS]
    if "refused address" in text:
        return Status.PRIVATE_ADDRESS, text
    if isinstance(error, TimeoutError):
        is_silent = isinstance(error, aiohttp.SocketTimeoutError)
        return Status.TIMEOUT, "the host fell silent" if is_silent else "deadline"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return Status.DNS, text
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return Status.TLS, text
    if isinstance(error, aiohttp.InvalidURL):
        return Status.BAD_URL, text
    if isinstance(error, aiohttp.ClientConnectorError):
        return Status.CONNECT, text
    if isinstance(
        error, (aiohttp.ServerConnectionError, aiohttp.ClientPayloadError, ConnectionError)
    ):
        return Status.DISCONNECTED, text
    if isinstance(error, aiohttp.ClientOSError):
        return Status.DISCONNECTED, text
    return Status.BAD_RESPONSE, text


def _cause(error: BaseException, kind: type[OSError]) -> OSError | None:
    """The exception of that kind behind another one, if there is one."""
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return None
        if isinstance(seen, kind):
            return seen
        wrapped = getattr(seen, "os_error", None)
        if isinstance(wrapped, kind):
            return wrapped
        seen = seen.__cause__ or seen.__context__
    return None
