"""A mapping evaluated with everything kept: what each target field was made from, step by step, in target order.

The values are those of the reference evaluator, which does the computing; the ``Tracer`` only looks on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from esb.codecs.yaml import PathTuple
from esb.mapping import values
from esb.mapping.compile import Mapping, MappingError, Verdict
from esb.mapping.parts import inside
from esb.mapping.shape import Case, Expression, Shape
from esb.mapping.tracer import Line, Tracer, Tried
from esb.mapping.translation import Translation
from esb.model import Tree


@dataclass(slots=True)
class Trace:
    """``lines`` in the order in which they were computed, up to the ``error`` if there is one."""

    lines: list[Line]
    action: str = ""
    result: Tree = None
    verdict: Verdict | None = None
    cases: tuple[Tried, ...] = ()
    error: MappingError | None = None


def trace_build(mapping: Mapping, request: Tree, exchange: Tree, site: Tree) -> Trace:
    """What ``mapping.build`` does with a canonical request."""
    tracer = Tracer({"request": request, "exchange": exchange, "site": site})
    trace = Trace(tracer.lines)
    try:
        with tracer.at("action", mapping.file, ("action",)):
            trace.action = tracer.checked(mapping.sheet.action, values.action)
        with tracer.at("request", mapping.file, ("request",)):
            trace.result = tracer.whole(mapping.sheet.request)
    except Exception as error:
        tracer.blame(error)
        trace.error = _error(mapping.file, error, lambda: mapping.build_slowly(request, exchange, site))
    return trace


def trace_interpret(mapping: Mapping, answer: Tree, request: Tree, exchange: Tree, site: Tree) -> Trace:
    """What ``mapping.interpret`` makes of a system's answer."""
    tracer = Tracer({"answer": answer, "request": request, "exchange": exchange, "site": site})
    trace, tried = Trace(tracer.lines), list[Tried]()
    try:
        for at, case in enumerate(mapping.sheet.cases):
            with tracer.at(target := case_target(case, at), mapping.file, _case_path(target, at)):
                one, parts = tracer.tried(case)
            tried.append(one)
            if parts is not None:
                trace.verdict = Verdict(case.outcome, *parts)
                break
    except Exception as error:
        tracer.blame(error)
        trace.error = _error(mapping.file, error, lambda: mapping.interpret_slowly(answer, request, exchange, site))
    trace.cases = tuple(tried)
    if trace.error is None and trace.verdict is None:
        trace.verdict = mapping.interpret_slowly(answer, request, exchange, site)
    trace.result = trace.verdict.body if trace.verdict else None
    return trace


def trace_translate(translation: Translation, message: Tree, exchange: Tree, site: Tree) -> Trace:
    """What ``translation.translate`` makes of a message."""
    tracer = Tracer({"message": message, "exchange": exchange, "site": site})
    trace = Trace(tracer.lines)
    assert translation.sheet.gives is not None
    try:
        with tracer.at("gives", translation.file, ("gives",)):
            trace.result = tracer.whole(translation.sheet.gives)
    except Exception as error:
        tracer.blame(error)
        trace.error = _error(translation.file, error, lambda: translation.translate_slowly(message, exchange, site))
    return trace


def _error(file: str, seen: Exception, again: Callable[[], object]) -> MappingError:
    """The error of the evaluator; looking on needs more of Python's stack, so that it alone may fail."""
    try:
        again()
    except MappingError as error:
        return error
    return MappingError(file, 1, "", "", f"cannot be traced: {type(seen).__name__}")


def case_target(case: Case, at: int) -> str:
    """What the reader calls a case: ``response[1]``, or ``response`` for the only one."""
    shapes = (case.when, case.body, case.code, case.message, case.details)
    found = next((each for shape in shapes if shape is not None for each in _expressions(shape)), None)
    if found is not None and not found.target.startswith("response["):
        return "response"
    return f"response[{at}]"


def _case_path(target: str, at: int) -> PathTuple:
    return ("response", at) if target.endswith("]") else ("response",)


def _expressions(shape: Shape) -> Iterator[Expression]:
    if isinstance(shape, Expression):
        yield shape
    for inner in inside(shape):
        yield from _expressions(inner)
