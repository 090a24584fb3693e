"""The words: frozen values and ports. This room does no I/O and knows no vendor, no store and no clock."""
