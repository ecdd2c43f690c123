"""What stands between the tags of a complex type: elements, sequences, choices and wildcards, as compiled writers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from esb.codecs import EncodeError
from esb.spi import Tree

_MISSING: Any = object()


class Content(Protocol):
    """The writer of one type: the open tag with its attributes, what is inside, the end tag.

    ``takes_list`` says that one occurrence may be a list: a SOAP array, a list of simple values.
    """

    takes_list: bool

    def write(self, tree: Tree, out: list[str], tag: str, extra: str = "") -> None: ...


class At:
    """Prepends to the path of an ``EncodeError`` that passes."""

    def __init__(self, step: str) -> None:
        self._step = step

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, EncodeError):
            raise longer(error, self._step) from None


def longer(error: EncodeError, step: str) -> EncodeError:
    dot = "." if error.path and error.path[0] != "[" else ""
    return EncodeError(error.reason, f"{step}{dot}{error.path}")


class Particle(Protocol):
    def write(self, tree: Mapping[str, Tree], out: list[str], required: bool) -> None: ...
    def elements(self) -> Iterator[ElementWriter]: ...
    def wanted(self) -> Iterator[ElementWriter]: ...
    def open(self) -> bool: ...


class ElementWriter:
    """One element of the schema: how often it may come, and its type's writer."""

    def __init__(self, element: Any, tag: str, typed: str, content: Content) -> None:
        self.key: str = element.qname.localname
        self.required = int(element.min_occurs) > 0 and element.default is None
        self.many = element.max_occurs == "unbounded" or int(element.max_occurs) > 1
        self.nillable = bool(element.nillable)
        self.tag = tag
        self.typed = typed
        self.content = content

    def elements(self) -> Iterator[ElementWriter]:
        yield self

    def wanted(self) -> Iterator[ElementWriter]:
        if self.required:
            yield self

    def open(self) -> bool:
        return False

    def write(self, tree: Mapping[str, Tree], out: list[str], required: bool) -> None:
        value = tree.get(self.key, _MISSING)
        if isinstance(value, list | tuple) and (self.many or not self.content.takes_list):
            self._write_list(value, out, required)
        elif value is _MISSING:
            if required and self.required:
                raise EncodeError("is required by the WSDL", self.key)
        else:
            self.put(value, out, required)

    def _write_list(self, values: list[Tree] | tuple[Tree, ...], out: list[str], required: bool) -> None:
        if not self.many:
            raise EncodeError("occurs once in the WSDL, not as a list", self.key)
        if required and self.required and not values:
            raise EncodeError("is required by the WSDL", self.key)
        for index, value in enumerate(values):
            with At(f"{self.key}[{index}]"):
                self.content.write(value, out, self.tag, self.typed)

    def put(self, value: Tree, out: list[str], required: bool = True) -> None:
        """Write one occurrence."""
        if value is None or (isinstance(value, Mapping) and value.keys() == {"@xsi:nil"}):
            if value is not None or (required and self.required and self.nillable):
                out.append(f'<{self.tag} xsi:nil="true"/>')
            elif required and self.required:
                raise EncodeError("is required by the WSDL", self.key)
            return
        try:
            self.content.write(value, out, self.tag, self.typed)
        except EncodeError as error:
            raise longer(error, self.key) from None


class Sequence:
    """``xs:sequence``, ``xs:all`` and named groups: every particle in turn, and the whole again where it repeats."""

    def __init__(self, parts: list[Particle], required: bool, many: bool) -> None:
        self._parts = parts
        self._required = required
        self._names = [element.key for element in self.elements()]
        self._many = many

    def elements(self) -> Iterator[ElementWriter]:
        for part in self._parts:
            yield from part.elements()

    def wanted(self) -> Iterator[ElementWriter]:
        for part in self._parts if self._required else ():
            yield from part.wanted()

    def open(self) -> bool:
        return any(part.open() for part in self._parts)

    def write(self, tree: Mapping[str, Tree], out: list[str], required: bool) -> None:
        required = (required and self._required) or any(name in tree for name in self._names)
        for turn in self._turns(tree) if self._many else (tree,):
            for part in self._parts:
                part.write(turn, out, required)

    def _turns(self, tree: Mapping[str, Tree]) -> Iterator[Mapping[str, Tree]]:
        """A repeating sequence of ``{a: [1, 2], b: [3, 4]}`` is a, b, a, b."""
        columns = {name: _list(tree[name]) for name in self._names if name in tree}
        for index in range(max(map(len, columns.values()), default=0)):
            yield {name: values[index] for name, values in columns.items() if index < len(values)}


class Choice:
    """``xs:choice``: the alternative that the tree has; where it repeats, all that it has, in the tree's order.

    None at all is left to the system to judge: zeep forgets whether an alternative may be absent.
    """

    def __init__(self, parts: list[Particle], many: bool) -> None:
        self._parts = parts
        self._many = many
        self._owner = {element.key: part for part in parts for element in part.elements()}

    def elements(self) -> Iterator[ElementWriter]:
        for part in self._parts:
            yield from part.elements()

    def wanted(self) -> Iterator[ElementWriter]:
        yield from ()

    def open(self) -> bool:
        return any(part.open() for part in self._parts)

    def write(self, tree: Mapping[str, Tree], out: list[str], required: bool) -> None:
        chosen = list(dict.fromkeys(self._owner[key] for key in tree if key in self._owner and tree[key] is not None))
        if len(chosen) > 1 and not self._many:
            names = [key for key in tree if key in self._owner]
            raise EncodeError(f"only one of {', '.join(names)} may be sent")
        for part in chosen:
            for turn in self._turns(part, tree):
                part.write(turn, out, True)

    def _turns(self, part: Particle, tree: Mapping[str, Tree]) -> Iterator[Mapping[str, Tree]]:
        """In a repeating choice even an element that occurs once may come again."""
        if not (self._many and isinstance(part, ElementWriter)) or part.many:
            yield tree
            return
        for value in _list(tree[part.key]):
            yield {part.key: value}


class Wildcard:
    """``xs:any``: what the schema does not name is written last by the type itself."""

    def elements(self) -> Iterator[ElementWriter]:
        yield from ()

    wanted = elements

    def open(self) -> bool:
        return True

    def write(self, tree: Mapping[str, Tree], out: list[str], required: bool) -> None:
        return None


def _list(value: Tree) -> list[Tree]:
    return list(value) if isinstance(value, list | tuple) else [value]
