"""What routes.yaml says about a FHIR server and how we log in to it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, SecretStr

from esb.http import HttpSettings
from esb.spi import AdapterSettings


class NoLogin(AdapterSettings):
    """The server asks for nothing, or the network answers for us."""

    kind: Literal["none"] = "none"


class Bearer(AdapterSettings):
    """A fixed token, as most gateways in China hand out."""

    kind: Literal["bearer"]
    token: SecretStr


class Basic(AdapterSettings):
    kind: Literal["basic"]
    username: str
    password: SecretStr


class ClientCredentials(AdapterSettings):
    """OAuth2 client credentials (RFC 6749 section 4.4). ``client_auth``: how the secret travels."""

    kind: Literal["oauth2"]
    token_url: str
    client_id: str
    client_secret: SecretStr
    scope: str = ""
    client_auth: Literal["basic", "post"] = "basic"


class SmartBackend(AdapterSettings):
    """SMART backend services: a signed assertion, no secret. ``private_key`` is PEM; they know its public half."""

    kind: Literal["smart"]
    token_url: str
    client_id: str
    private_key: SecretStr
    algorithm: Literal["RS384", "ES384"] = "RS384"
    kid: str
    scope: str = "system/*.read"


Login: TypeAlias = Annotated[NoLogin | Bearer | Basic | ClientCredentials | SmartBackend, Field(discriminator="kind")]


class Settings(HttpSettings):
    """A FHIR REST server. ``base_url`` is the service base, as in ``https://host/fhir/r4``.

    ``validate`` checks requests before they are sent and answers after they came by the models of fhir.resources.
    A search follows its pages up to ``max_pages`` and ``max_entries``; beyond them it is malformed (``overflow:
    refuse``, half a list is a wrong list) or ends with its ``next`` link left in (``cut``). ``search_by: post`` keeps
    parameters out of URLs. ``headers`` go with every request (a gateway's key), their values
    are kept as secrets. ``max_answer_bytes`` is for one page.
    """

    base_url: str
    release: Literal["R4", "R5"] = "R4"
    auth: Login = NoLogin()
    checks: Literal["off", "requests", "answers", "both"] = Field(default="off", alias="validate")
    max_pages: int = Field(default=20, ge=1)
    max_entries: int = Field(default=2000, ge=1)
    overflow: Literal["refuse", "cut"] = "refuse"
    search_by: Literal["get", "post"] = "get"
    prefer: Literal["representation", "minimal", "OperationOutcome", ""] = "representation"
    headers: dict[str, SecretStr] = {}
