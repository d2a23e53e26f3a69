"""Where a server is reached: from this machine, and by others."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

_ELSEWHERE = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses set aside for documentation: what would go there goes by the way to other machines."""


def url_of(host: str, port: int) -> str:
    """A server's address as it is typed."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_everywhere(host: str) -> bool:
    """Whether a server at this host listens on all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return False


def here(host: str) -> str:
    """The host by which this machine itself reaches a server."""
    if not is_everywhere(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def for_others(host: str, port: int) -> list[str]:
    """The addresses that others can type for a server that listens on all of them; none where it listens on one."""
    if not is_everywhere(host):
        return []
    found = dict.fromkeys(address for family in families(host) for address in _own(family))
    public = [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    return [url_of(address, port) for address in public]


def families(host: str) -> list[socket.AddressFamily]:
    """The kinds of addresses that a server at a host answers."""
    return [socket.AF_INET6, socket.AF_INET] if ":" in host else [socket.AF_INET]


def _own(family: socket.AddressFamily) -> list[str]:
    """Addresses of this machine: that of the way to others first, then those of its name. Nothing is sent."""
    found = []
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as way:  # there may be none
        way.connect((_ELSEWHERE[family], 9))
        found.append(str(way.getsockname()[0]))
    with contextlib.suppress(OSError):
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, family)]
    return found
