"""Signers against the published and own vectors of the specifications, expressed by settings alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json as stdlib_json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pydantic import TypeAdapter, ValidationError

from adapters.rest.signers import AnySigner, Draft
from esb.codecs import form, json
from esb.spi import SHANGHAI

VECTORS = Path(__file__).parents[3] / "shared" / "specs" / "parking.vectors.json"
NOW = datetime(2026, 1, 15, 9, 30, tzinfo=SHANGHAI)
ADAPTER: TypeAdapter[Any] = TypeAdapter(AnySigner)


def signer(**settings: Any) -> Any:
    return ADAPTER.validate_python(settings)


def draft(body: Any = None, *, form_body: bool = False, now: datetime = NOW, **parts: Any) -> Draft:
    def encode_body(tree: Any) -> bytes | None:
        if tree is None or isinstance(tree, bytes):
            return tree
        return form.encode(tree) if form_body else json.encode(tree)

    return Draft(
        method=parts.get("method", "POST"),
        path=parts.get("path", "/api/x"),
        query=parts.get("query", {}),
        headers={},
        body=body,
        encode_query=lambda query: form.encode(query).decode(),
        encode_body=encode_body,
        now=now,
        nonce="01JTESTNONCE0000000000000",
    )


@pytest.fixture(scope="module")
def vectors() -> Any:
    if not VECTORS.exists():
        pytest.skip("the folder shared/specs is not beside this checkout")
    return stdlib_json.loads(VECTORS.read_text("utf-8"))


def at(ts: str) -> datetime:
    return datetime.strptime(ts, "%Y%m%d%H%M%S").replace(tzinfo=SHANGHAI)


AKE_PUT = [
    {"into": "query", "name": "sign"},
    {"into": "header", "name": "Authorization", "value": "{key}:{ts}", "encode": "base64"},
]


def ake(key: str, secret: str, text: str) -> Any:
    return signer(signer="md5", key=key, secret=secret, timestamp="%Y%m%d%H%M%S", text=text, put=AKE_PUT)


@pytest.mark.parametrize("name", ["published_v2", "own_v2"])
def test_ake_version_2_signs_key_time_and_secret(name: str, vectors: Any) -> None:
    vector = vectors["ake_openydt"][name]
    it = draft({"parkCode": "P1"}, now=at(vector["ts"]))
    ake(vector["key"], vector["secret"], "{key}:{ts}:{secret}").sign(it)
    assert it.query == {"sign": vector["sign"]}
    assert it.headers["Authorization"] == base64.b64encode(f"{vector['key']}:{vector['ts']}".encode()).decode()
    assert it.headers["Authorization"] == vector.get("authorization", it.headers["Authorization"])
    assert it.signed == {"sign"}


@pytest.mark.parametrize("name", ["published_v3", "own_v3"])
def test_ake_version_3_signs_the_body_as_it_goes_out(name: str, vectors: Any) -> None:
    vector = vectors["ake_openydt"][name]
    it = draft(stdlib_json.loads(vector["body"]), now=at(vector["ts"]))
    ake(vector["key"], vector["secret"], "{key}:{ts}:{body}:{secret}").sign(it)
    assert it.query == {"sign": vector["sign"]}


def keytop(secret: str) -> Any:
    return signer(
        signer="md5",
        secret=secret,
        text="{sorted}&{secret}",
        sorted={"exclude": ["appId"]},
        output="HEX",
        put=[{"into": "body", "name": "key"}],
    )


def test_keytop_signs_the_sorted_fields_of_the_body_inside_of_the_body(vectors: Any) -> None:
    vector = vectors["keytop"]["own"]
    it = draft({**vector["params"], "list": [1], "object": {"a": 1}, "nothing": None})
    rule = keytop(vector["secret"])
    assert rule.pairs(it) + "&" + vector["secret"] == vector["string"]
    rule.sign(it)
    assert it.body["key"] == vector["key"]
    assert it.body["ts"] == vector["params"]["ts"]


def test_keytop_as_published(vectors: Any) -> None:
    vector = vectors["keytop"]["published"]
    text, _, secret = vector["string"].rpartition("&")
    it = draft(dict(pair.split("=", 1) for pair in text.split("&")))
    keytop(secret).sign(it)
    assert it.body["key"] == vector["key"]


def test_jieshun_signs_the_raw_document_before_the_form_is_written(vectors: Any) -> None:
    vector = vectors["jieshun"]
    it = draft({"cid": "C1", "v": "2", "p": vector["p"]}, form_body=True)
    signer(
        signer="md5",
        secret=vector["sign_key"],
        text="{field:p}{secret}",
        output="HEX",
        put=[{"into": "body", "name": "sn"}],
    ).sign(it)
    assert it.body["sn"] == vector["sn"]


def test_the_generic_style_joins_the_secret_without_a_separator(vectors: Any) -> None:
    vector = vectors["generic_sorted_md5"]
    it = draft(vector["params"], form_body=True)
    signer(
        signer="md5",
        secret="SBXHCSECRET",
        text="{sorted}{secret}",
        output="HEX",
        put=[{"into": "body", "name": "sign"}],
    ).sign(it)
    assert it.body["sign"] == vector["sign"]


def test_what_is_put_without_the_signature_is_signed_too() -> None:
    it = draft({"b": "2"})
    signer(
        signer="md5",
        key="K",
        secret="S",
        timestamp="unix_ms",
        text="{sorted}{secret}",
        put=[
            {"into": "body", "name": "sign"},
            {"into": "body", "name": "ts", "value": "{ts}", "number": True},
            {"into": "body", "name": "appKey", "value": "{key}"},
        ],
    ).sign(it)
    assert it.body == {
        "b": "2",
        "ts": 1768440600000,
        "appKey": "K",
        "sign": hashlib.md5(b"appKey=K&b=2&ts=1768440600000S").hexdigest(),
    }


CANONICAL = "{method}\n{target}\n{ts}\n{nonce}\n{body_sha256}\n"


def test_hmac_sha256_signs_a_canonical_text() -> None:
    it = draft({"a": 1}, path="/v1/%E7%97%85", query={"x": "1 2"})
    signer(
        signer="hmac_sha256",
        key="K",
        secret="s3cret",
        output="base64",
        text=CANONICAL,
        put=[
            {"into": "header", "name": "X-Sign", "value": "v1;key={key};ts={ts};nonce={nonce};sig={sign}"},
        ],
    ).sign(it)
    body = hashlib.sha256(b'{"a":1}').hexdigest()
    text = f"POST\n/v1/%E7%97%85?x=1+2\n1768440600\n01JTESTNONCE0000000000000\n{body}\n"
    expected = base64.b64encode(hmac.new(b"s3cret", text.encode(), hashlib.sha256).digest()).decode()
    assert it.headers["X-Sign"] == f"v1;key=K;ts=1768440600;nonce=01JTESTNONCE0000000000000;sig={expected}"


def test_hmac_sha256_as_in_rfc_4231() -> None:
    rule = signer(signer="hmac_sha256", secret="Jefe", text="{body}", put=[{"into": "header", "name": "X"}])
    assert rule.digest(b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_rsa_sha256_verifies_with_the_public_key(rsa_key: rsa.RSAPrivateKey) -> None:
    it = draft(b"raw body")
    signer(
        signer="rsa_sha256", private_key=pem(rsa_key), text="{ts}.{body}", put=[{"into": "header", "name": "X-Sign"}]
    ).sign(it)
    rsa_key.public_key().verify(
        base64.b64decode(it.headers["X-Sign"]), b"1768440600.raw body", padding.PKCS1v15(), hashes.SHA256()
    )


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"text": "{key}"}, "must hold {secret}"),
        ({"text": "{secret}{bodi}"}, "bodi"),
        ({"text": "{secret}{"}, "lone"),
        ({"put": []}, "put"),
        ({"put": [{"into": "query", "name": "s", "value": "{ts}"}]}, "no item of 'put' holds"),
        ({"put": [{"into": "query", "name": "s", "value": "{secret}{sign}"}]}, "'put' knows no {secret}"),
        ({"text": "{body}{secret}", "put": [{"into": "body", "name": "s"}]}, "knows no {body} here"),
        ({"charset": "klingon"}, "klingon"),
        ({"nonsense": 1}, "nonsense"),
        ({"signer": "md6"}, "md5"),
        ({"signer": "rsa_sha256", "secret": None, "private_key": "x"}, "PEM"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_telling_the_secret(change: dict[str, Any], word: str) -> None:
    good: dict[str, Any] = {
        "signer": "md5",
        "secret": "SECRETMARKER",
        "text": "{secret}",
        "put": [{"into": "query", "name": "s"}],
    }
    given = {k: v for k, v in {**good, **change}.items() if v is not None}
    with pytest.raises(ValidationError) as caught:
        signer(**given)
    assert word in str(caught.value)


def test_braces_are_written_twice() -> None:
    it = draft()
    signer(signer="md5", secret="S", text="{{{secret}}}", put=[{"into": "query", "name": "s"}]).sign(it)
    assert it.query["s"] == hashlib.md5(b"{S}").hexdigest()
