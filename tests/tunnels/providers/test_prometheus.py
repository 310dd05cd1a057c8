"""Figures of a page of metrics: by name and labels, whatever else stands there."""

from __future__ import annotations

from tunnels.providers.prometheus import Sample, samples, total

PAGE = b"""# HELP errors_total What went wrong.
# TYPE errors_total counter
errors_total{error_type="auth_failed",site="a\\"b"} 2
errors_total{error_type="io_error"} 1 1700000000
errors_total_created 9
errors 5
errors_total{broken
errors_total{error_type="x"} many
online 1
empty NaN\r
"""


def test_a_figure_is_found_by_its_whole_name() -> None:
    """Lines that make no sense are passed over."""
    assert samples(PAGE, "errors") == [Sample({}, 5.0)]
    assert [sample.value for sample in samples(PAGE, "errors_total")] == [2.0, 1.0]


def test_figures_are_added_by_labels() -> None:
    """None of them is None, and not nothing."""
    assert total(PAGE, "errors_total") == 3
    assert total(PAGE, "errors_total", error_type="auth_failed") == 2
    assert total(PAGE, "errors_total", error_type="dial_timeout") is None
    assert total(PAGE, "online") == 1
    assert total(b"\xff\xfe{}", "online") is None
