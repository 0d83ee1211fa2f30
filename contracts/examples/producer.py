#!/usr/bin/env python3
"""A producer of builds that knows contracts/ alone: producer.py PORT ID SOURCE COMMIT."""
import json, socket, sys

port, build, source, commit = int(sys.argv[1]), *sys.argv[2:5]
message = {
    "id": build, "project_name": "example/producer", "type": "dockerfile", "source": source, "commit_hash": commit,
    "strategy": "local", "metadata": {"triggered_by": "python"}, "a_field_of_its_own": [1, None],
}
text = json.dumps(message).encode()
with socket.create_connection(("127.0.0.1", port), timeout=10) as redis:
    redis.sendall(b"*3\r\n$5\r\nLPUSH\r\n$12\r\nforge:builds\r\n$%d\r\n%s\r\n" % (len(text), text))
    sys.exit(0 if redis.recv(64).startswith(b":") else 1)
