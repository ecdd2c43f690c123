"""The contract: ``schemas/*.yaml`` (OpenAPI 3.1 by domain) as one document and a table of checked operations."""

from esb.contract.check import FieldError
from esb.contract.event import Event
from esb.contract.load import Contract, load_contract
from esb.contract.operation import Operation, Parameter, Refusal

__all__ = ["Contract", "Event", "FieldError", "Operation", "Parameter", "Refusal", "load_contract"]
