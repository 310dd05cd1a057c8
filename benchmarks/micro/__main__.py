"""Print what each step of a request costs, in microseconds: `python -m benchmarks.micro [WORD]` for those named so."""

from __future__ import annotations

import sys
from timeit import Timer

from benchmarks.micro.steps import Step, steps

REPEAT = 5


def main(word: str = "") -> None:
    """Time every step whose name holds `word`."""
    chosen = {name: step for name, step in steps().items() if word in name}
    width = max(map(len, chosen), default=0)
    for name, step in chosen.items():
        print(f"{name:<{width}}  {microseconds(step):8.3f}", flush=True)


def microseconds(step: Step) -> float:
    """The best of five runs of at least 0.2 s: everything slower was disturbed by something else.

    The call of the step itself, about 0.03 µs, is part of it.
    """
    timer = Timer(step)
    number, _ = timer.autorange()
    return min(timer.repeat(REPEAT, number)) / number * 1e6


if __name__ == "__main__":
    main(*sys.argv[1:2])
