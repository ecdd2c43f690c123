"""What happens to a request and why: facts of an operation, where a field comes from, a message followed in steps."""

from esb.explain.asked import Asked, explain
from esb.explain.choose import CannotExplainError
from esb.explain.fields import UnknownFieldError
from esb.explain.operation import as_text, attempt, explanation

__all__ = ["Asked", "CannotExplainError", "UnknownFieldError", "as_text", "attempt", "explain", "explanation"]
