"""Where a server listens and who may come; where it is reached, from this machine and by others."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Sequence

from nextword.errors import ConfigError
from nextword.settings import ServerSettings

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_TEST_NET = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses set aside for documentation: what would go there goes by the way to other machines."""


def check_key(host: str, key: str | None) -> None:
    """Refuses a key that no request can send, and to be open to a network without one.

    Raises:
        ConfigError: It is blank or holds a control character, or others can reach the host and there is none.
    """
    if key is not None and not key.strip():
        raise ConfigError("the API key is blank", hint="set NEXTWORD_API_KEY to a word, or unset it")
    if key is not None and any(character < " " or character == "\x7f" for character in key.strip()):
        raise ConfigError(
            "the API key holds a control character, which no request can send",
            hint="set NEXTWORD_API_KEY to a word, or unset it",
        )
    if host not in LOOPBACK and key is None:
        raise ConfigError(
            f"others can reach {host}, so an API key is needed",
            hint="set NEXTWORD_API_KEY, or leave out host=... to serve this machine only",
        )


def allowed_hosts(settings: ServerSettings) -> Sequence[str] | None:
    """Names that requests may ask for; None is any: others, behind a key, know it by names that it does not."""
    return (*LOOPBACK, *map(str.lower, settings.allow_host)) if settings.host in LOOPBACK else None


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to an address.

    Raises:
        ConfigError: It is taken, or not of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends small packets at once only on sockets whose protocol is given; else the first token waits 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="choose another port; port=0 takes any that is free",
        ) from None
    listening.set_inheritable(True)
    return listening


def url_of(host: str, port: int) -> str:
    """A server's address as it is typed."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_wildcard(host: str) -> bool:
    """Whether a server at this host listens on all addresses of this machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a name
        return False


def loopback_of(host: str) -> str:
    """The host by which this machine itself reaches a server."""
    if not is_wildcard(host):
        return host
    return "::1" if ":" in host else "127.0.0.1"


def lan_urls(host: str, port: int) -> list[str]:
    """The addresses that others can type for a server that listens on all of them; none where it listens on one."""
    if not is_wildcard(host):
        return []
    found = dict.fromkeys(address for family in families(host) for address in _local_addresses(family))
    public = [address for address in found if not ipaddress.ip_address(address.partition("%")[0]).is_loopback]
    return [url_of(address, port) for address in public]


def families(host: str) -> list[socket.AddressFamily]:
    """The kinds of addresses that a server at a host answers."""
    return [socket.AF_INET6, socket.AF_INET] if ":" in host else [socket.AF_INET]


def _local_addresses(family: socket.AddressFamily) -> list[str]:
    """Addresses of this machine: that of the way to others first, then those of its name. Nothing is sent."""
    found = []
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:  # there may be none
        probe.connect((_TEST_NET[family], 9))
        found.append(str(probe.getsockname()[0]))
    with contextlib.suppress(OSError):
        found += [str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None, family)]
    return found
