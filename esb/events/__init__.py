"""Consumers of events: each subscriber in routes.yaml calls an operation for every event, at least once, in order."""

from esb.events.subscribers import Subscribers
from esb.events.subscription import Subscription

__all__ = ["Subscribers", "Subscription"]
