"""Every registered provider is documented, and has a stub server that all tests of payments use."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from django.conf import settings
from django.urls import reverse

from billing.payments.models import PROVIDER_MAX_LENGTH
from billing.payments.money import CURRENCIES
from billing.payments.providers import REGISTRY
from tests.billing.payments.conftest import PROVIDERS
from tests.fakes.provider import FakeProvider

PAGE = (Path(settings.BASE_DIR) / "docs" / "payments.md").read_text()


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_with_webhooks_is_documented_with_its_keys_and_url(name: str) -> None:
    assert f"https://YOUR.HOST{reverse(f'{name}-webhook')}`" in PAGE
    required = [setting.name for setting in REGISTRY[name].settings() if setting.required]
    assert [variable for variable in required if f"`{variable}`" not in PAGE] == []


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_provider_with_webhooks_has_a_stub_server_with_its_name(name: str) -> None:
    fake = importlib.import_module(f"tests.fakes.{name}").Fake()
    assert isinstance(fake, FakeProvider)
    assert fake.name == name
    assert set(fake.settings()) | set(fake.wrong_key) <= {setting.name for setting in REGISTRY[name].settings()}


@pytest.mark.parametrize("name", REGISTRY)
def test_a_provider_has_a_name_that_fits_its_column_and_a_currency_of_the_packages(name: str) -> None:
    assert len(name) <= PROVIDER_MAX_LENGTH
    assert REGISTRY[name].currency in CURRENCIES
