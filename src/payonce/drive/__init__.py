"""The players: they perform the stories' effects and fail open; they never judge."""
