"""What compiled modules say to mypyc (`make compile`), without a package that only whoever compiles has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr  # noqa: PLC0414 - said again, as mypy wants of what others use
else:

    def mypyc_attr(**_wanted):  # noqa: ANN003, ANN201 - mypy looks at the other branch
        """Leave the class as it is: a decorator for the sources alone."""
        return lambda decorated: decorated
