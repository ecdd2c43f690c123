"""An XML document inside a text parameter, the style of most Chinese HIS: one string in or two, one string out.

In ``parameters`` these words stand for what a call brings: ``payload`` (the document), ``action``, ``exchange_id``,
``exchange_key`` and ``now`` in ``time_format``; any other text is itself. A parameter that is a structure is written
as an XML document of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final
from xml.sax.saxutils import unescape

from pydantic import AfterValidator, SecretStr, model_validator

from esb.codecs import DecodeError, EncodeError, xml
from esb.spi import AdapterSettings, Call, Malformed, Refused, Tree

MAX_ESCAPES: Final = 3
_QUOTES = {"&quot;": '"', "&apos;": "'", "&#34;": '"', "&#39;": "'"}


class Settings(AdapterSettings):
    """How the document travels.

    Either ``parameter`` names the only parameter, or ``parameters`` gives them all. ``operation`` is the system's own
    operation where the mapping's action is only a function name, which ``action_parameter`` can carry. ``root`` is
    put around the payload; without it the payload has one root itself. ``cdata`` puts every value into a CDATA
    section, ``document_in_cdata`` the whole document, which is escaped otherwise. ``declaration`` writes ``<?xml
    ...?>``, with the encoding that it names. ``result`` is the part of the answer with the text: by default
    ``return``, or the only text there is. ``start`` cuts what stands before the document in an answer, as in
    ``<Response``. ``namespaces`` (prefix -> namespace) are kept apart in the trees of both documents, as ``h:Order``;
    an example's answer is then written as a tree.
    """

    parameter: str | None = None
    parameters: dict[str, Any] = {}
    operation: str | None = None
    action_parameter: str | None = None
    root: str | None = None
    cdata: bool = False
    document_in_cdata: bool = False
    declaration: bool | str = False
    result: str | None = None
    start: str | None = None
    time_format: str = "%Y-%m-%d %H:%M:%S"
    namespaces: Annotated[dict[str, str], AfterValidator(xml.check_namespaces)] = {}

    @model_validator(mode="after")
    def _one_way_to_name_parameters(self) -> Settings:
        if (self.parameter is None) == (not self.parameters):
            raise ValueError("give either 'parameter' or 'parameters'")
        if self.parameters and "payload" not in _words(self.parameters):
            raise ValueError("one of 'parameters' must be 'payload'")
        return self


def connect(settings: Settings) -> XmlString:
    """The envelope. Raises ``ConfigError``."""
    return XmlString(settings)


class XmlString:
    """See the module."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parameters: Mapping[str, Any] = _revealed(settings.parameters) or {settings.parameter or "": "payload"}

    def wrap(self, action: str, payload: Tree, call: Call) -> tuple[str, Tree]:
        """Raises ``Refused`` for a payload that cannot be written; a text is taken as it is."""
        settings = self._settings
        words = {
            "payload": self._document(payload),
            "action": action,
            "exchange_id": call.exchange,
            "exchange_key": call.key,
            "now": call.clock.now().strftime(settings.time_format),
        }
        parameters = {name: self._parameter(value, words) for name, value in self._parameters.items()}
        if settings.action_parameter is not None:
            parameters = {settings.action_parameter: action} | parameters
        return settings.operation or action, parameters

    def unwrap(self, action: str, answer: Tree, call: Call) -> Tree:
        """The tree of the document's root. Raises ``Malformed``."""
        found = self._text(answer)
        if not isinstance(found, str):
            return found
        text = _unescaped(found)
        if self._settings.start is not None:
            text = text[max(0, text.find(self._settings.start)) :]
        try:
            return xml.decode(text.strip(), drop_controls=True, namespaces=self._settings.namespaces)
        except DecodeError as error:
            reason = error.reason if text.strip() else "is empty"
            raise Malformed(f"the document in the answer {reason}", raw=found.encode("utf-8", "replace")) from None

    def _document(self, payload: Tree) -> str:
        if isinstance(payload, str):
            return payload
        settings = self._settings
        try:
            return xml.encode(
                payload,
                settings.root,
                cdata=settings.cdata,
                declaration=settings.declaration,
                namespaces=settings.namespaces,
            )
        except EncodeError as error:
            raise Refused(f"the request cannot be written: {error}", code="invalid") from None

    def _parameter(self, value: Any, words: Mapping[str, str]) -> Tree:
        document = value == "payload" or isinstance(value, Mapping)
        try:
            text = xml.encode(_filled(value, words)) if isinstance(value, Mapping) else _filled(value, words)
        except EncodeError as error:
            raise Refused(f"the request cannot be written: {error}", code="invalid") from None
        return {"#cdata": text} if document and self._settings.document_in_cdata else text

    def _text(self, answer: Tree) -> Tree:
        """The text with the document; a structure where the system did not make a text of it."""
        name = self._settings.result
        if name is not None:
            if not isinstance(answer, Mapping) or name not in answer:
                raise Malformed(f"the answer has no part '{name}'")
            answer = answer[name]
        elif isinstance(answer, Mapping):
            answer = _only_text(answer)
        if isinstance(answer, Mapping) and set(answer) == {"#text"}:
            answer = answer["#text"]
        if isinstance(answer, str):
            return answer
        if isinstance(answer, Mapping) and len(answer) == 1:
            return next(iter(answer.values()))
        raise Malformed("the answer holds no document")


def _only_text(answer: Mapping[str, Tree]) -> Tree:
    if "return" in answer:
        return answer["return"]
    texts = [value for value in answer.values() if isinstance(value, str)]
    if len(texts) == 1:
        return texts[0]
    if len(answer) == 1:
        return next(iter(answer.values()))
    raise Malformed("the answer holds several texts or none: name the document's part in 'result'")


def _unescaped(text: str) -> str:
    """Some systems escape the document twice or more: until it begins like one."""
    for _ in range(MAX_ESCAPES):
        if not text.lstrip("\ufeff \t\r\n").startswith(("&lt;", "&amp;lt;")):
            break
        text = unescape(text, _QUOTES)
    return text


def _revealed(value: Any) -> Any:
    """A certificate or password among the parameters comes as a secret."""
    if isinstance(value, Mapping):
        return {key: _revealed(inner) for key, inner in value.items()}
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _words(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        return set().union(*map(_words, value.values()))
    return {value} if isinstance(value, str) else set()


def _filled(value: Any, words: Mapping[str, str]) -> Tree:
    if isinstance(value, Mapping):
        return {key: _filled(inner, words) for key, inner in value.items()}
    return words.get(value, value) if isinstance(value, str) else value
