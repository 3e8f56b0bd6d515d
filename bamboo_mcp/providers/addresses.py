"""Is a service on this machine? Then it costs nothing, and no proxy stands before it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import httpx2


def is_on_this_machine(base_url: str) -> bool:
    try:
        host = (urlsplit(base_url).hostname or "").lower()
        if host == "localhost" or host.endswith(".localhost"):
            return True
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def direct_client(base_url: str) -> httpx2.AsyncClient | None:
    """For an SDK: an HTTP client past all proxies for a service on this machine, else None.

    It follows no redirect: the key and the conversation would go along to another host.
    """
    if not is_on_this_machine(base_url):
        return None
    import httpx2

    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
    plain = base_url.startswith("http:")  # to set up TLS takes 20 ms of everybody's time
    return httpx2.AsyncClient(
        trust_env=False, follow_redirects=False, limits=limits, verify=not plain
    )
