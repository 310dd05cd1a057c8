"""What single steps of the request path cost."""
