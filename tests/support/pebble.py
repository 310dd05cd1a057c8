"""Debian's pebble and pebble-challtestsrv on free ports: an ACME authority, and the name server that it asks."""

from __future__ import annotations

import atexit
import contextlib
import datetime as dt
import http.client
import ipaddress
import json
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Self

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

PATIENCE_S: Final = 15.0
ATTEMPTS: Final = 5

# Below the ports that Linux gives to outgoing connections, so that nothing takes one between the choice and the use.
PORTS: Final = range(20_000, 32_000)

# So that a test run that is killed leaves none behind; it tells the kernel so, and is replaced by the program.
_DYING_WITH_US: Final = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


class PebbleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the authority behaves. Percentages are of requests; `validity_s` is the life of its certificates.

    `http_port` and `tls_port` are where it looks for answers to HTTP-01 and TLS-ALPN-01; None: free ones are chosen.
    `external_accounts` are HMAC keys in base64url by key id; with any, accounts have to be bound to one of them.
    `blocklist` are domains that it refuses, with everything below them.
    """

    http_port: int | None = None
    tls_port: int | None = None
    validity_s: int = 90 * 86_400
    nonce_reject: int = 0
    authz_reuse: int = 0
    alternate_roots: int = 0
    chain_length: int = 1
    external_accounts: Mapping[str, str] = msgspec.field(default_factory=dict)
    blocklist: tuple[str, ...] = ()
    always_valid: bool = False
    orders_per_page: int = 100
    is_strict: bool = False


class NameServer:
    """The records that the authority sees, changed through challtestsrv's management port. All names without last dot.

    Every name has the address 127.0.0.1 and no IPv6 address unless it was given others. NS and SOA answer NOTIMP.
    """

    def __init__(self, dns_port: int, management_port: int) -> None:
        self.port = dns_port
        self._management = management_port

    @property
    def address(self) -> str:
        """Where to ask, by UDP, as `host:port`."""
        return f"127.0.0.1:{self.port}"

    def set_txt(self, host: str, value: str) -> None:
        """Add a TXT value to those that there are."""
        self._post("set-txt", host=f"{host}.", value=value)

    def clear_txt(self, host: str) -> None:
        """Remove all TXT values."""
        self._post("clear-txt", host=f"{host}.")

    def add_a(self, host: str, *addresses: str) -> None:
        """Add IPv4 addresses in place of the default one."""
        self._post("add-a", host=f"{host}.", addresses=addresses)

    def clear_a(self, host: str) -> None:
        """Back to the default address."""
        self._post("clear-a", host=f"{host}.")

    def add_aaaa(self, host: str, *addresses: str) -> None:
        """Add IPv6 addresses."""
        self._post("add-aaaa", host=f"{host}.", addresses=addresses)

    def clear_aaaa(self, host: str) -> None:
        """Remove all IPv6 addresses."""
        self._post("clear-aaaa", host=f"{host}.")

    def set_cname(self, host: str, target: str) -> None:
        """Make a name another's."""
        self._post("set-cname", host=f"{host}.", target=f"{target}.")

    def clear_cname(self, host: str) -> None:
        """Make it a name of its own again."""
        self._post("clear-cname", host=f"{host}.")

    def add_caa(self, host: str, *policies: tuple[str, str]) -> None:
        """Add CAA records, each a tag and a value; pebble 2.4 does not look at them."""
        self._post("add-caa", host=f"{host}.", policies=[{"tag": tag, "value": value} for tag, value in policies])

    def clear_caa(self, host: str) -> None:
        """Remove all CAA records."""
        self._post("clear-caa", host=f"{host}.")

    def set_servfail(self, host: str) -> None:
        """Answer SERVFAIL to every question about a name."""
        self._post("set-servfail", host=f"{host}.")

    def clear_servfail(self, host: str) -> None:
        """Answer again."""
        self._post("clear-servfail", host=f"{host}.")

    def _post(self, act: str, **fields: object) -> None:
        status, answer = _asked(http.client.HTTPConnection("127.0.0.1", self._management), "POST", f"/{act}", fields)
        if status != 200:
            raise OSError(f"challtestsrv says {status} to {act}: {answer.decode(errors='replace')}")


