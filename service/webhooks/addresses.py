"""Where messages may go: http(s) addresses, and only public ones unless ALTPROP_WEBHOOK_ALLOW_PRIVATE is set.

A user names the address and the service calls it: without this, anybody with a token could have the service speak to
what only it can reach. A name is looked up once for each attempt, and the connection is made to what was looked up and
checked, so that a name which changes between the two gains nothing.
"""

import asyncio
import ipaddress
import re
import socket

import httpx
from django.conf import settings

from service.webhooks.errors import AddressRefused

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")  # a name, in ASCII, or an IPv6 address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
_PUBLIC_ONLY = "messages go to public addresses only (ALTPROP_WEBHOOK_ALLOW_PRIVATE lifts this)"


def parse_url(text: str) -> httpx.URL:
    """The address of an endpoint. Raises AddressRefused for what cannot be one, as far as a look shows."""
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise AddressRefused(f"it is no address: {error}") from None
    if url.scheme not in ("http", "https") or not host:
        raise AddressRefused("must be a whole address that begins with https:// or http://")
    if not _HOST.fullmatch(host):
        raise AddressRefused(f"no name of a host is spelt {host!r}")
    if url.port is not None and not 0 < url.port < 65536:
        raise AddressRefused(f"there is no port {url.port}")
    if url.userinfo:
        raise AddressRefused(
            "must not hold a user or password: the receiver knows who sends by the signature of each message"
        )
    if url.fragment:
        raise AddressRefused("must not hold a fragment (#…), which is never sent")
    literal = _literal(host)
    if literal is not None:
        if not may_be_called(literal):
            raise AddressRefused(f"{host} is not a public address; {_PUBLIC_ONLY}")
    elif not settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE and _names_this_machine(host):
        raise AddressRefused(f"{host} is this machine; {_PUBLIC_ONLY}")
    return url


async def look_up(url: httpx.URL) -> list[str]:
    """Addresses of its host that may be called. Raises AddressRefused where there is none."""
    host = url.raw_host.decode("ascii")
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise AddressRefused(f"The name {host} could not be looked up: {error}.") from None
    addresses = list(dict.fromkeys(str(socket_address[0]) for *_, socket_address in found))
    usable = [address for address in addresses if may_be_called(ipaddress.ip_address(address))]
    if not usable:
        raise AddressRefused(f"{host} is at {', '.join(addresses)}, which is not public; {_PUBLIC_ONLY}.")
    return usable


def may_be_called(address: IPAddress) -> bool:
    """Whether messages may go there: to public addresses, to all where the setting allows it."""
    return bool(settings.ALTPROP_WEBHOOK_ALLOW_PRIVATE) or all(_is_public(each) for each in _meanings(address))


def _is_public(address: IPAddress) -> bool:
    return address.is_global and not address.is_multicast


def _meanings(address: IPAddress) -> list[IPAddress]:
    """The address, and the IPv4 one that it stands for, since a router may send it on to that."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    meanings: list[IPAddress] = [address]
    if address.sixtofour is not None:
        meanings.append(address.sixtofour)
    if address in _NAT64:
        meanings.append(ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF))
    return meanings


def _literal(host: str) -> IPAddress | None:
    """The address that stands there in place of a name, also in forms such as 0x7f.1; None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def _names_this_machine(host: str) -> bool:
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")
