"""Makes up JSON that fits a schema, as far as the words that structured outputs and tools allow go.

This room must never know what the JSON is for.
"""

from __future__ import annotations

from typing import Any, Final

_MAX_DEPTH: Final = 12
_FORMATS: Final = {
    "date-time": "2026-03-01T12:00:00Z", "date": "2026-03-01", "time": "12:00:00Z", "duration": "PT1H",
    "email": "someone@example.com", "uri": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
}  # fmt: skip


def sample(schema: Any, mark: str, number: int) -> Any:
    """A value that fits; its texts hold `mark` and its numbers are `number` wherever the schema leaves room."""
    return _Sampler(schema, mark, number).value(schema, 0)


class _Sampler:
    def __init__(self, root: Any, mark: str, number: int) -> None:
        self._root = root
        self._mark = mark
        self._number = number

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return None
        if "$ref" in schema:
            return self.value(self._found(str(schema["$ref"])), depth + 1)
        for word in ("anyOf", "oneOf", "allOf"):
            if schema.get(word):
                return self.value(schema[word][0], depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][self._number % len(schema["enum"])]
        kind = schema.get("type")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object" or "properties" in schema:
            fields = schema.get("properties") or {}
            return {name: self.value(inner, depth + 1) for name, inner in fields.items()}
        if kind == "array":
            return self._items(schema, depth)
        return self._text(schema) if kind == "string" else self._scalar(schema, str(kind))

    def _found(self, reference: str) -> Any:
        target = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            target = target.get(step, {}) if isinstance(target, dict) else {}
        return target

    def _items(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = [self.value(inner, depth + 1) for inner in schema.get("prefixItems") or ()]
        least = max(int(schema.get("minItems") or 0), 0 if first else 1)
        most = int(schema.get("maxItems", max(least, 1)))
        more = min(least, most) - len(first)
        return first + [self.value(schema.get("items"), depth + 1) for _ in range(more)]

    def _text(self, schema: dict[str, Any]) -> str:
        text = _FORMATS.get(str(schema.get("format")), f"value {self._mark}")
        text = text.ljust(int(schema.get("minLength") or 0), ".")
        return text[: int(schema["maxLength"])] if schema.get("maxLength") is not None else text

    def _scalar(self, schema: dict[str, Any], kind: str) -> Any:
        if kind == "boolean":
            return True
        if kind not in {"integer", "number"}:
            return None
        half = 0 if kind == "integer" else 0.5
        found = self._number + half
        low, high = schema.get("minimum"), schema.get("maximum")
        low = schema["exclusiveMinimum"] + (half or 1) if "exclusiveMinimum" in schema else low
        high = schema["exclusiveMaximum"] - (half or 1) if "exclusiveMaximum" in schema else high
        found = found if high is None else min(found, high)
        return found if low is None else max(found, low)
