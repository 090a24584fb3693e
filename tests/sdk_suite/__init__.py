"""The OpenAI SDK's own tests, from its source distribution, direct and through the gateway: `make sdk-suite`.

The SDK's mock server answers from a specification that is not in the distribution; `mock` answers from the SDK's own
types instead. What passes direct has to pass through the gateway, on a cold cache and on a warm one.
"""
