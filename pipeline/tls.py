"""Whom to trust when connecting."""

import ssl
from functools import cache

import certifi


@cache
def trusting() -> ssl.SSLContext:
    """The system's authorities (a company's own, say), and the usual ones."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context
