import contextlib
import json
import resource
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from esb.codecs import DecodeError, EncodeError, xml
from esb.codecs.xml import Shape, decode, encode
from esb.model import Tree

ATTACKS = Path(__file__).parents[4] / "shared" / "corpus" / "xml-attacks"


def test_the_tree_has_texts_dicts_lists_attributes_and_nil() -> None:
    tree = decode(
        '<r xmlns="urn:a" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:x="urn:b" xsi:type="T" x:id="7">'
        "<a>1</a><b/><c><d>x</d></c><c><d>y</d></c><n xsi:nil='true'/><t xsi:type='x:int'>5</t>"
        "<m k='v'>text</m><e k='v'/> tail </r>"
    )
    assert tree == {
        "@id": "7",
        "a": "1",
        "b": "",
        "c": [{"d": "x"}, {"d": "y"}],
        "n": None,
        "t": "5",
        "m": {"@k": "v", "#text": "text"},
        "e": {"@k": "v"},
        "#text": "tail",
    }


def test_a_text_is_its_own_tree() -> None:
    assert decode("<a> x </a>") == " x "
    assert decode("<a/>") == ""
    assert decode("<a><!-- c -->x<!-- d -->y<?pi z?></a>") == "xy"


def test_where_the_schema_says_list_one_occurrence_is_a_list() -> None:
    row = Shape(no=(False, None), tag=(True, None))
    shape = Shape(rows=(False, Shape(row=(True, row))))
    assert decode("<a><rows><row><no>1</no><tag>x</tag></row></rows></a>", shape=shape) == {
        "rows": {"row": [{"no": "1", "tag": ["x"]}]}
    }


def test_a_schema_never_hides_what_really_came() -> None:
    nil = "xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xsi:nil='true'"
    shape = Shape(a=(False, None), b=(False, None))
    for text in (
        "<r><a>1</a><b>2</b></r>",
        "<r><a>1</a><b/></r>",
        f"<r><a>1</a><b {nil}/></r>",
        "<r><a>1</a><c><d>2</d></c></r>",
        "<r><a>1</a><a>2</a></r>",
        "<r k='v'><a>1</a></r>",
        "<r><a><x>1</x></a></r>",
    ):
        assert decode(text, shape=shape) == decode(text), text


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE a><a/>",
        "<?xml version='1.0'?>\n<!-- x --><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "<!DOCTYPE a SYSTEM 'file:///etc/hostname'><a/>",
        "<a>&undefined;</a>",
        "<a>",
        "<a></b>",
        "",
        " ",
        "text",
        "<a/><b/>",
        "<a b='1' b='2'/>",
        "<a>\x0b</a>",
        "<a>\ud800</a>",
        "<a>" * 300 + "</a>" * 300,
        "<a " + " ".join(f"k{n}=''" for n in range(300)) + "/>",
    ],
)
def test_what_is_not_safe_xml_is_refused_in_any_encoding(text: str) -> None:
    with pytest.raises(DecodeError):
        decode(text)
    with pytest.raises(DecodeError):
        decode(text.encode("utf-16", "surrogatepass"))


def test_a_doctype_inside_cdata_is_text() -> None:
    assert decode("<a><![CDATA[<!DOCTYPE html>]]></a>") == "<!DOCTYPE html>"


def test_the_allowed_depth_can_be_less() -> None:
    assert decode("<a><b><c/></b></a>", max_depth=3) == {"b": {"c": ""}}
    with pytest.raises(DecodeError, match="deeper than 2"):
        decode("<a><b><c/></b></a>", max_depth=2)


def test_forbidden_control_characters_can_be_dropped() -> None:
    text = "<a>x\x0by\x00&#x1F;&#11;&#13;&#x9;z</a>"
    assert decode(text, drop_controls=True) == "xy\r\tz"
    with pytest.raises(DecodeError):
        decode("<a>\x0b<b></a>", drop_controls=True)


