"""Tests: one file per source file, and flows over the whole node."""
