"""The live connection to one FHIR server."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from urllib.parse import quote, urljoin, urlsplit

from adapters.fhir import actions
from adapters.fhir.actions import Action, Request
from adapters.fhir.answers import interpret
from adapters.fhir.describe import describe
from adapters.fhir.login import login
from adapters.fhir.settings import Settings
from esb.codecs import fhir
from esb.http import HttpAnswer, HttpCarrier
from esb.spi import Call, Description, Malformed, OutcomeUnknown, Refused, Tree, Unavailable, Wire

_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))


class FhirAdapter:
    """Implements ``esb.spi.Adapter``."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._base = settings.base_url.rstrip("/") + "/"
        self._carrier = HttpCarrier(settings.base_url, settings)
        self._login = login(settings)
        if settings.checks != "off":
            fhir.prepare(settings.release)

    async def call(self, action: str, payload: Tree, call: Call) -> Tree:
        """The resource answered: for a search one Bundle with the entries of all pages.

        A reason never repeats ids, parameters or content.
        """
        parsed, request = self._prepare(action, payload)
        resource = await self._exchange(parsed, request, self._address(request.path), call)
        if parsed.verb != "search":
            return resource
        return await self._all_pages(parsed, resource, _counts_only(payload), call)

    def preview(self, action: str, payload: Tree, call: Call) -> str:
        """Request line, headers with secrets masked, and body; of a search its first page. Nothing is sent."""
        _, request = self._prepare(action, payload)
        masked = dict.fromkeys(self._settings.headers, "***") | dict(request.headers) | {"X-Request-Id": call.exchange}
        if self._settings.auth.kind != "none":
            masked["Authorization"] = "***"
        lines = [f"{request.method} {self._address(request.path)}", *(f"{name}: {masked[name]}" for name in masked)]
        return "\n".join([*lines, "", (request.body or b"").decode("utf-8")]).rstrip("\n")

    async def probe(self, call: Call) -> None:
        """Any HTTP answer below 500 to ``GET metadata`` is life."""
        try:
            answer = await self._carrier.request(
                "GET", self._base + "metadata?_summary=true", headers={"Accept": actions.JSON}, body=None, call=call
            )
        except (OutcomeUnknown, Malformed) as error:
            raise Unavailable(error.reason) from None
        if answer.status >= 500:
            raise Unavailable(f"the server answered {answer.status} to a probe")

    async def close(self) -> None:
        await self._login.close()
        await self._carrier.close()

    def check(self, action: str, fields: Sequence[str]) -> Iterable[str]:
        return actions.faults(action, fields, self._settings.release)

    def describe(self, action: str) -> Description:
        """See ``esb.spi.Described``; by the models of the release."""
        try:
            return describe(actions.parse(action, self._settings.release), self._settings.release)
        except (ValueError, ImportError):
            return Description()

    def _prepare(self, action: str, payload: Tree) -> tuple[Action, Request]:
        try:
            parsed = actions.parse(action, self._settings.release)
        except ValueError as error:
            raise Refused(f"{error}; nothing was sent", code="invalid", message=str(error)) from None
        request = actions.build(parsed, payload, self._settings.prefer, self._settings.search_by)
        if self._settings.checks in ("requests", "both") and request.resource is not None:
            self._check_request(request.resource)
        return parsed, request

    def _address(self, path: str) -> str:
        return self._base + path if path else self._settings.base_url.rstrip("/")

    async def _exchange(self, action: Action, request: Request, url: str, call: Call) -> fhir.Resource:
        answer = await self._authorised(request, url, call)
        resource = interpret(action, request, answer)
        if self._settings.checks in ("answers", "both"):
            self._check_answer(resource, answer)
        return resource

    async def _authorised(self, request: Request, url: str, call: Call) -> HttpAnswer:
        """Send; once more with a new token after a 401, which says that nothing was processed."""
        header = await self._login.header(call)
        answer = await self._send(request, url, header, call)
        if answer.status == 401 and self._login.renew(header):
            answer = await self._send(request, url, await self._login.header(call), call)
        return answer

    async def _send(self, request: Request, url: str, authorization: str, call: Call) -> HttpAnswer:
        own = {name: value.get_secret_value() for name, value in self._settings.headers.items()}
        headers = {**own, **request.headers, "X-Request-Id": call.exchange}
        if authorization:
            headers["Authorization"] = authorization
        journal = f"{request.method} {url[len(self._carrier.origin) :]}\n".encode() + (request.body or b"")
        attempt = replace(call, wire=Wire())
        try:
            return await self._carrier.request(
                request.method, url, headers=headers, body=request.body, call=attempt, sent=journal
            )
        finally:
            _add(call.wire, attempt.wire)

    async def _all_pages(self, action: Action, first: fhir.Resource, counting: bool, call: Call) -> fhir.Resource:
        pages, count, visited = [first], len(fhir.entries(first)), set()
        while (link := _next(pages[-1])) and not self._is_full(len(pages), count):
            url = self._page_address(link)
            if url in visited:
                raise Malformed("the pages of the search lead in a circle", raw=call.wire.received)
            visited.add(url)
            page = await self._exchange(action, Request("GET", "", {"Accept": actions.JSON}), url, call)
            pages.append(page)
            count += len(fhir.entries(page))
        merged = fhir.merge_pages(pages) if len(pages) > 1 else first
        if link:
            return self._cut(merged, link, len(pages), call)
        if not counting and self._settings.overflow == "refuse" and (missing := _missing(merged)):
            raise Malformed(f"the search is not complete: {missing}", raw=call.wire.received)
        return merged

    def _is_full(self, pages: int, entries: int) -> bool:
        return pages >= self._settings.max_pages or entries >= self._settings.max_entries

    def _cut(self, merged: fhir.Resource, link: str, pages: int, call: Call) -> fhir.Resource:
        if self._settings.overflow == "refuse":
            count = len(fhir.entries(merged))
            raise Malformed(
                f"the search has more than {count} entries on {pages} pages: narrow it, or set 'overflow: cut'",
                raw=call.wire.received,
            )
        if any(each.get("relation") == "next" for each in merged.get("link") or ()):
            return merged
        return {**merged, "link": [*merged.get("link", []), {"relation": "next", "url": link}]}

    def _page_address(self, link: str) -> str:
        """A page of the same origin only: our token goes to no other."""
        url = urljoin(self._base, link)
        ours, theirs = urlsplit(self._base), urlsplit(url)
        if (theirs.scheme, theirs.netloc.lower()) != (ours.scheme, ours.netloc.lower()):
            raise Malformed("the next page lies outside of the server's origin and is not fetched")
        return quote(url, safe=_PRINTABLE)  # some servers write names into their links as they are

    def _check_request(self, resource: fhir.Resource) -> None:
        if issues := fhir.validate(resource, self._settings.release):
            text = _listed(issues)
            raise Refused(f"the request is not valid {self._settings.release}: {text}", code="invalid", message=text)

    def _check_answer(self, resource: fhir.Resource, answer: HttpAnswer) -> None:
        if issues := fhir.validate(resource, self._settings.release):
            raise Malformed(f"the answer is not valid {self._settings.release}: {_listed(issues)}", raw=answer.body)


