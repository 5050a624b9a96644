"""Put on PYTHONPATH, it writes down every connection and look-up of a Python process that leaves this machine.

MEDRES_TEST_CONNECTIONS names the file; workers and servers inherit both variables, so that they are heard as well.
"""

import contextlib
import os
import sys

_HERE = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "None"}
_OWN: set[str] = set()  # the names and addresses of this machine, looked up when first needed
_HEARD = {
    "socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0,
    "socket.gethostbyaddr": 0,
}  # fmt: skip
"""Audit events of the standard library, with the argument that is the address."""


def _own() -> set[str]:
    import socket

    if not _OWN:
        name = socket.gethostname()
        _OWN.update({name, socket.gethostname().partition(".")[0]})  # before the look-up, which is heard as well
        with contextlib.suppress(OSError):
            _OWN.update(socket.gethostbyname_ex(name)[2])
    return _OWN


def _write_down(event: str, arguments: tuple[object, ...]) -> None:
    if event not in _HEARD:
        return
    address = arguments[_HEARD[event]]
    if address is None or (isinstance(address, str | bytes) and event.startswith(("socket.connect", "socket.send"))):
        return  # of this machine: a socket that is a file, or one that is connected already
    host = address[0] if isinstance(address, tuple) else address
    host = host.decode() if isinstance(host, bytes) else str(host)
    if host not in _HERE and host not in _own():
        line = f"{event} {host} by {sys.argv[:3] if hasattr(sys, 'argv') else ''}\n"
        file = os.open(os.environ["MEDRES_TEST_CONNECTIONS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(file, line.encode())
        os.close(file)


sys.addaudithook(_write_down)
