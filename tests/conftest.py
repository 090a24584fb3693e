"""What all tests share. Also puts the repository on the path, for `tests.support`."""
