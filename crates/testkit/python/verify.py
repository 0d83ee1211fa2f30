"""Checks a webhook by the library of the Standard Webhooks project.

Usage: python verify.py SECRET ID SECONDS SIGNATURES < body
"""

import sys

from standardwebhooks.webhooks import Webhook

secret, message_id, at, signatures = sys.argv[1:]
headers = {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": signatures}
Webhook(secret).verify(sys.stdin.buffer.read().decode(), headers)
