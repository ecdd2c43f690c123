"""One pipeline for every exchange: admit, validate, dedupe, journal, map, call, interpret, validate, record."""

from esb.pipeline.core import Pipeline
from esb.pipeline.version import Route, Version

__all__ = ["Pipeline", "Route", "Version"]
