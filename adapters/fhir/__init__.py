"""FHIR R4 and R5 over REST: read, search with all its pages, create, update, delete, transactions and operations.

Actions: ``read T`` {id}; ``vread T`` {id, versionId}; ``search T`` {parameter: value or list}; ``create T`` resource
(``_if_none_exist``: parameters); ``update T`` resource (``_if_match``: versionId, ``_search``: parameters of a
conditional update); ``delete T`` {id}; ``transaction`` and ``batch`` Bundle; ``operation T/$name`` or
``operation $name`` {id, parameters}; ``capabilities``. The answer is the resource as a dict, decimals exact.

An OperationOutcome is a refusal with its issue's code (``not-found``, ``deleted`` and ``conflict`` for 404, 410, 409
and 412; ``conflict/slot-full`` when details has a code of its own).
"""

from __future__ import annotations

from adapters.fhir.client import FhirAdapter
from adapters.fhir.settings import Settings
from esb.codecs import fhir
from esb.spi import Adapter, Tree

__all__ = ["Settings", "connect", "decode"]


def connect(settings: Settings) -> Adapter:
    """A connection that opens nothing yet; raises ``ConfigError`` for addresses and keys that cannot work."""
    return FhirAdapter(settings)


def decode(text: str) -> Tree:
    """The answer in a mapping's example: FHIR JSON text as the resource the mapping will see."""
    return fhir.decode(text.encode("utf-8"))
