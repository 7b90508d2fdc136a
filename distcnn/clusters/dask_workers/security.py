"""Security: who may speak to a scheduler and its workers, and who may listen.

Whoever reaches a Dask scheduler can run any code as its user. On the loopback interface that is
every user of this machine who already could; beyond it, client, scheduler and workers speak TLS
and each shows a certificate that the others' authority has signed (``cluster.tls``). By default
the certificate is made for the run, is its own authority, and is forgotten with it.

Keys travel inside an encrypted connection (ssh), or in files that their owner alone can read, in a
folder that is removed at the end. They never stand on a command line, which every user of a
machine can list, nor in anything that is printed or stored with the results.
"""

import os
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from distributed.comm.addressing import parse_host_port
from distributed.security import Security

from distcnn.clusters.dask_workers.settings import dask_variable
from distcnn.config import ClusterConfig
from distcnn.config.run import TlsConfig
from distcnn.errors import ClusterError, MissingExtra

CLOCK_SKEW = timedelta(days=1)
"""How far the clock of another machine may be behind, without the certificate being too new."""
LIFETIME = timedelta(days=365)
"""Longer than any run."""
ANSWER_S = 10.0
"""Time for a scheduler to say the first word."""
ROLES = ("client", "scheduler", "worker")
CURE = "Name the files with cluster.tls.ca, cluster.tls.cert and cluster.tls.key."


def choose_security(tls: TlsConfig, *, loopback: bool) -> Security | None:
    """What a cluster that we start speaks; None = plain TCP.

    ``loopback``: the scheduler can be reached from this machine only.

    Raises
    ------
    ClusterError : the user's certificates cannot be used.
    MissingExtra : certificates are to be made, and nothing is installed that makes them.
    """
    if tls.files:
        return load_security(tls)
    if tls.mode == "on" or (tls.mode == "auto" and not loopback):
        return temporary_security()
    return None


