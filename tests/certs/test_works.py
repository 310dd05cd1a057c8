"""Who does the work can do all that is asked of it."""

from __future__ import annotations

import inspect

from certs.crew import Crew
from certs.works import Works


def test_the_crew_is_asked_for_nothing_that_it_cannot_do() -> None:
    """With the same arguments; types are mypy's business."""
    for name, asked in inspect.getmembers(Works, inspect.isfunction):
        if not name.startswith("_"):
            found = getattr(Crew, name)
            assert inspect.signature(found).parameters.keys() == inspect.signature(asked).parameters.keys()
