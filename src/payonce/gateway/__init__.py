"""The gateway: HTTP on one side, the story on the other. It translates, and decides nothing."""