def temporary_security() -> Security:
    """A new key and a certificate of its own authority, in memory alone, for all roles.

    As ``Security.temporary``, whose certificate however is valid from this very second on: a
    machine whose clock is behind would refuse it.

    Raises
    ------
    MissingExtra : cryptography is not installed.
    """
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError:
        raise MissingExtra.of("Encrypted connections", "cryptography", "ssh") from None
    secret = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "distcnn")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, secret.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(now + LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = serialization.Encoding.PEM
    cert = builder.sign(secret, hashes.SHA256()).public_bytes(pem).decode()
    key = secret.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    return _for_all_roles(cert, cert, key)


def load_security(tls: TlsConfig) -> Security:
    """The user's own certificates.

    Raises
    ------
    ClusterError : one of the files is not named, is missing, or is none of a certificate; names it.
    """
    for key, path in tls.paths.items():
        if path is None:
            raise ClusterError(
                f"cluster.tls.{key} is missing",
                expected="a file each for cluster.tls.ca, cert and key, in PEM",
                cure=CURE,
            )
        if not path.is_file():
            raise ClusterError(
                f"there is no file {str(path)!r}, named by cluster.tls.{key}",
                expected="a file in PEM",
                cure=CURE,
            )
    # Absolute: workers start in folders of their own.
    security = _for_all_roles(*(str(path.absolute()) for path in tls.paths.values() if path))
    _context(security)
    return security


def client_security(config: ClusterConfig) -> Security | None:
    """How to speak to the scheduler at the address ``config.backend``; None = plain TCP.

    Without ``cluster.tls`` the certificates are those of Dask's own configuration
    (``distributed.comm.tls`` in ~/.config/dask or in DASK_ variables).

    Raises
    ------
    ClusterError : none are named, they cannot be used, or ``cluster.tls`` is on at ``tcp://``.
    """
    if not config.backend.startswith("tls://"):
        if config.tls.mode == "on":
            raise ClusterError(
                f"cluster.tls is on and {config.backend} is not encrypted",
                expected="tls://HOST:PORT",
                cure="Start the scheduler and its workers with certificates, see deploy/README.md.",
            )
        return None
    if config.tls.files:
        return load_security(config.tls)
    make: Callable[..., Security] = Security
    security = make(require_encryption=True)
    if _context(security) is None:
        raise ClusterError(
            f"no certificates are named for {config.backend}",
            expected="those with which its scheduler was started",
            cure=CURE,
        )
    return security


def check_answer(address: str, security: Security | None) -> None:
    """Say what Dask would retry without a word until its time is over.

    Raises
    ------
    ClusterError : nothing listens there, one side is encrypted and the other is not, or one does
        not accept the certificate of the other.
    """
    split: Callable[[str], tuple[str, int]] = parse_host_port
    where = split(address.partition("://")[2])
    try:
        with socket.create_connection(where, ANSWER_S) as plain:
            if security is None:
                _expect_plain(plain, address)
            else:
                _expect_encrypted(plain, address, security)
    except ClusterError:
        raise
    except OSError as error:
        raise ClusterError(
            f"no scheduler answers at {address} ({error})",
            expected="the address of a running Dask scheduler",
            cure="Start one, or use --cluster local.",
        ) from None


def is_loopback(address: str) -> bool:
    """Whether an address is reached from its own machine only."""
    return address.startswith("127.") or address in {"::1", "localhost"}


def pem_texts(security: Security) -> dict[str, str]:
    """``ca``, ``cert`` and ``key`` themselves: the user's files need not be where workers run."""
    return {
        name: value if _is_text(value) else Path(value).read_text(encoding="ascii")
        for name, value in _parts(security).items()
    }


def write_certificates(security: Security, folder: Path) -> Security:
    """The same with its keys in files of ``folder`` that this user alone can read.

    For workers that are started by others (a batch system), and that see the folder.
    """
    paths = _parts(security)
    for name, value in paths.items():
        if _is_text(value):
            paths[name] = str(folder / f"{name}.pem")
            _write_private(Path(paths[name]), value)
    return _for_all_roles(**paths)


def tls_variables(security: Security) -> dict[str, str]:
    """Environment of a worker or scheduler of ``dask worker`` and ``dask scheduler``.

    It names files (``write_certificates``), for the environment of a process can be shown.
    """
    return tls_variables_of(**_parts(security))


def tls_variables_of(ca: str, cert: str, key: str) -> dict[str, str]:
    """The same for three files."""
    comm = "distributed.comm"
    files = {f"{comm}.tls.ca-file": ca}
    for role in ROLES:
        files |= {f"{comm}.tls.{role}.cert": cert, f"{comm}.tls.{role}.key": key}
    said = {f"{comm}.require-encryption": "True", **files}
    return {dask_variable(key): value for key, value in said.items()}


def _parts(security: Security) -> dict[str, str]:
    """``ca``, ``cert`` and ``key``, each the text itself or the path of a file."""
    tls: dict[str, str] = security.get_tls_config_for_role("worker")  # type: ignore[no-untyped-call]
    return {"ca": tls["ca_file"], "cert": tls["cert"], "key": tls["key"]}


def _is_text(pem: str) -> bool:
    return "\n" in pem


def _write_private(path: Path, text: str) -> None:
    # Private from its first moment on; and no file that someone else has put there is taken.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)


def _for_all_roles(ca: str, cert: str, key: str) -> Security:
    make: Callable[..., Security] = Security
    roles = {f"tls_{role}_cert": cert for role in ROLES} | {
        f"tls_{role}_key": key for role in ROLES
    }
    return make(require_encryption=True, tls_ca_file=ca, **roles)


def _context(security: Security) -> ssl.SSLContext | None:
    """None where a certificate is not named at all."""
    tls: dict[str, Any] = security.get_tls_config_for_role("client")  # type: ignore[no-untyped-call]
    try:
        arguments: dict[str, Any] = security.get_connection_args("client")  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise ClusterError(
            f"the certificates {tls['ca_file']}, {tls['cert']} and {tls['key']} cannot be used "
            f"({error})",
            expected="an authority, a certificate that it has signed, and the key of that, in PEM",
            cure=CURE,
        ) from None
    context: ssl.SSLContext | None = arguments["ssl_context"]
    return context


def _expect_plain(plain: socket.socket, address: str) -> None:
    # A scheduler introduces itself at once; one that speaks TLS waits to be spoken to.
    with suppress(TimeoutError):
        if plain.recv(1):
            return
    encrypted = address.replace("tcp://", "tls://")
    raise ClusterError(
        f"what listens at {address} does not introduce itself as a Dask scheduler",
        expected="a scheduler without encryption",
        cure=f"If it was started with certificates, write {encrypted}. {CURE}",
    )


def _expect_encrypted(plain: socket.socket, address: str, security: Security) -> None:
    context = _context(security)
    assert context is not None
    try:
        with context.wrap_socket(plain) as encrypted:
            # With TLS 1.3 the refusal of our certificate comes after the greeting.
            if encrypted.recv(1):
                return
            problem = "ends the connection"
    except ssl.SSLCertVerificationError as error:
        problem = f"shows a certificate that cluster.tls.ca has not signed ({error.verify_message})"
    except ssl.SSLError as error:
        if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
            problem = f"is not encrypted; its address is {address.replace('tls://', 'tcp://')}"
        else:
            problem = f"does not accept this certificate ({error.reason})"
    except ConnectionResetError:
        problem = "does not accept this certificate (connection reset)"
    raise ClusterError(
        f"the scheduler at {address} {problem}",
        expected="certificates of one authority on both sides",
        cure=CURE,
    )