def _next(bundle: fhir.Resource) -> str:
    links = bundle.get("link") or ()
    found = next((link for link in links if isinstance(link, dict) and link.get("relation") == "next"), {})
    url = found.get("url")
    return url if isinstance(url, str) else ""


def _counts_only(payload: Tree) -> bool:
    """A search for the number alone, which has no entries."""
    return str(payload.get("_summary")) == "count" or str(payload.get("_count")) == "0"


def _missing(bundle: fhir.Resource) -> str:
    """What is wrong when the server counts more matches than it sent and names no next page."""
    total = bundle.get("total")
    matches = [each for each in fhir.entries(bundle) if (each.get("search") or {}).get("mode", "match") == "match"]
    if isinstance(total, int) and len(matches) < total:
        return f"the server counts {total} matches and sent {len(matches)}, without a next page"
    return ""


def _listed(issues: list[fhir.Issue]) -> str:
    more = f" and {len(issues) - 5} more" if len(issues) > 5 else ""
    return "; ".join(map(str, issues[:5])) + more


def _add(whole: Wire, part: Wire) -> None:
    """Several requests of one call are one record, in the order they were made."""
    whole.left = whole.left or part.left
    whole.sent = b"\n".join(filter(None, (whole.sent, part.sent)))
    whole.received = b"\n".join(filter(None, (whole.received, part.received)))
