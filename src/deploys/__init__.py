"""Projects fetched, released, started, health-checked, switched and rolled back."""
