"""What everyone shares: what operators asked for, what is true now, and the store that keeps it."""
