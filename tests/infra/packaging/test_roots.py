"""The folder of roots: OpenSSL finds each of them there, whatever its name is made of, and nobody else's."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore
import certifi
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from infra.packaging.roots import subject_hash, write_roots

BUNDLES = (Path(botocore.__file__).with_name("cacert.pem"), Path(certifi.where()))
HOST = "localhost"
BORN = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = "-----BEGIN CERTIFICATE-----"


def certificate(subject: x509.Name, issuer: x509.Name, *, authority: bool) -> x509.Certificate:
    """A certificate of a name; all have one key, so that who issued what is a matter of names alone."""
    made = x509.CertificateBuilder(issuer, subject, KEY.public_key(), x509.random_serial_number())
    made = made.not_valid_before(BORN).not_valid_after(datetime.now(UTC) + timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    if not authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    return made.sign(KEY, hashes.SHA256())


def text(one: x509.Certificate) -> str:
    """The certificate as a bundle has it."""
    return one.public_bytes(Encoding.PEM).decode()


def shakes_hands(trusted: Path, issuer: x509.Name, folder: Path) -> bool:
    """Whether a client that trusts the folder of roots takes a server whose certificate a root of that name signed."""
    chain = folder / "server.pem"
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    leaf = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    chain.write_text(key + text(certificate(leaf, issuer, authority=False)))
    at_server, at_client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    at_server.load_cert_chain(chain)
    at_client.load_verify_locations(capath=str(trusted))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = at_client.wrap_bio(down, up, server_hostname=HOST)
    server = at_server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError:
                return False
    return client.version() is not None


def roots_named(names: list[x509.Name], folder: Path) -> Path:
    """A folder of roots with these names."""
    write_roots("".join(text(certificate(name, name, authority=True)) for name in names), folder)
    return folder


@pytest.mark.parametrize("bundle", BUNDLES, ids=["AWS", "Azure"])
@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # an old root has a negative one
def test_openssl_finds_a_root_by_each_name_that_a_real_one_has(bundle: Path, tmp_path: Path) -> None:
    """Those of each package's bundle: old ones have texts in encodings of their time. A stranger is not found."""
    pems = [PEM + each for each in bundle.read_text(encoding="utf-8").split(PEM)[1:]]
    names = list(dict.fromkeys(x509.load_pem_x509_certificate(pem.encode()).subject for pem in pems))
    assert len(names) > 100
    trusted = roots_named(names, tmp_path / "roots")
    assert all(shakes_hands(trusted, name, tmp_path) for name in names)
    assert not shakes_hands(trusted, x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Nobody's")]), tmp_path)


@pytest.mark.parametrize(
    "attributes",
    [
        [("  Spaces   within\tand around ", _ASN1Type.UTF8String)],
        [("Größe Ärger", _ASN1Type.UTF8String)],
        [("Größe Ärger", _ASN1Type.BMPString)],
        [("x" * 64, _ASN1Type.PrintableString)] * 5,
    ],
    ids=["spaces", "utf-8", "two bytes a character", "longer than a byte tells"],
)
def test_a_name_is_spelled_as_openssl_does(attributes: list[tuple[str, _ASN1Type]], tmp_path: Path) -> None:
    """Case, spaces and encoding make no difference between two names."""
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, value, kind) for value, kind in attributes])
    assert shakes_hands(roots_named([name], tmp_path / "roots"), name, tmp_path)


def test_several_names_in_one_set_have_an_order(tmp_path: Path) -> None:
    """DER sorts them, and so does OpenSSL once they are spelled canonically."""
    both = [x509.NameAttribute(NameOID.COMMON_NAME, "Z"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "a")]
    name = x509.Name([x509.RelativeDistinguishedName(both)])
    assert shakes_hands(roots_named([name], tmp_path / "roots"), name, tmp_path)


def test_a_value_that_is_no_text_counts_as_it_is(tmp_path: Path) -> None:
    """A bit string, as the unique identifier of a name is."""
    identifier = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x01\x02", _ASN1Type.BitString)
    name = x509.Name([identifier])
    assert shakes_hands(roots_named([name], tmp_path / "roots"), name, tmp_path)


def test_roots_of_one_name_have_numbers(tmp_path: Path) -> None:
    """Two keys of one authority: both are trusted, and OpenSSL asks for the next number until there is none."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Twice")])
    trusted = roots_named([name, name], tmp_path / "roots")
    found = subject_hash(certificate(name, name, authority=True).public_bytes(Encoding.DER))
    assert sorted(each.name for each in trusted.iterdir()) == [f"{found}.0", f"{found}.1"]
