"""The data plane: bytes from visitors to targets and back."""
