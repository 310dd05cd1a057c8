"""The steps that brought the store's tables to what they are, each done once and never edited again."""
