"""Namespaces that are kept apart, as a mapping writes and reads them."""

from __future__ import annotations

from esb.codecs import xml
from esb.errors import Outcome
from tests.esb.mapping.support import compiled

H = {"h": "urn:hl7-org:v3"}
MAPPING = """
action: Find
request: {'h:Q': {'@h:root': $root, 'h:id': $id, 'id': own}}
response:
  - done: {root: "$answer.'h:id'[0].'@h:root'", second: "$answer.'h:id'[1]", other: $id}
"""


def test_a_mapping_tells_elements_of_two_namespaces_apart() -> None:
    mapping = compiled(MAPPING)
    _, payload = mapping.build({"root": "7", "id": "1"}, {}, {})
    assert xml.encode(payload, namespaces=H) == (
        '<h:Q xmlns:h="urn:hl7-org:v3" h:root="7"><h:id>1</h:id><id>own</id></h:Q>'
    )
    answer = '<r xmlns="urn:hl7-org:v3" xmlns:p="urn:hl7-org:v3"><id p:root="7"/><id>b</id><id xmlns="">c</id></r>'
    verdict = mapping.interpret(xml.decode(answer, namespaces=H), {}, {}, {})
    assert (verdict.outcome, verdict.body) == (Outcome.DONE, {"root": "7", "second": "b", "other": "c"})
