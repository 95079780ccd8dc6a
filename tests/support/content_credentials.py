"""Sign an image with a C2PA manifest, by a certificate that is made for it."""

import datetime
import io
import json
from typing import Any

GENERATOR = "Test Camera"


def signed(data: bytes, mime: str = "image/jpeg", generator: str = GENERATOR) -> bytes:
    """Return the image file with a manifest that says it was created by a generative model."""
    import c2pa

    chain, key = _certificates()
    manifest = {
        "claim_generator_info": [{"name": generator, "version": "1.2"}],
        "title": "a portrait",
        "format": mime,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [_created()]}}],
    }
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, key, None)
    target = io.BytesIO()
    with c2pa.Signer.from_info(info) as signer, c2pa.Builder.from_json(json.dumps(manifest)) as one:
        one.sign(signer, mime, io.BytesIO(data), target)
    return target.getvalue()


def _created() -> dict[str, str]:
    return {
        "action": "c2pa.created",
        "digitalSourceType": (
            "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
        ),
    }


def _certificates() -> tuple[bytes, bytes]:
    """A chain of two certificates, the signer's first, and the signer's key, as PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("Test Authority", authority_key, "Test Authority", authority_key)
    signer = _certificate("Test Signer", key, "Test Authority", authority_key)
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return signer.public_bytes(pem) + authority.public_bytes(pem), private


def _certificate(name: str, key: Any, issuer: str, issuer_key: Any) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    is_authority = name == issuer
    today = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        (
            "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
            "encipher_only", "decipher_only",
        ),
        False,
    )  # fmt: skip
    usage |= {
        "digital_signature": not is_authority,
        "key_cert_sign": is_authority,
        "crl_sign": is_authority,
    }
    builder = (
        x509.CertificateBuilder()
        .subject_name(_named(name, NameOID))
        .issuer_name(_named(issuer, NameOID))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=30))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False
        )
    )
    if not is_authority:
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(purpose, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def _named(name: str, oids: Any) -> Any:
    from cryptography import x509

    return x509.Name(
        [
            x509.NameAttribute(oids.COUNTRY_NAME, "CH"),
            x509.NameAttribute(oids.ORGANIZATION_NAME, "Tests"),
            x509.NameAttribute(oids.COMMON_NAME, name),
        ]
    )
