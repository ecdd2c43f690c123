"""The columns of a statement's answer, where its text tells them for certain.

A column is certain when it is a plain name or has an alias; an expression without one is called by each database in its
own way, and ``*`` is known to the database only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from adapters.sql.statement import TOKEN, Style


@dataclass(frozen=True, slots=True)
class Column:
    """``exact`` unless the database may give the name back in the case of the table's definition."""

    name: str
    exact: bool


class Columns(NamedTuple):
    """``open`` when there may be more than are named."""

    named: tuple[Column, ...] = ()
    open: bool = True

    def twice(self) -> list[str]:
        """Names that stand more than once in whatever case they come back."""
        counts = Counter(column.name for column in self.named)
        return [name for name, count in counts.items() if count > 1]


class _Token(NamedTuple):
    """``kind`` is ``word``, ``quoted``, ``bind`` or the character itself; ``upper`` is "" of all but words."""

    kind: str
    text: str
    upper: str = ""


# A list of words reads better in rows than one a line.
# ruff: noqa: SIM905
_VERBS: Final = frozenset("SELECT INSERT UPDATE DELETE MERGE REPLACE VALUES TABLE SHOW".split())
_MODIFIERS: Final = frozenset(
    """ALL DISTINCT DISTINCTROW HIGH_PRIORITY STRAIGHT_JOIN SQL_SMALL_RESULT SQL_BIG_RESULT SQL_BUFFER_RESULT
    SQL_CACHE SQL_NO_CACHE SQL_CALC_FOUND_ROWS""".split()
)
_ENDS: Final = frozenset(
    "FROM WHERE GROUP HAVING WINDOW UNION INTERSECT EXCEPT ORDER LIMIT OFFSET FETCH FOR INTO PROCEDURE LOCK".split()
)
_OPEN: Final = ("(", "[")
_CLOSE: Final = (")", "]")
_INSIDE: Final = {"FROM": "DISTINCT", "GROUP": "WITHIN"}
"""``a IS DISTINCT FROM b`` and ``WITHIN GROUP (...)`` end no list."""

_NO_NAMES: Final = frozenset(
    """NULL TRUE FALSE UNKNOWN DEFAULT NOT AND OR XOR IS IN LIKE ILIKE RLIKE REGEXP BETWEEN EXISTS ISNULL NOTNULL DIV
    MOD CASE WHEN THEN ELSE END CAST BINARY COLLATE OVER FILTER WITHIN INTERVAL ARRAY ROW ANY SOME ALL DISTINCT
    ESCAPE AS ON CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURRENT_ROLE CURRENT_CATALOG
    CURRENT_SCHEMA SESSION_USER SYSTEM_USER LOCALTIME LOCALTIMESTAMP UTC_DATE UTC_TIME UTC_TIMESTAMP SYSDATE ROWID
    OID _ROWID_ GLOB MATCH SOUNDS SIMILAR OVERLAPS ASC DESC WITH""".split()
)
"""Words that are no column's name and no alias unless quoted; SQLite's row number comes back under the key's name."""


def columns(statement: str, style: Style) -> Columns:
    """The columns of the rows that a statement gives; of a UNION those of its first SELECT."""
    tokens = list(_top(statement))
    verb = _verb(tokens)
    if verb is not None and tokens[verb].upper == "SELECT":
        return _listed(_without_modifiers(tokens[verb + 1 :]), style)
    returning = next((at for at, token in enumerate(tokens) if token.upper == "RETURNING"), None)
    return _listed(tokens[returning + 1 :], style) if verb is not None and returning else Columns()


def _verb(tokens: Sequence[_Token]) -> int | None:
    """Where the statement itself begins: at once, or after what WITH defines."""
    at = next((at for at, token in enumerate(tokens) if token.upper in _VERBS), None)
    if not at or tokens[0].upper != "WITH":
        return at if at == 0 else None
    before = [token.upper or token.kind for token in tokens[max(at - 2, 0) : at]]
    return at if before in (["AS", "("], ["MATERIALIZED", "("]) else None


def _top(statement: str) -> Iterator[_Token]:
    """The tokens outside of brackets; a pair of brackets with all that is in it is the opening one."""
    depth = 0
    for token in _tokens(statement):
        if not depth:
            yield token
        depth += (token.kind in _OPEN) - (token.kind in _CLOSE)


def _tokens(statement: str) -> Iterator[_Token]:
    position = 0
    for match in TOKEN.finditer(statement):
        yield from (_Token(char, char) for char in statement[position : match.start()] if not char.isspace())
        position = match.end()
        kind = match.lastgroup or ""
        if kind == "word":
            yield _Token("word", match[0], match[0].upper())
        elif kind != "end":
            yield _Token({"name": "bind"}.get(kind, kind), match[0])
    yield from (_Token(char, char) for char in statement[position:] if not char.isspace())


def _without_modifiers(tokens: list[_Token]) -> list[_Token]:
    at = 0
    while at < len(tokens) and tokens[at].upper in _MODIFIERS:
        at += 1
    if (
        at
        and tokens[at - 1].upper == "DISTINCT"
        and [token.text.upper() for token in tokens[at : at + 2]] == ["ON", "("]
    ):
        at += 2
    return tokens[at:]


def _listed(tokens: list[_Token], style: Style) -> Columns:
    items: list[list[_Token]] = [[]]
    for token in tokens:
        if token.upper in _ENDS and not (items[-1] and items[-1][-1].upper == _INSIDE.get(token.upper, "-")):
            if token.upper == "INTO":
                return Columns()
            break
        if token.kind == ",":
            items.append([])
        else:
            items[-1].append(token)
    found = [_column(item, style) for item in items]
    return Columns(tuple(filter(None, found)), None in found)


def _column(item: Sequence[_Token], style: Style) -> Column | None:
    if _plain(item):
        name = _name(item[-1], style)
        return Column(name, exact=style == "postgresql") if name is not None else None
    if len(item) > 1 and item[-2].upper == "AS":
        alias = _name(item[-1], style, may_be_text=True)
    elif _plain(item[:-1]) or (len(item) > 1 and item[-2].kind == "("):
        alias = _name(item[-1], style)
    else:
        return None
    return Column(alias, exact=True) if alias is not None else None


def _plain(item: Sequence[_Token]) -> bool:
    """``name``, ``table.name`` or ``schema.table.name``."""
    names, dots = item[::2], item[1::2]
    return len(item) % 2 == 1 and all(token.kind == "." for token in dots) and all(_is_name(token) for token in names)


def _is_name(token: _Token) -> bool:
    if token.kind == "word":
        return token.upper not in _NO_NAMES and not token.text[0].isdigit()
    return token.kind == "quoted" and token.text[0] != "'"


def _name(token: _Token, style: Style, *, may_be_text: bool = False) -> str | None:
    """A name as the database gives it back; ``"x"`` and ``'x'`` are names only where no text can stand."""
    if token.kind == "word":
        name = token.text.lower() if style == "postgresql" else token.text
        return name if _is_name(token) else None
    mark = token.text[0]
    quotes = '"' if style == "postgresql" else "`'\"" if may_be_text else "`"
    return token.text[1:-1].replace(mark * 2, mark) if token.kind == "quoted" and mark in quotes else None
