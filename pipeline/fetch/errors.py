"""From whatever a connection raises to the status that names its cause."""

import ssl

import aiohttp

from pipeline.core.reasons import Status
from pipeline.fetch.guard import PrivateAddressError

_DETAIL_CHARS = 200


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
    if _has_cause(error, PrivateAddressError) or "refused address" in text:
        return Status.PRIVATE_ADDRESS, text
    if isinstance(error, TimeoutError):
        return Status.TIMEOUT, "deadline"
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


def _has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    seen: BaseException | None = error
    for _ in range(8):
        if seen is None:
            return False
        if isinstance(seen, kind) or isinstance(getattr(seen, "os_error", None), kind):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
