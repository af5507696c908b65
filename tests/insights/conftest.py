"""A user with coins, and a chat that is searchable."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from billing import ledger
from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from relivchats.accounts.models import User
from tests import exports

ROMANTIC_PRICE = 400


@pytest.fixture
def person(make_person: Callable[..., User]) -> User:
    return make_person(coins=ROMANTIC_PRICE)


@pytest.fixture
def make_person(db: None) -> Callable[..., User]:
    def make(*, coins: int = 0) -> User:
        """Create a user whose balance is exactly `coins`."""
        user = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
        wallet = user.wallet
        if change := coins - wallet.balance:
            ledger.adjust(wallet=wallet, amount=change, actor="test", reason="test", idempotency_key="coins")
        return user

    return make


@pytest.fixture
def make_chat() -> Callable[..., Chat]:
    def make(owner: User, *, messages: int = 300, people: int = 2, searchable: bool = True) -> Chat:
        chat = import_chat(owner=owner, upload=exports.text(messages, people=people))
        if searchable:
            indexing.request(chat)
            indexing.index_chat(chat.pk)
            chat.refresh_from_db()
        return chat

    return make


@pytest.fixture
def chat(person: User, make_chat: Callable[..., Chat]) -> Chat:
    return make_chat(person)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Return the context of a server whose certificate nobody signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "server.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + signed.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
