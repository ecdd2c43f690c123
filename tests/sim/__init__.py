"""A hospital, its bus and its patients' frontends in one process with virtual time: one seed is one history.

``run.py`` puts a world together, ``check.py`` judges its history; what breaks and how often is drawn in ``plan.py``.
"""
