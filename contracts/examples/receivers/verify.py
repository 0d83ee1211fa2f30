"""Checks a webhook of Forge with nothing but Python's own library.

    python3 verify.py SECRET WEBHOOK-ID WEBHOOK-TIMESTAMP WEBHOOK-SIGNATURE < body      ends with 0 if it is genuine
"""

import base64
import hashlib
import hmac
import sys
import time

TOLERANCE = 300  # seconds


def verify(secret: str, message_id: str, timestamp: str, signatures: str, body: bytes) -> bool:
    if secret.startswith("whsec_"):
        key = base64.b64decode(secret.removeprefix("whsec_"))
    else:
        key = secret.encode()
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > TOLERANCE:
        return False  # Somebody may have kept it, to send it again.
    signed = f"{message_id}.{timestamp}.".encode() + body  # The bytes as they came: parse them later.
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in signatures.split(" "))


if __name__ == "__main__":
    genuine = verify(*sys.argv[1:5], sys.stdin.buffer.read())
    sys.exit(0 if genuine else 1)