@pytest.mark.parametrize(
    ("data", "transport"),
    [
        ("<a>张三</a>".encode(), None),
        ("<a>张三</a>".encode(), "iso-8859-1"),
        ("<a>张三</a>".encode("gbk"), "GBK"),
        ("<?xml version='1.0' encoding='GB2312'?><a>张三</a>".encode("gbk"), None),
        ("<?xml version='1.0' encoding='GBK'?><a>张三</a>".encode(), "utf-8"),
        ("<?xml version='1.0' encoding='UTF-8'?><a>张三</a>".encode("gbk"), "gbk"),
        ("<?xml version='1.0' encoding='UTF-8'?><a>张三</a>".encode(), "gbk"),
        ("<?xml version='1.0' encoding='GBK'?><a>张三</a>".encode("gbk"), "utf-8"),
        ("<?xml version='1.0' encoding='GBK'?><a>张三</a>".encode("gbk"), "iso-8859-1"),
        ("\ufeff<a>张三</a>".encode(), "gbk"),
        ("<a>张三</a>".encode("utf-16"), None),
        ("<?xml version='1.0' encoding='UTF-16'?><a>张三</a>".encode("utf-16-le"), None),
        ("<?xml version='1.0' encoding='UTF-16'?><a>张三</a>".encode("utf-16-be"), "utf-8"),
        ("<a>张三</a>".encode("utf-16-be"), None),
        ("<a>张三</a>".encode(), "nonsense"),
    ],
)
def test_bytes_are_read_by_the_label_that_fits(data: bytes, transport: str | None) -> None:
    assert decode(data, charset=transport) == "张三"


def test_text_is_not_decoded_again_by_the_encoding_it_declares() -> None:
    assert decode("<?xml version='1.0' encoding='GB2312'?><a>张三</a>") == "张三"
    assert decode("\ufeff  <?xml version='1.0' encoding='UTF-16' standalone='yes'?>\n<a>张三</a>") == "张三"


def test_an_error_does_not_repeat_the_document() -> None:
    for text in ("<a>SECRET", "<a SECRET>", "SECRET", "<a>&SECRET;</a>", "<SECRET></x>"):
        with pytest.raises(DecodeError) as caught:
            decode(text)
        assert "SECRET" not in str(caught.value)


def test_a_tree_is_written_in_its_own_order() -> None:
    tree = {
        "@id": 1,
        "A": "<&>\"'",
        "B": [Decimal("1.50"), True, None, ""],
        "C": None,
        "D": {"@k": 'q"\n', "#text": "t"},
    }
    assert encode(tree, "R") == (
        '<R id="1"><A>&lt;&amp;&gt;"\'</A><B>1.50</B><B>true</B><B/><B/><D k="q&quot;&#10;">t</D></R>'
    )
    assert encode({"R": {"#cdata": "a]]>b"}}) == "<R><![CDATA[a]]]]><![CDATA[>b]]></R>"
    assert encode({"@xmlns": "urn:hl7-org:v3", "id": ""}, "P") == '<P xmlns="urn:hl7-org:v3"><id/></P>'


def test_every_value_can_travel_in_cdata() -> None:
    assert encode({"A": "1", "B": ["2"]}, "R", cdata=True) == ("<R><A><![CDATA[1]]></A><B><![CDATA[2]]></B></R>")
    assert decode(encode("a]]>\r\n]]>b&<", "R", cdata=True)) == "a]]>\r\n]]>b&<"


def test_the_declaration_names_the_encoding() -> None:
    assert encode("x", "R", declaration=True) == '<?xml version="1.0" encoding="UTF-8"?><R>x</R>'
    assert encode("x", "R", declaration="GB2312").startswith('<?xml version="1.0" encoding="GB2312"?>')
    data = encode("张", "R", declaration=True, charset="GBK")
    assert data == '<?xml version="1.0" encoding="GBK"?><R>张</R>'.encode("gbk")
    assert encode("张", "R", charset="utf-16").startswith(b"\xff\xfe")


