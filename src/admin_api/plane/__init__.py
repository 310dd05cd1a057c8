"""The Plane dialect: root paths, worker authentication, the native routes."""
