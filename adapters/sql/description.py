"""What a statement or a procedure is sent and answers, as types."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from adapters.sql.columns import Columns, columns
from adapters.sql.statement import Procedure, Style, parse
from esb.spi import ANY, Description, Type


def described(action: str, style: Style, *, writes: bool) -> Description:
    """Raises ``ValueError`` where ``parse`` does.

    The request has the binds, all of them required; a NULL is given as null. A row is open where the statement does not
    say what it holds: ``*``, an expression without an alias, a procedure's result.
    """
    parsed = parse(action, style)
    if isinstance(parsed, Procedure):
        request = _structure(_binds(parsed.binds)) if parsed.listed else ANY
        out = _structure({name: Type() for name in parsed.outs})
        return Description(request, _structure({"rows": _rows(Columns()), "out": out, "sets": Type(many=True)}))
    answer = {"rows": _rows(columns(action, style))} | ({"affected": Type("integer", required=True)} if writes else {})
    return Description(_structure(_binds(parsed.binds)), _structure(answer))


def _structure(fields: Mapping[str, Type]) -> Type:
    return Type("structure", required=True, make=lambda: fields)


def _binds(names: Iterable[str]) -> dict[str, Type]:
    return {name: Type(required=True) for name in sorted(names)}


def _rows(found: Columns) -> Type:
    return Type("structure", many=True, required=True, open=found.open, make=lambda: _Row(found))


class _Row(Mapping[str, Type]):
    """The columns by name, in any case where the database decides it."""

    def __init__(self, found: Columns) -> None:
        self._names = [column.name for column in found.named]
        self._exact = {column.name for column in found.named if column.exact}
        self._folded = {column.name.casefold() for column in found.named if not column.exact}

    def __getitem__(self, name: str) -> Type:
        if name in self._exact or name.casefold() in self._folded:
            return Type()
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._names))

    def __len__(self) -> int:
        return len(set(self._names))
