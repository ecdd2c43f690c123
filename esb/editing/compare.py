"""``esb diff``: what a change of mappings changes on recorded exchanges, by field, patients' data masked."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from esb.config.settings import Settings
from esb.contract import Operation, load_contract
from esb.editing.persons import altered
from esb.editing.recorded import Recording, read_recordings
from esb.editing.sides import Side, load_side
from esb.endpoint import installed
from esb.fields import EVERYTHING, SAMPLES, Difference, Sample, changes, dotted, flat, named, shown, within
from esb.mapping import Mapping as FieldMapping
from esb.mapping import MappingError, Verdict
from esb.model import Tree
from esb.observe import mask


@dataclass(frozen=True, slots=True)
class Report:
    """``skipped`` are recordings that could not be compared, each with the reason."""

    compared: int
    differences: Sequence[Difference]
    skipped: Sequence[tuple[str, str]]


def compare(old: Side, new: Side, recordings: Iterable[Recording], operations: Mapping[str, Operation]) -> Report:
    """The differences by operation, side and field, in the order in which they were met."""
    found: dict[tuple[str, str, str], Difference] = {}
    skipped: list[tuple[str, str]] = []
    compared: Counter[str] = Counter()
    for recording in recordings:
        before, after = old.mapping(recording), new.mapping(recording)
        reason = _why_not(recording, before, after, old, new, operations)
        if reason or before is None or after is None:
            skipped.append((recording.id, reason))
            continue
        compared[recording.operation] += 1
        pair = _Pair(recording, operations[recording.operation], (before, old.root), (after, new.root))
        for side, name, sample in pair.differences():
            key = recording.operation, side, name
            difference = found.setdefault(key, Difference(*key))
            difference.exchanges += 1
            difference.samples += [sample] if len(difference.samples) < SAMPLES else []
    for difference in found.values():
        difference.compared = compared[difference.operation]
    return Report(compared.total(), list(found.values()), skipped)


def compared_on(old: str, new: str, recorded: Path, settings: Settings) -> Report:
    """The report for two names of mappings; raises ``ConfigError`` with what cannot be read."""
    recordings = read_recordings(recorded, installed("adapter", settings.adapters))
    operations = load_contract(settings.schemas).operations
    wanted = {recording.operation for recording in recordings}
    with tempfile.TemporaryDirectory() as scratch:
        before, after = (load_side(name, Path(scratch), wanted) for name in (old, new))
        return compare(before, after, recordings, operations)


def as_tree(report: Report) -> dict[str, Tree]:
    """The report for programs."""
    return {
        "compared": report.compared,
        "differences": [asdict(difference) for difference in report.differences],
        "skipped": [{"id": id_, "reason": reason} for id_, reason in report.skipped],
    }


def as_text(report: Report) -> str:
    """The report for people: each field with how many exchanges it differs in, and some of them."""
    lines: list[str] = []
    for one in report.differences:
        lines.append(f"{one.operation} {one.side} {one.name}: {one.exchanges} of {one.compared}")
        shown = ((sample.exchange, *map(_or_nothing, (sample.before, sample.after))) for sample in one.samples)
        lines += [f"    {exchange}: {before} -> {after}" for exchange, before, after in shown]
    reasons = Counter(reason for _, reason in report.skipped)
    lines += [f"skipped {count}: {reason}" for reason, count in reasons.items()]
    count = len(report.differences)
    return "\n".join([*lines, f"{report.compared} compared, {count} field{'s differ' if count != 1 else ' differs'}"])


def _or_nothing(value: str | None) -> str:
    return "(nothing)" if value is None else value


def _why_not(
    recording: Recording,
    before: FieldMapping | None,
    after: FieldMapping | None,
    old: Side,
    new: Side,
    operations: Mapping[str, Operation],
) -> str:
    if recording.operation not in operations:
        return f"'{recording.operation}' is not in the contract"
    wanted = f"a mapping {'/'.join(filter(None, (recording.dialect, recording.operation)))}"
    missing = [side.name for side, mapping in ((old, before), (new, after)) if mapping is None]
    if len(missing) > 1:
        return f"{wanted} is in neither, or there are several"
    return f"{wanted} is not in {missing[0]}, or there are several" if missing else ""


class _Pair:
    def __init__(
        self,
        recording: Recording,
        operation: Operation,
        before: tuple[FieldMapping, str],
        after: tuple[FieldMapping, str],
    ) -> None:
        self.recording, self.operation, self.sides = recording, operation, (before, after)

    def differences(self) -> Iterator[tuple[str, str, Sample]]:
        """Side, field and values of everything that is not the same before and after."""
        yield from self._changes("sends", [self._sent(*side) for side in self.sides])
        if self.recording.answered:
            yield from self._changes("answers", [self._understood(*side) for side in self.sides])

    def _changes(self, side: str, pair: list[dict[str, Tree]]) -> Iterator[tuple[str, str, Sample]]:
        before, after = pair
        if "error" in before or "error" in after:
            before, after = ({"error": one.get("error", one.get("outcome", "sent"))} for one in pair)
        for name, *values in changes(before, after):
            one, other = (self._shown(side, name, value) for value in values)
            yield side, name, Sample(self.recording.id, one, other)

    def _sent(self, mapping: FieldMapping, root: str, request: Mapping[str, Tree] | None = None) -> dict[str, Tree]:
        recording = self.recording
        try:
            action, payload = mapping.build(
                dict(request or recording.request), dict(recording.exchange), dict(recording.site)
            )
        except MappingError as error:
            return {"error": _Failed(error, root)}
        return {"action": action, **flat(payload)}

    def _understood(self, mapping: FieldMapping, root: str) -> dict[str, Tree]:
        recording = self.recording
        try:
            verdict = mapping.interpret(
                recording.answer, dict(recording.request), dict(recording.exchange), dict(recording.site)
            )
        except MappingError as error:
            return {"error": _Failed(error, root)}
        return _understood(verdict, mapping.file)

    def _shown(self, side: str, name: str, value: Tree) -> str | None:
        if isinstance(value, _Failed):
            return mask(value.said)
        if name in ("error", "action", "outcome", "code"):
            return shown(value, hidden=False)
        hidden = self._sent_of_patients() if side == "sends" else self._answered_of_patients()
        return shown(value, hidden=hidden is EVERYTHING or within(name, hidden))

    def _answered_of_patients(self) -> frozenset[str]:
        return frozenset({"message", "details", *map(dotted, self.operation.answer_phi)})

    def _sent_of_patients(self) -> frozenset[str]:
        """The fields that would be sent otherwise if the patient's data were other; all when that cannot be tried."""
        other = altered(self.recording.request, self.operation.request_phi)
        found: set[str] = set()
        for mapping, root in self.sides:
            now, then = self._sent(mapping, root), self._sent(mapping, root, other)
            if "error" in now or "error" in then:
                return EVERYTHING
            found |= {named(path) for path in {*now, *then} if now.get(path) != then.get(path)}
        return frozenset(found)


def _understood(verdict: Verdict, file: str) -> dict[str, Tree]:
    words = {"code": verdict.code, "message": verdict.message.replace(file, "the mapping")}
    found: dict[str, Tree] = {"outcome": str(verdict.outcome), **{name: word for name, word in words.items() if word}}
    return found | flat(verdict.body) | flat(dict(verdict.details), "details")


class _Failed:
    """A mapping that could not be computed: shown with its file and line, the same wherever these are."""

    def __init__(self, error: MappingError, root: str) -> None:
        self.said = str(error).removeprefix(root).lstrip("/") if root else str(error)
        self.what = (error.field, error.path, error.reason)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Failed) and self.what == other.what

    def __hash__(self) -> int:
        return hash(self.what)
