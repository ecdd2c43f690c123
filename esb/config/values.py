"""The small words of ``routes.yaml``: durations, rates, breakers, and values that come from outside the file.

``$env.NAME`` and ``$secret.name`` are texts, ``?? text`` after either is its default; ``$file.path`` is a file beside
``routes.yaml``. Secrets come from ``<secrets>/<name>`` or from ``ESB_SECRET_<NAME>``; they are never written in YAML.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    WithJsonSchema,
    model_serializer,
    model_validator,
)

from esb.codecs.yaml import Document, PathTuple
from esb.errors import Finding

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_RATE = re.compile(r"(\d+)/(s|m|h)")
_BREAKER = re.compile(r"(\d+) in (\S+?)(?: for (\S+))?")
_SHARE = re.compile(r"(\d{1,3}(?:\.\d+)?)%")
_RETRY = re.compile(r"(\d{1,4}) over (\S+)")
_OUTSIDE = re.compile(r"\$(env|secret|file)\.([^\s?]+)(?:\s*\?\?\s*(.*))?", re.DOTALL)


class Model(BaseModel):
    """Base of every model of ``routes.yaml``: frozen, unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def seconds(value: Any) -> float:
    """``'3s'`` to 3.0; the units are ms, s, m, h, d. A bare number is refused: it would not say what it counts."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a duration such as 500ms, 3s, 15m or 6h")
    return float(match[1]) * _SECONDS[match[2]]


def _written_like(pattern: re.Pattern[str], *examples: str) -> dict[str, Any]:
    """The JSON Schema of a word as it stands in the file: what editors complete and check."""
    message = f"Write it like {' or '.join(examples)}"
    return {
        "type": "string",
        "pattern": f"^{pattern.pattern}$",
        "patternErrorMessage": message,
        "examples": list(examples),
    }


Duration = Annotated[
    float,
    BeforeValidator(lambda value: value if isinstance(value, float) else seconds(value)),
    WithJsonSchema(_written_like(_DURATION, "500ms", "3s", "15m", "6h")),
]


def _counted(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("should be a whole number")
    return value


Count = Annotated[int, BeforeValidator(_counted)]


class Rate(Model):
    """At most ``count`` calls every ``per_s`` seconds; written ``50/s``."""

    count: int = Field(ge=1)
    per_s: float = Field(gt=0)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return _written_like(_RATE, "50/s", "300/m")

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return value
        match = _RATE.fullmatch(value) if isinstance(value, str) else None
        if not match:
            raise ValueError("must be a rate such as 50/s or 300/m")
        return {"count": int(match[1]), "per_s": float(_SECONDS[match[2]])}


class Breaker(Model):
    """``failures`` in ``window_s`` seconds open it, for ``open_s``; written ``5 in 30s`` or ``5 in 30s for 10s``."""

    failures: int = Field(5, ge=1)
    window_s: float = Field(30.0, gt=0)
    open_s: float = Field(10.0, gt=0)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: Any) -> dict[str, Any]:
        return _written_like(_BREAKER, "5 in 30s", "5 in 30s for 10s")

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return value
        match = _BREAKER.fullmatch(value) if isinstance(value, str) else None
        if not match:
            raise ValueError("must be written like '5 in 30s' or '5 in 30s for 10s'")
        written: dict[str, Any] = {"failures": int(match[1]), "window_s": seconds(match[2])}
        return {**written, "open_s": seconds(match[3])} if match[3] else written


class Again(Model):
    """Send again up to ``times`` times; written ``2``, or ``20 over 6h`` where ``over_s`` seconds are to lie between
    the first and the last. ``over_s`` is 0 where nothing was said.
    """

    times: int = Field(0, ge=0, le=1000)
    over_s: float = Field(0.0, ge=0, le=30 * 86_400)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return value
        if (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, str) and value.isdecimal()):
            return {"times": value}
        match = _RETRY.fullmatch(value) if isinstance(value, str) else None
        if not match:
            raise ValueError("should be a whole number, or written like '20 over 6h'")
        return {"times": int(match[1]), "over_s": seconds(match[2])}

    @model_serializer
    def _as_written(self) -> int | str:
        return f"{self.times} over {self.over_s:g}s" if self.over_s else self.times


def _part(value: Any) -> float:
    if isinstance(value, float):
        return value
    match = _SHARE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a share such as 10% or 100%")
    return float(match[1]) / 100


Share = Annotated[float, BeforeValidator(_part), WithJsonSchema(_written_like(_SHARE, "10%", "100%"))]

Retry = Annotated[
    Again,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": 10},
                _written_like(re.compile(rf"\d{{1,4}} over {_DURATION.pattern}"), "20 over 6h"),
            ]
        }
    ),
]


def steps(path: str) -> tuple[str, ...]:
    """The names of a path of the request: ``$patient.id`` to ``('patient', 'id')``."""
    if not re.fullmatch(r"\$[^\W\d]\w*(\.[^\W\d]\w*)*", path):
        raise ValueError("must be a path of the request, such as $patientId")
    return tuple(path[1:].split("."))


class Outside:
    """Replaces values from outside the file; collects what is not there."""

    def __init__(self, document: Document, environ: Mapping[str, str], secrets: Path, folder: Path) -> None:
        self._document = document
        self._sources: dict[str, Callable[[str], str | SecretStr | Path | None]] = {
            "env": environ.get,
            "secret": lambda name: secret(name, environ, secrets),
            "file": lambda name: _file(folder, name),
        }
        self.findings: list[Finding] = []

    def replace(self, tree: Any, path: PathTuple = ()) -> Any:
        """``tree`` with every ``$env``, ``$secret`` and ``$file`` replaced; ``$$`` at the start is one dollar."""
        of_a_request = path[:1] == ("routes",) and path[2:] == ("ordered",)
        if of_a_request or (path[:1] == ("events",) and path[3:] == ("with",)):  # paths of the inside
            return tree
        if isinstance(tree, dict):
            return {key: self.replace(value, (*path, key)) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.replace(value, (*path, index)) for index, value in enumerate(tree)]
        if not isinstance(tree, str) or not tree.startswith("$"):
            return tree
        return tree[1:] if tree.startswith("$$") else self._value(tree, path)

    def _value(self, text: str, path: PathTuple) -> Any:
        match = _OUTSIDE.fullmatch(text)
        if not match:
            return self._find(
                path, f"'{text}' is not a value", "use $env.NAME, $secret.name or $file.path; $$ for a dollar"
            )
        source, name, default = match.groups()
        value = self._sources[source](name)
        if value is None and default is None:
            what = {"env": "environment variable", "secret": "secret", "file": "file"}[source]
            return self._find(path, f"{what} '{name}' does not exist", _REMEDY[source].format(name=name))
        return default if value is None else value

    def _find(self, path: PathTuple, message: str, hint: str) -> None:
        self.findings.append(self._document.finding(path, message, hint))


_REMEDY = {
    "env": "set it, or give a default: $env.{name} ?? value",
    "secret": "put it into the secrets folder (ESB_SECRETS) as '{name}'",
    "file": "the path is relative to routes.yaml",
}


def secret(name: str, environ: Mapping[str, str], secrets: Path) -> SecretStr | None:
    """The secret of that name, None when there is none."""
    file = secrets / name
    if re.fullmatch(r"[A-Za-z0-9_.-]+", name) and not name.startswith(".") and file.is_file():
        return SecretStr(file.read_text(encoding="utf-8").rstrip("\r\n"))
    value = environ.get(f"ESB_SECRET_{name.upper()}")
    return None if value is None else SecretStr(value)


def _file(folder: Path, name: str) -> Path | None:
    file = (folder / name).resolve()
    return file if file.exists() else None
