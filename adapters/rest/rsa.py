"""RSA signatures. Imported by the one signer that needs them, because the library weighs megabytes in memory."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


class Key:
    """A private key from its unencrypted PEM text; raises ``ValueError`` or ``TypeError`` when it is none."""

    def __init__(self, pem: str) -> None:
        key = serialization.load_pem_private_key(pem.encode(), None)
        if not isinstance(key, RSAPrivateKey):
            raise TypeError
        self._key = key

    def sign(self, text: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return self._key.sign(text, padding.PKCS1v15(), hashes.SHA256())
