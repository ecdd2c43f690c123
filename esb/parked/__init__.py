"""What waits for a person: seen, taken together, edited, released and discarded beside a running bus."""

from esb.parked.desk import Desk, NotParkedError
from esb.parked.editing import NotEditedError

__all__ = ["Desk", "NotEditedError", "NotParkedError"]