def test_a_character_outside_the_charset_becomes_a_reference_in_cdata_too() -> None:
    for cdata in (False, True):
        data = encode({"A": "𠮷张", "B": "张"}, "R", charset="GBK", cdata=cdata)
        assert b"&#134071;" in data
        assert decode(data, charset="gbk") == {"A": "𠮷张", "B": "张"}


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"A": {"B": ["x", "y\x00"]}}, "$.A.B[1]"),
        ({"A": {"@k": "\x0b"}}, "$.A.@k"),
        ({"A": 1.5}, "$.A"),
        ({"A": Decimal("NaN")}, "$.A"),
        ({"A": b"x"}, "$.A"),
        ({"A b": "x"}, "$.A b"),
        ({"A": {"@1": "x"}}, "$.A"),
        ({"A": [["x"]]}, "$.A[0]"),
        ({"A": "\ud800"}, "$.A"),
        ({"A": "\uffff"}, "$.A"),
    ],
)
def test_what_xml_cannot_carry_is_refused_with_its_path(tree: object, path: str) -> None:
    with pytest.raises(EncodeError) as caught:
        encode(tree, "R")
    assert caught.value.path == path


@pytest.mark.parametrize("tree", [{}, {"a": "1", "b": "2"}, {"a": ["1", "2"]}, "x", None])
def test_a_document_has_one_root(tree: object) -> None:
    with pytest.raises(EncodeError, match="one root"):
        encode(tree)


_names = st.sampled_from(["a", "b", "患者", "x.y-z"])
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff", min_codepoint=32)).filter(
    lambda text: text.strip() == text
)
_values = st.recursive(_texts, lambda inner: st.dictionaries(_names, inner, min_size=1), max_leaves=20)


@given(_values, st.booleans(), st.sampled_from([None, "utf-8", "gbk", "gb18030", "utf-16"]))
def test_what_is_written_is_read_back(tree: object, cdata: bool, charset: str | None) -> None:
    data = encode(tree, "r", cdata=cdata, charset=charset) if charset else encode(tree, "r", cdata=cdata)
    etree.fromstring(data if isinstance(data, bytes) and charset in ("utf-8", "utf-16") else encode(tree, "r"))
    assert decode(data, charset=charset) == tree


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_anything_is_read_or_refused(data: bytes | str) -> None:
    with contextlib.suppress(DecodeError):
        decode(data, drop_controls=True)


def _attack(case: dict[str, str]) -> object:
    transport = case["content_type"].partition("charset=")[2] or None
    return decode((ATTACKS / case["file"]).read_bytes(), charset=transport)


@pytest.mark.skipif(not ATTACKS.exists(), reason="the corpus is not beside the checkout")
def test_every_attack_is_refused_quickly_or_read_as_data() -> None:
    cases = {case["id"]: case for case in json.loads((ATTACKS / "manifest.json").read_text())["cases"]}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = {}
    for name, case in cases.items():
        started = time.process_time()
        try:
            _attack(case)
            refused[name] = False
        except DecodeError:
            refused[name] = True
        assert time.process_time() - started < 1, name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024
    assert {name for name, gone in refused.items() if gone} == {
        "xxe-file", "billion-laughs", "quadratic-blowup", "deep-nesting-2000", "wide-attributes", "unclosed",
        "invalid-utf8", "not-xml",
    }  # fmt: skip
    inner = _attack(cases["xxe-in-escaped-payload"])["Body"]["CallInterface"]["msgBody"]  # type: ignore[index]
    with pytest.raises(DecodeError):
        decode(inner)
    body = lambda name: _attack(cases[name])["Body"]["CallInterface"]  # type: ignore[index]  # noqa: E731
    assert {*body("cdata-mixed").values()} == {"ab<&c", "]]>"}
    assert "张三😀" in body("numeric-char-refs").values()
    assert any("\r\n\t" in value for value in body("numeric-char-refs").values())
    assert "张三" in body("gbk-declared").values()
    assert "msgBody" not in body("missing-param")
    assert _attack(cases["empty-body"])["Body"] == ""  # type: ignore[index]


def test_a_row_by_row_answer_costs_under_a_millisecond() -> None:
    fields = [f"F{n}" for n in range(14)]
    row = "<Slot>" + "".join(f"<{name}>值{name}</{name}>" for name in fields) + "</Slot>"
    root = xml.parse(f"<R xmlns='urn:x'><Slots>{row * 50}</Slots></R>")
    shape = Shape(Slots=(False, Shape(Slot=(True, Shape((name, (False, None)) for name in fields)))))
    best = min(_timed(root, shape) for _ in range(20))
    print(f"decode_element, 50 x 14: {best * 1000:.2f} ms")  # noqa: T201
    assert best < 0.003


