"""Certificates for custom domains: ordered, renewed and reported as facts."""
