"""Certificates for whatever host a client names, signed by an authority made at start."""

import ssl

import trustme

# Put on hosts whose certificate is meant not to fit.
OTHER_NAME = "some-other-name.example"


class Certificates:
    """One authority and a server context per name, made when first asked for.

    wrong: host names that get a certificate of another name.
    """

    def __init__(self, wrong: frozenset[str] = frozenset()) -> None:
        self.authority = trustme.CA(organization_name="embedded web")
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
            connection.context = self._context(OTHER_NAME if name in self._wrong else name)

    def _context(self, name: str) -> ssl.SSLContext:
        context = self._contexts.get(name)
        if context is None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert(name).configure_cert(context)
            self._contexts[name] = context
        return context
