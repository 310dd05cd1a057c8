"""Zexio and its peers side by side, under one load, against one origin."""
