"""What systems tell us: listeners, callbacks and the way of a message from its bytes to a durable event."""

from esb.inbound.answers import Answers
from esb.inbound.callbacks import Callback, Callbacks, Question
from esb.inbound.desk import Desk
from esb.inbound.listeners import Inlet, Listeners
from esb.inbound.questions import Questions

__all__ = ["Answers", "Callback", "Callbacks", "Desk", "Inlet", "Listeners", "Question", "Questions"]