def _timed(root: xml.Element, shape: Shape) -> float:
    started = time.perf_counter()
    xml.decode_element(root, shape)
    return time.perf_counter() - started


# namespaces that are kept apart

H = {"h": "urn:hl7-org:v3"}
MIXED = (
    '<o:Order xmlns:o="urn:other" xmlns="urn:hl7-org:v3" xmlns:p="urn:hl7-org:v3" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    '<id o:kind="1" p:root="2" root="3"/><o:id>4</o:id><p:id>5</p:id><p:value xsi:type="p:PQ" unit="g"/></o:Order>'
)


def test_elements_and_attributes_of_listed_namespaces_have_our_prefix() -> None:
    assert decode(MIXED, namespaces=H) == {
        "h:id": [{"@kind": "1", "@h:root": "2", "@root": "3"}, "5"],
        "id": "4",
        "h:value": {"@unit": "g"},
    }
    assert decode(MIXED, namespaces={"a": "urn:other"}).keys() == {"id", "a:id", "value"}


def test_without_a_list_everything_is_as_before() -> None:
    assert decode(MIXED, namespaces={}) == decode(MIXED)
    assert decode(MIXED, namespaces={"x": "urn:none"}) == decode(MIXED)


def test_instance_types_are_kept_where_their_namespace_is_listed() -> None:
    tree = decode(MIXED, namespaces=H | {"xsi": xml.XSI})
    assert tree["h:value"] == {"@xsi:type": "p:PQ", "@unit": "g"}
    nil = '<r xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><a xsi:nil="true"/></r>'
    assert decode(nil, namespaces={"xsi": xml.XSI}) == {"a": None}


def test_a_tree_with_prefixes_is_written_with_their_declarations_at_the_root() -> None:
    tree = {"h:Order": {"@h:kind": "x", "h:id": ["1", "2"], "id": "3"}}
    text = encode(tree, namespaces=H)
    assert text == ('<h:Order xmlns:h="urn:hl7-org:v3" h:kind="x"><h:id>1</h:id><h:id>2</h:id><id>3</id></h:Order>')
    assert decode(text, namespaces=H) == tree["h:Order"]
    assert encode("t", "h:r", namespaces=H) == '<h:r xmlns:h="urn:hl7-org:v3">t</h:r>'
    assert encode(None, "r", namespaces=H) == '<r xmlns:h="urn:hl7-org:v3"></r>'
    assert encode({"@xmlns:h": "urn:own"}, "h:r", namespaces=H) == '<h:r xmlns:h="urn:own"></h:r>'


_KEYS = st.sampled_from(["h:a", "a", "b"])
_TREES = st.recursive(st.text("ab", min_size=1), lambda inner: st.dictionaries(_KEYS, inner, min_size=1))


@given(_TREES)
def test_what_is_written_with_prefixes_is_read_with_them(tree: Tree) -> None:
    assert decode(encode({"h:r": tree}, namespaces=H), namespaces=H) == tree


@pytest.mark.parametrize(
    ("namespaces", "reason"),
    [
        ({"": "urn:x"}, "is not an XML name"),
        ({"a:b": "urn:x"}, "is not a prefix"),
        ({"1": "urn:x"}, "is not an XML name"),
        ({"xmlns": "urn:x"}, "is not a prefix"),
        ({"a": ""}, "has a name"),
        ({"a": "urn:x", "b": "urn:x"}, "two prefixes"),
    ],
)
def test_a_prefix_that_cannot_be_is_refused(namespaces: dict[str, str], reason: str) -> None:
    with pytest.raises(EncodeError, match=reason):
        xml.check_namespaces(namespaces)
    with pytest.raises(EncodeError, match=reason):
        decode("<a/>", namespaces=namespaces)
    with pytest.raises(EncodeError, match=reason):
        encode("", "a", namespaces=namespaces)
