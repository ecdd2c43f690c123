"""Everything a bus runs on, loaded and checked: contract x routes x mappings x adapters.

``load`` is what start-up and ``esb lint`` share: nothing starts half-configured, and lint says no less than the start.
``survey`` looks at the files that are there and are not used.
"""

from esb.lint.plan import Plan, examine, load, mapping_file, run_all_examples
from esb.lint.survey import Survey, survey

__all__ = ["Plan", "Survey", "examine", "load", "mapping_file", "run_all_examples", "survey"]
