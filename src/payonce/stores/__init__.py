"""Where answers are kept: bytes under slots, epochs, nothing else.

A store must never know HTTP, a language model or the story that calls it. What it promises is `model/store.py`'s
`Store`; `payonce.testing.StoreContract` proves it, so that a new store is a file plus four lines of test.
"""
