"""The operator's door: authentication, the dialects of the management API, streams and OpenAPI."""
