"""The books: what happened, written down for later. Receipts, their sums by minute and hour, in a file of their own.

A journal takes what happened off the request path, a clerk's thread posts it, a reader answers questions. Whatever goes
wrong in here costs figures, never a call and never an entry. This room must never hold a prompt, an answer or a
credential.
"""
