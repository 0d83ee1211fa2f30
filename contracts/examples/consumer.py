#!/usr/bin/env python3
"""A consumer of forge:builds that knows contracts/ alone: the schema, and nothing of Forge's code.

    consumer.py FILE…            checks messages in files
    consumer.py --redis PORT     takes one message from forge:builds and checks it

Prints what it would build; exits 1 with the field and the reason when a message is not valid.
"""
import json, os, re, socket, sys

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = json.load(open(os.path.join(HERE, "..", "schemas", "build-queue-message.schema.json")))


def check(value, schema, path="$"):
    """The part of JSON Schema that the contract uses; yields "path: reason"."""
    if "$ref" in schema:
        node = SCHEMA
        for part in schema["$ref"].lstrip("#/").split("/"):
            node = node[part]
        yield from check(value, node, path)
    if "anyOf" in schema and not any(not list(check(value, s, path)) for s in schema["anyOf"]):
        yield f"{path}: none of the allowed forms"
    kinds = {"string": str, "object": dict, "array": list, "boolean": bool, "integer": int, "number": (int, float), "null": type(None)}
    kind = schema.get("type")
    if kind and not any(isinstance(value, kinds[k]) for k in ([kind] if isinstance(kind, str) else kind)):
        yield f"{path}: expected {kind}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: expected one of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{path}: expected {schema['const']}"
    if "oneOf" in schema and sum(not list(check(value, s, path)) for s in schema["oneOf"]) != 1:
        yield f"{path}: none of the allowed words"
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {schema.get('description', schema['pattern'])}"
    if isinstance(value, list):
        for n, item in enumerate(value):
            yield from check(item, schema.get("items", {}), f"{path}[{n}]")
    if isinstance(value, dict):
        for name in schema.get("required", []):
            if name not in value:
                yield f"{name}: is required"
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield from check(value[name], inner, name)


def consume(text):
    try:
        message = json.loads(text)
    except ValueError as error:
        sys.exit(f"not JSON: {error}")
    errors = list(check(message, SCHEMA))
    if errors:
        sys.exit("; ".join(errors))
    print(f"{message['id']}: build {message['source']} at {message['commit_hash']} as {message['type']}")


def take(port):
    """Takes from the right, into a list of its own, as every consumer must: a pop would lose work."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as redis:
        args = [b"LMOVE", b"forge:builds", b"{forge:builds}:proc:example:0", b"RIGHT", b"LEFT"]
        redis.sendall(b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args))
        reply = redis.makefile("rb")
        length = int(reply.readline()[1:])
        return None if length < 0 else reply.read(length)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--redis"]:
        consume(take(int(sys.argv[2])) or sys.exit("nothing waits"))
    else:
        for name in sys.argv[1:]:
            consume(open(name, encoding="utf-8").read())
