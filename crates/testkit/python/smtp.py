"""A mail server that keeps what it takes, a line of JSON for each mail.

Usage: python smtp.py PORT FILE USER PASSWORD [CERTIFICATE KEY]

With a certificate it wants STARTTLS first. Who is called refused@... is not known here; who is called later@... is not
there for the first two times.
"""

import json
import signal
import ssl
import sys

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

port, kept, user, password = sys.argv[1:5]
tries = {"later": 0}


class Keep:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("refused@"):
            return "550 5.1.1 no such user here"
        if address.startswith("later@"):
            tries["later"] += 1
            if tries["later"] <= 2:
                return "451 4.3.0 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        with open(kept, "a", encoding="utf-8") as file:
            mail = {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "text": envelope.content.decode("utf-8", "replace"),
                "tls": session.ssl is not None,
                "authenticated": bool(session.authenticated),
            }
            file.write(json.dumps(mail) + "\n")
        return "250 OK"


def authenticate(server, session, envelope, mechanism, data):
    known = isinstance(data, LoginPassword) and (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=known, handled=False)  # Or nothing is answered to others.


context = None
if len(sys.argv) > 5:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(sys.argv[5], sys.argv[6])
controller = Controller(
    Keep(),
    hostname="127.0.0.1",
    port=int(port),
    tls_context=context,
    require_starttls=context is not None,
    authenticator=authenticate,
    auth_required=True,
    auth_require_tls=context is not None,
)
controller.start()
signal.pause()
