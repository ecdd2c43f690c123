"""The buffer with RabbitMQ as its dispatcher. The home of pika: nobody else imports it."""

from esb.buffer.rabbit.broker import Broker
from esb.buffer.rabbit.buffer import RabbitBuffer

__all__ = ["Broker", "RabbitBuffer"]