class Pebble:
    """An authority and its name server, run by `with`. What it issued and whom it knows is forgotten by a restart."""

    def __init__(self, options: PebbleOptions | None = None) -> None:
        self.options = options or PebbleOptions()
        self._folder = Path(tempfile.mkdtemp(prefix="zexio-pebble-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._port = self._management = 0
        self.http_port = self.options.http_port or 0
        self.tls_port = self.options.tls_port or 0
        self.dns = NameServer(0, 0)

    @property
    def directory(self) -> str:
        """The URL of the ACME directory."""
        return f"https://localhost:{self._port}/dir"

    @property
    def ca_file(self) -> Path:
        """What a client trusts in order to talk to the authority: not the root of what that issues."""
        return self._folder / "ca.pem"

    @property
    def log(self) -> str:
        """What the authority has said since it started last."""
        return (self._folder / "pebble.log").read_text(errors="replace")

    def count(self, path: str) -> int:
        """How many POST requests reached `path` (`order-plz`, `sign-me-up`, `revoke-cert`, ...) since the start."""
        return len(re.findall(rf"POST /{re.escape(path)} -> calling handler", self.log))

    def root(self, number: int = 0) -> str:
        """A root in PEM; those after the first end the alternate chains."""
        return self._managed(f"/roots/{number}").decode()

    def intermediate(self, number: int = 0) -> str:
        """The intermediate below a root, in PEM."""
        return self._managed(f"/intermediates/{number}").decode()

    def status(self, serial: int | str) -> str:
        """`Valid` or `Revoked`, by the serial number of a certificate (in hexadecimal digits if it is text)."""
        digits = f"{serial:x}" if isinstance(serial, int) else serial
        return str(json.loads(self._managed(f"/cert-status-by-serial/{digits}"))["Status"])

    def visitor_context(self) -> ssl.SSLContext:
        """For a visitor that trusts what this authority issues, by whichever root, and nothing else."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for number in range(self.options.alternate_roots + 1):
            context.load_verify_locations(cadata=self.root(number))
        return context

    def restart(self) -> None:
        """Start it anew at the same address: accounts, orders, roots and certificates are gone, DNS records stay."""
        _end(self._processes.pop())
        self._start_authority()

    def __enter__(self) -> Self:
        for program in ("pebble", "pebble-challtestsrv"):
            if shutil.which(program) is None:
                self._clear()
                pytest.skip(f"{program} is not installed (Debian package pebble)")
        atexit.register(self._stop)
        _write_identity(self._folder)
        for attempt in range(1, ATTEMPTS + 1):
            self._choose_ports()
            try:
                self._start_name_server()
                self._start_authority()
            except OSError:
                self._stop()
                if attempt == ATTEMPTS:
                    self._clear()
                    raise
            else:
                break
        return self

    def __exit__(self, *_exit: object) -> None:
        self._stop()
        self._clear()

    def _choose_ports(self) -> None:
        self._port, self._management, dns, challenges = free_ports(4)
        self.dns = NameServer(dns, challenges)
        self.http_port, self.tls_port = (
            given or free
            for given, free in zip((self.options.http_port, self.options.tls_port), free_ports(2), strict=True)
        )

    def _start_name_server(self) -> None:
        self._run(
            "pebble-challtestsrv",
            # Newer ones call it so.
            "-dnsserver" if "-dnsserver" in _usage("pebble-challtestsrv") else "-dns01",
            self.dns.address,
            *("-http01", "", "-https01", "", "-tlsalpn01", ""),
            *("-management", f"127.0.0.1:{self.dns._management}"),
            # Without this every name has the address ::1 too, and that one is tried first.
            *("-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""),
        )
        self._await(lambda: self.dns.clear_a("ready.example"))

    def _start_authority(self) -> None:
        chosen = self.options
        settings = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(self._folder / "cert.pem"),
            "privateKey": str(self._folder / "key.pem"),
            "httpPort": self.http_port,
            "tlsPort": self.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": bool(chosen.external_accounts),
            "externalAccountMACKeys": dict(chosen.external_accounts),
            "domainBlocklist": chosen.blocklist,
            "certificateValidityPeriod": chosen.validity_s,
        }
        (self._folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        environment = {
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(chosen.nonce_reject),
            "PEBBLE_AUTHZREUSE": str(chosen.authz_reuse),
            "PEBBLE_ALTERNATE_ROOTS": str(chosen.alternate_roots),
            "PEBBLE_CHAIN_LENGTH": str(chosen.chain_length),
            "PEBBLE_WFE_ORDERS_PER_PAGE": str(chosen.orders_per_page),
            **({"PEBBLE_VA_ALWAYS_VALID": "1"} if chosen.always_valid else {}),
        }
        arguments = ["-config", str(self._folder / "pebble.json"), "-dnsserver", self.dns.address]
        self._run("pebble", *arguments, *(["-strict"] if chosen.is_strict else []), environment=environment)
        self._await(lambda: self._get(self._port, "/dir"))
        self._await(lambda: self._get(self._management, "/roots/0"))

    def _run(self, program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            process = subprocess.Popen(
                [*_DYING_WITH_US, program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # From zero: Go programs obey a proxy of the environment.
                env={"PATH": os.environ.get("PATH", os.defpath), **(environment or {})},
            )
        self._processes.append(process)

    def _await(self, probe: Callable[[], object]) -> None:
        """Until the newest process answers; OSError when it has ended, or does not."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                probe()
            except OSError as error:
                ended = self._processes[-1].poll()
                if ended is not None or time.monotonic() > deadline:
                    said = "\n".join(path.read_text(errors="replace")[-2000:] for path in self._folder.glob("*.log"))
                    raise OSError(f"no answer ({error}), ended with {ended}: {said}") from error
                time.sleep(0.01)
            else:
                return

    def _managed(self, path: str) -> bytes:
        return self._get(self._management, path)

    def _get(self, port: int, path: str) -> bytes:
        context = ssl.create_default_context(cafile=self.ca_file)
        status, body = _asked(http.client.HTTPSConnection("localhost", port, context=context), "GET", path)
        if status != 200:
            raise OSError(f"pebble says {status} to {path}: {body.decode(errors='replace')}")
        return body

    def _stop(self) -> None:
        atexit.unregister(self._stop)
        while self._processes:
            _end(self._processes.pop())

    def _clear(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """So many ports of the loopback address that nobody listens at now, for TCP and UDP."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(PORTS)
        if port not in found and _is_free(port):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as tried:
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _usage(program: str) -> str:
    return subprocess.run([program, "-h"], capture_output=True, text=True, check=False, timeout=PATIENCE_S).stderr


def _asked(
    connection: http.client.HTTPConnection, method: str, path: str, fields: Mapping[str, object] | None = None
) -> tuple[int, bytes]:
    connection.timeout = PATIENCE_S
    with contextlib.closing(connection):
        connection.request(method, path, body=None if fields is None else json.dumps(fields))
        answer = connection.getresponse()
        return answer.status, answer.read()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()


def _write_identity(folder: Path) -> None:
    """A CA, and a certificate for localhost with its key: what pebble serves its directory with."""
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Pebble Listener CA")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    # Since Python 3.13 a chain needs key identifiers and a key usage.
    root = _signed(
        (ca, ca_key),
        (ca, ca_key),
        [
            (x509.BasicConstraints(ca=True, path_length=None), True),
            (x509.KeyUsage(False, False, False, False, False, True, True, False, False), True),
        ],
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    leaf = _signed((subject, key), (ca, ca_key), [(x509.SubjectAlternativeName(names), False)])
    (folder / "ca.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (folder / "cert.pem").write_bytes(leaf.public_bytes(Encoding.PEM))
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _signed(
    subject: tuple[x509.Name, ec.EllipticCurvePrivateKey],
    issuer: tuple[x509.Name, ec.EllipticCurvePrivateKey],
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject[0])
        .issuer_name(issuer[0])
        .public_key(subject[1].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=30))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(subject[1].public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer[1].public_key()), critical=False)
    )
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(issuer[1], hashes.SHA256())
