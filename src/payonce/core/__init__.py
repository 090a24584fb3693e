"""The core decides. No I/O, no clock, no logging, no vendor: pure functions and two stories told as generators."""
