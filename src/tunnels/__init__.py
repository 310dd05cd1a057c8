"""Supervised tunnels for machines without a public address."""
