"""Who may do what only one may do, for how long, by the time of the database.

A lease is a row with its holder. It is renewed while its holder lives and may be taken by another when its time is
over. ``fence`` grows with every new holder, so that what an earlier one still wants to do can be told from what the
present one does. The lease of an instance is its life: while the row is there, what it has under way is its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from esb.clock import boottime
from esb.store.tables import Fenced, lease

INSTANCE = "instance/"
_EPOCH_MS = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1000, sa.BigInteger)

Now = Callable[[sa.Connection], int]


def now_ms(connection: sa.Connection) -> int:
    """The time in milliseconds that all who share the store agree on: the database's; of a file, the machine's."""
    if connection.dialect.name == "sqlite":
        return time.time_ns() // 1_000_000
    found: int = connection.execute(sa.select(_EPOCH_MS)).scalar_one()
    return found


def acquire(connection: sa.Connection, name: str, holder: str, now: int, ttl_ms: int) -> int | None:
    """Take or renew a lease; its fence, or None while another has it."""
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(lease)
    free = sa.or_(lease.c.holder == holder, lease.c.until_ms <= now)
    found: int | None = connection.scalar(
        insert.values(name=name, holder=holder, fence=1, until_ms=now + ttl_ms)
        .on_conflict_do_update(
            index_elements=[lease.c.name],
            set_={
                "holder": holder,
                "fence": lease.c.fence + sa.case((lease.c.holder == holder, 0), else_=1),
                "until_ms": now + ttl_ms,
            },
            where=free,
        )
        .returning(lease.c.fence)
    )
    return found


def release(connection: sa.Connection, name: str, holder: str) -> None:
    """Let another have it at once; the row stays, for its fence goes on growing."""
    mine = sa.and_(lease.c.name == name, lease.c.holder == holder)
    connection.execute(lease.update().where(mine).values(until_ms=0))


def holds(connection: sa.Connection, name: str, fence: int) -> bool:
    """Whether this fence is still the last one; nobody takes the lease before this transaction has ended."""
    query = sa.select(lease.c.fence).where(lease.c.name == name).with_for_update(read=True)
    return bool(connection.scalar(query) == fence)


_RENEW = (
    lease.update()
    .where(lease.c.name == sa.bindparam("its_name"))
    .values(until_ms=_EPOCH_MS + sa.bindparam("its_ttl", type_=sa.BigInteger))
    .returning(sa.cast(sa.func.pg_current_xact_id(), sa.Text))
)
_ENROL = (
    postgresql.insert(lease)
    .values(
        name=sa.bindparam("its_name"),
        holder=sa.bindparam("its_name"),
        fence=1,
        until_ms=_EPOCH_MS + sa.bindparam("its_ttl", type_=sa.BigInteger),
    )
    .on_conflict_do_nothing(index_elements=[lease.c.name])
    .returning(sa.cast(sa.func.pg_current_xact_id(), sa.Text))
)


class Instance:
    """This process among those that share a store: its name, its lease, and what it has under way.

    The lease is renewed in every transaction that writes, and nobody can take it while that transaction lasts. A lease
    whose time is over is still ours until somebody has taken it. Then this process goes on under a new name; what it
    had under way under the old one it can neither send nor finish: that is in ``estranged`` until it has tried.
    """

    def __init__(self, new_name: Callable[[], str], ttl_s: float, *, elapsed: Callable[[], float] = boottime) -> None:
        self._new_name, self._ttl_s, self._elapsed = new_name, ttl_s, elapsed
        self.name = INSTANCE + new_name()
        self.under_way: set[str] = set()
        self.estranged: set[str] = set()
        self._taking: set[str] = set()
        self._leaving: set[str] = set()
        self._is_enrolled = False
        self._since = self._last = float("-inf")

    def takes(self, exchanges: Iterable[str]) -> None:
        """These are under way once the transaction is committed."""
        self._taking.update(exchanges)
        self._leaving.difference_update(exchanges)

    def leaves(self, exchanges: Iterable[str]) -> None:
        """These are not under way any more once the transaction is committed."""
        self._leaving.update(exchanges)
        self._taking.difference_update(exchanges)

    @property
    def ttl_s(self) -> float:
        """Seconds that a lease lasts."""
        return self._ttl_s

    @property
    def is_valid(self) -> bool:
        """Whether nobody can have taken the lease yet: looked at after a commit, before bytes go out."""
        return self._elapsed() < self._last + self._ttl_s

    @property
    def may_judge(self) -> bool:
        """Whether the database was there for a whole lease, so that every living instance had time to renew its own."""
        now = self._elapsed()
        return not self._was_away(now) and now >= self._since + self._ttl_s

    def enter(self, connection: sa.Connection) -> str:
        """Renew in this transaction, whose number is returned; raises ``Fenced`` when another has taken the lease."""
        self._taking.clear()
        self._leaving.clear()
        values = {"its_name": self.name, "its_ttl": int(self._ttl_s * 1000)}
        if self._is_enrolled:
            number = connection.scalar(_RENEW, values)
        else:
            number = connection.scalar(_ENROL, values) or connection.scalar(_RENEW, values)
        if number is None:
            self._estrange()
            raise Fenced("the lease of this process was taken over")
        return str(number)

    def entered(self, at: float) -> None:
        """The transaction that began at ``at`` (of ``now``) was committed."""
        if self._was_away(at):
            self._since = at
        self._is_enrolled, self._last = True, at
        self.under_way |= self._taking
        self.under_way -= self._leaving

    def _was_away(self, at: float) -> bool:
        """Every instance commits something three times in a lease. Half a lease without a commit of ours may have been
        an outage, in which the leases of others ended that were renewed as they should.
        """
        return at > self._last + self._ttl_s / 2

    def now(self) -> float:
        """Seconds by a clock that never stands still."""
        return self._elapsed()

    def _estrange(self) -> None:
        self.estranged |= self.under_way
        self.under_way.clear()
        self.name = INSTANCE + self._new_name()
        self._is_enrolled, self._since = False, float("-inf")


def leave(connection: sa.Connection, name: str) -> None:
    """End the lease of an instance, and what it holds besides."""
    connection.execute(lease.update().where(lease.c.holder == name, lease.c.name != name).values(until_ms=0))
    connection.execute(lease.delete().where(lease.c.name == name))


def bury(connection: sa.Connection) -> list[str]:
    """End the leases of instances whose time is over, but for those that are renewing it now; their names."""
    over = sa.and_(lease.c.name.startswith(INSTANCE), lease.c.until_ms <= now_ms(connection))
    found = list(connection.scalars(sa.select(lease.c.name).where(over).with_for_update(skip_locked=True)))
    connection.execute(lease.delete().where(lease.c.name.in_(found)))
    return found
