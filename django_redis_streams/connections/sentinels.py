"""Connecting by sentinels: they are asked in turn where the master is, and what they name must say that it is one.

redis-py's own Sentinel class isn't used: it believes what a sentinel says, and tries again by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import IntEnum
from typing import Any, Final, TypeVar

from redis.connection import SSLConnection
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .addresses import Address, Remap, place
from .protocols import WITHIN, wrong_scheme
from .transport import ask, connect

__all__ = ["Sentinels", "check_role"]

T = TypeVar("T")

# In seconds: how long a sentinel is waited for where no option says it, and the least where little time is left.
_LIMIT: Final = 2.0
_LEAST: Final = 0.05


class _Rank(IntEnum):
    """What came of asking a sentinel: it led to the master, wasn't asked, named no master, or didn't answer."""

    LED = 0
    NOT_ASKED = 1
    ANSWERED = 2
    SILENT = 3


class Sentinels:
    """The sentinels of one master, named `master`. For any number of threads.

    They are asked in the order of what came of asking them last: first the one that led to the master.
    """

    def __init__(
        self, addresses: tuple[Address, ...], master: str, kind: type[Any], arguments: Mapping[str, Any], remap: Remap
    ) -> None:
        self.addresses = addresses
        self.master = master
        self.arguments = arguments
        self._kind = kind
        self._remap = remap
        self._order = addresses

    def made(self, address: Address, seconds: float | None = None) -> Any:
        """Return redis-py's connection to a sentinel, not connected; it waits for so many seconds at each step."""
        limit = _shorter(self.arguments.get("socket_connect_timeout", _LIMIT) or _LIMIT, seconds)
        reply = _shorter(limit, self.arguments.get("socket_timeout"))
        host, port = address
        limits = {"socket_connect_timeout": limit, "socket_timeout": reply}
        return self._kind(**{**self.arguments, **limits, "host": host, "port": port})

    def connect(self, reach: Callable[[Address, float | None], T], until: float | None) -> T:
        """Return what `reach` makes of the master's address and the seconds that it may take.

        `until`, on the monotonic clock, bounds the whole: each step gets a share of what is left. Raises redis-py's
        error with what each sentinel said, and what it named.
        """
        order, ranks = self._order, dict.fromkeys(self.addresses, _Rank.NOT_ASKED)
        failures: dict[Address, RedisError] = {}
        tried: dict[Address, RedisError] = {}
        try:
            for left, each in zip(range(len(order), 0, -1), order, strict=True):
                try:
                    announced = self._ask(each, _share(until, left + 1))
                    ranks[each] = _Rank.ANSWERED
                    found = self._reached(announced, tried, reach, _share(until, left))
                except RedisError as error:
                    failures[each] = error
                    if ranks[each] is _Rank.NOT_ASKED:
                        ranks[each] = _Rank.SILENT
                else:
                    ranks[each] = _Rank.LED
                    return found
        finally:
            self._order = tuple(sorted(order, key=lambda each: ranks[each]))
        raise self._no_master(failures)

    def _ask(self, sentinel: Address, seconds: float | None) -> Address:
        """Return the address that a sentinel names. Raises redis-py's errors, in words."""
        connection = self.made(sentinel, seconds)
        try:
            connect(connection)
            reply = ask(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.master)
        except AuthenticationError as error:
            raise AuthenticationError(
                f"refuses its user or password ({_text(error)}): set both in SENTINEL_OPTIONS"
            ) from None
        except ResponseError as error:
            raise RedisError(f"refuses to say where the master is, or is no sentinel ({_text(error)})") from None
        except RedisError as error:
            kind = RedisTimeoutError if isinstance(error, RedisTimeoutError) else RedisConnectionError
            raise kind(self._unreached(sentinel, error, seconds)) from None
        finally:
            connection.disconnect()
        if reply is None:
            raise RedisError(f"knows no master named {self.master!r}: correct the name in URL, or have it monitored")
        with suppress(TypeError, ValueError):
            host, port = reply
            return str(host), int(port)
        raise RedisError(f"named {reply!r}, which is no address")

    def _unreached(self, sentinel: Address, error: RedisError, seconds: float | None) -> str:
        text = f"can't be asked ({_text(error)})"
        tls = issubclass(self._kind, SSLConnection)
        # What speaks no TLS waits for the rest of what begins it. One that speaks it answers at once.
        if isinstance(error, RedisTimeoutError) and not tls:
            return text
        if wrong_scheme(*sentinel, tls=tls, within=_shorter(WITHIN, seconds)):
            return f"{text}: it speaks {'no ' if tls else ''}TLS, so set 'ssl' to {not tls} in SENTINEL_OPTIONS"
        return text

    def _reached(
        self,
        announced: Address,
        tried: dict[Address, RedisError],
        reach: Callable[[Address, float | None], T],
        seconds: float | None,
    ) -> T:
        """Return what `reach` makes of an address, unless another sentinel has named it in vain."""
        address = announced
        try:
            address = self._remap(announced)
            address[0].encode("idna")  # as looking it up does
        except UnicodeError:
            raise RedisError(f"names {place(announced)}, and {place(address)} can't be looked up") from None
        except ValueError as error:
            raise RedisError(f"names {place(announced)}; {error}") from None
        if address not in tried:
            try:
                return reach(address, seconds)
            except RedisError as error:
                tried[address] = error
        why = tried[address]
        name = place(address) if address == announced else f"{place(announced)}, remapped to {place(address)}"
        kind = next(
            (each for each in (AuthenticationError, RedisTimeoutError) if isinstance(why, each)), RedisConnectionError
        )
        raise kind(f"names {name}, and that {_said(why)}")

    def _no_master(self, failures: Mapping[Address, RedisError]) -> RedisError:
        """Return the error that says what each sentinel said.

        Where a user or a password is refused, nothing is tried again soon; where nobody answered, that has cost time.
        """
        said = " ".join(f"{place(each)} {_text(failures[each])}." for each in self.addresses if each in failures)
        text = f"no sentinel leads to the master {self.master!r}. {said}"
        errors = failures.values()
        if any(isinstance(each, AuthenticationError) for each in errors):
            return AuthenticationError(text)
        if all(isinstance(each, RedisTimeoutError) for each in errors):
            return RedisTimeoutError(text)
        return RedisConnectionError(text)


def check_role(connection: Any) -> None:
    """Raise redis-py's error where a connected server doesn't say that it is a master."""
    try:
        role = ask(connection, "ROLE")[0]
    except ResponseError as error:
        raise RedisConnectionError(
            f"doesn't say whether it is the master ({_text(error)}): allow the user of the connection ROLE"
        ) from None
    if role != "master":
        raise RedisConnectionError(f"says that it is {'a replica' if role == 'slave' else repr(role)}")


def _share(until: float | None, parts: int) -> float | None:
    return None if until is None else max(_LEAST, (until - time.monotonic()) / parts)


def _shorter(one: float, other: float | None) -> float:
    return one if other is None else min(one, other)


def _text(error: RedisError) -> str:
    return str(error).rstrip(".")


def _said(error: RedisError) -> str:
    text = _text(error)
    if text.startswith(("says", "doesn't say")):
        return text
    return f"{'refuses the user or the password' if isinstance(error, AuthenticationError) else 'fails'} ({text})"
