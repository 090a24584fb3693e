"""What tenants, namespaces and tags can be called, so that a name that nothing can have is told from one that nothing
has. This room must never know where a name was written.
"""

from __future__ import annotations

import re
from typing import Final

NAMESPACE: Final = r"[A-Za-z0-9._-]{1,64}"
TAG: Final = r"[A-Za-z0-9._:-]{1,64}"
TENANT: Final = r"[0-9a-f]{64}"
TENANT_DIGITS: Final = 64
TENANTS_SHOWN: Final = "payonce ls --json and payonce stats --by tenant --json show them"

_POSSIBLE: Final = {
    "namespace": (NAMESPACE, "a namespace is 1 to 64 letters, digits, dots, underscores and hyphens"),
    "tag": (TAG, "a tag is 1 to 64 letters, digits, dots, underscores, hyphens and colons"),
    "tenant": (TENANT, f"a tenant is {TENANT_DIGITS} hexadecimal digits in lower case, all of them; {TENANTS_SHOWN}"),
}


def impossible(kind: str, name: str) -> str:
    """Why no `kind` is called `name`, in words; empty where one may be. Of other kinds than those above, any may be."""
    pattern, rule = _POSSIBLE.get(kind, ("", ""))
    return rule if pattern and not re.fullmatch(pattern, name, re.ASCII) else ""
