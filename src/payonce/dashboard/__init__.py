"""The dashboard at `/_payonce/` and its JSON API: pages rendered here, no framework, no build, no outside request.

Everything in this room is synchronous and bounded; the gateway calls it on threads of its own (gateway/admin.py), so
that no page can hold up a call. This room must never change anything but by a purge that an administrator confirmed.
"""
