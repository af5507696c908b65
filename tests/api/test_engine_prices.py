"""A price per engine applies wherever a price is shown, quoted, reserved or entered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.exceptions import ValidationError

from billing.models import CoinReservation
from chats.importing import import_chat
from insights import catalogue, settlement
from insights.models import Category, GenerationJob, InsightType
from tests import exports
from tests.api.conftest import Api, MakePerson

pytestmark = pytest.mark.django_db


@pytest.fixture
def cheaper() -> None:
    Category.objects.filter(pk="romantic").update(engine_prices={"local": 60, "gemini": 500})
    InsightType.objects.filter(pk="love_language").update(engine_prices={"local": 20})


@pytest.mark.usefixtures("cheaper")
def test_the_catalogue_shows_the_price_of_this_servers_engine(api: Api, settings: LazySettings) -> None:
    def prices() -> dict[str, int]:
        category = next(entry for entry in api.get("/api/categories")["results"] if entry["id"] == "romantic")
        types = {entry["id"]: entry["price"] for entry in category["insight_types"]}
        alone = {entry["id"]: entry["price"] for entry in api.get("/api/categories/romantic/insights")["results"]}
        assert alone == types
        return {"romantic": category["price"], **types}

    assert (prices()["romantic"], prices()["love_language"], prices()["conflict_resolution"]) == (60, 20, 100)
    settings.INSIGHT_ENGINE = "gemini"
    assert (prices()["romantic"], prices()["love_language"]) == (500, 100)


@pytest.mark.usefixtures("cheaper")
def test_a_quote_an_unlock_and_a_retry_cost_the_price_of_the_engine(make_person: MakePerson) -> None:
    person = make_person(coins=100)
    api, chat = Api(person), import_chat(owner=person, upload=exports.text(300))
    whole = {"chat_id": str(chat.pk)}
    alone = {"chat_id": str(chat.pk), "insight_type_ids": ["love_language"]}
    assert api.post("/api/insights/quote", alone, status=200)["coins"] == 20
    assert api.post("/api/insights/quote", {**whole, "category_id": "romantic"}, status=200)["coins"] == 60
    insight = api.post("/api/insights/unlock", alone, status=202)["insights"][0]
    assert CoinReservation.objects.get().coins == 20
    settlement.fail_open_insights(GenerationJob.objects.open().get().pk, error_code="test", error_message="")
    InsightType.objects.filter(pk="love_language").update(engine_prices={"local": 10})
    assert api.post(f"/api/insights/{insight['id']}/retry", status=202)["coins_reserved"] == 10


@pytest.mark.parametrize(
    "prices", [{"unknown": 60}, {"local": 0}, {"local": "60"}, {"local": True}, {"local": 49}, [60]]
)
def test_staff_cannot_enter_a_wrong_price(prices: object) -> None:
    category = Category.objects.get(pk="romantic")
    category.engine_prices = prices
    with pytest.raises(ValidationError, match="engine_prices"):
        category.full_clean()


def test_staff_can_enter_a_price_per_engine_in_the_admin() -> None:
    from insights.admin.definitions import InsightTypeForm

    love = InsightType.objects.get(pk="love_language")
    values = {
        name: getattr(love, name)
        for name in ("title", "icon", "purpose", "price", "min_messages", "display_order", "groups")
    }
    values |= {"id": love.pk, "category": "romantic", "definition": json.dumps(love.definition)}
    form = InsightTypeForm({**values, "engine_prices": '{"local": 20}'}, instance=love)
    assert form.is_valid(), form.errors
    assert form.save(commit=False).current_price == 20
    assert "engine_prices" in InsightTypeForm({**values, "engine_prices": '{"local": 0}'}, instance=love).errors


def test_a_file_of_the_catalogue_can_have_prices_per_engine(tmp_path: Path) -> None:
    text = (catalogue.DIRECTORY / "romantic.toml").read_text(encoding="utf-8")
    path = tmp_path / "romantic.toml"
    path.write_text(text.replace("price = 400", "price = 400\nengine_prices = { local = 80 }", 1), encoding="utf-8")
    assert catalogue.load(tmp_path).updated == ["romantic"]
    assert Category.objects.get(pk="romantic").current_price == 80
    for wrong in ("{ local = 49 }", "{ other = 80 }"):
        path.write_text(text.replace("price = 400", f"price = 400\nengine_prices = {wrong}", 1), encoding="utf-8")
        with pytest.raises(ValueError, match="engine_prices"):
            catalogue.load(tmp_path)


def test_an_empty_price_per_engine_leaves_the_digest_of_earlier_versions_valid() -> None:
    category = Category(id="old", title="Old", price=400)
    fields, earlier = catalogue._CATEGORY_FIELDS, ("title", "description", "icon", "price", "display_order")
    assert catalogue._compute_digest(category, fields) == catalogue._compute_digest(category, earlier)
    category.engine_prices = {"local": 80}
    assert catalogue._compute_digest(category, fields) != catalogue._compute_digest(category, earlier)
