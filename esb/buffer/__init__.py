"""The buffer: exchanges that were accepted and are not delivered yet."""

from esb.buffer.base import Buffer, Delivery, Entry, Lost, Message, Where
from esb.buffer.sql import SqlBuffer

__all__ = ["Buffer", "Delivery", "Entry", "Lost", "Message", "SqlBuffer", "Where"]
