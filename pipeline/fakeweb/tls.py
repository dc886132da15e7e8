"""Certificates for whatever host a client names, signed by an authority made at start."""

import datetime
import ssl
from collections.abc import Mapping

import trustme

from pipeline.fakeweb.model import Certificate

# Put on hosts whose certificate is meant not to fit.
OTHER_NAME = "some-other-name.example"
_NONE_WRONG: Mapping[str, Certificate] = {}


class Certificates:
    """One authority and a server context per name, made when first asked for.

    wrong: host names that get one that is not good, and in what way.
    """

    def __init__(self, wrong: Mapping[str, Certificate] = _NONE_WRONG) -> None:
        self.authority = trustme.CA(organization_name="embedded web")
        self._stranger = trustme.CA(organization_name="nobody")
        self._wrong = wrong
        self._contexts: dict[str, ssl.SSLContext] = {}

    def listener(self) -> ssl.SSLContext:
        """The context of a listening socket: it picks the certificate by the client's SNI."""
        context = self._context("localhost")
        context.sni_callback = self._choose
        return context

    def _choose(
        self, connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLContext
    ) -> None:
        if name:
            connection.context = self._context(name)

    def _context(self, name: str) -> ssl.SSLContext:
        context = self._contexts.get(name)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._issue(name).configure_cert(context)
            self._contexts[name] = context
        return context

    def _issue(self, name: str) -> trustme.LeafCert:
        wrong = self._wrong.get(name)
        if wrong is Certificate.OTHER_NAME:
            return self.authority.issue_cert(OTHER_NAME)
        if wrong is Certificate.UNKNOWN:
            return self._stranger.issue_cert(name)
        if wrong is Certificate.EXPIRED:
            year = datetime.timedelta(days=365)
            now = datetime.datetime.now(datetime.UTC)
            return self.authority.issue_cert(name, not_before=now - 2 * year, not_after=now - year)
        return self.authority.issue_cert(name)
