"""Who may not come in, whatever they show: browsers on behalf of other sites, and others where the door is open.

A browser sends what another site asks for with its user's cookies, and its user did not ask for it.

Browsers say where a request comes from, in `Sec-Fetch-Site` or at least in `Origin`; programs send neither, and are let
through. This needs no token, and it covers requests without a body too.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

from modules.core.errors import Forbidden

_HARMLESS = frozenset({"GET", "HEAD", "OPTIONS"})


class CrossSite(Forbidden):
    """A browser sent this on behalf of another site."""

    code = "CROSS_SITE"


def refuse_other_sites(request: Request, *, open_door: bool) -> None:
    """Raises CrossSite. With an `open_door`, where no key is asked for, nobody may come over the network, and a browser
    must have been sent here by name: otherwise another site could lend its name to our address (DNS rebinding)."""
    if open_door and request.client is not None and _is_elsewhere(request.client.host):
        raise Forbidden(
            "This server asks for no key and is for this machine only: set CORE_SCHEDULER_AUTH_REQUIRED=true to let "
            "others in."
        )
    fetched_from, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if fetched_from is None and origin is None:
        return
    if open_door and not is_this_machine(request.url.hostname or ""):
        raise CrossSite("This server asks for no key and is for this machine only: use http://127.0.0.1 or localhost.")
    if request.method in _HARMLESS:
        return
    same_site = fetched_from in ("same-origin", "none") if fetched_from else _host_of(origin) == request.url.netloc
    if not same_site:
        raise CrossSite("A browser sent this from another site: open the page on this server's own address.")


def is_this_machine(host: str) -> bool:
    """Whether only this machine is reached by that name or address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _is_elsewhere(client: str) -> bool:
    try:
        return not ipaddress.ip_address(client).is_loopback
    except ValueError:  # a socket file, or a test client: no address of a network
        return False


def _host_of(origin: str | None) -> str | None:
    return urlsplit(origin or "").netloc or None
