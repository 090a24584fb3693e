"""Never pay twice for the same tokens."""
