"""The language of a response: documents keep that of their unlock, titles and the timeline follow the request."""

from __future__ import annotations

import pytest

from chats import indexing
from chats.importing import import_chat
from relivchats.accounts.models import User
from tests import exports
from tests.api.conftest import Api, generate_insights

pytestmark = pytest.mark.django_db

TITLES = {
    "en": "Communication Basics",
    "de": "Grundlagen der Kommunikation",
}


def title_of(response: object) -> str:
    romantic = next(each for each in response.json()["results"] if each["id"] == "romantic")  # type: ignore[attr-defined]
    return str(romantic["insight_types"][0]["title"])


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("", "", "en"),
        ("?language=de", "", "de"),
        ("?language=de", "en", "de"),
        ("?language=DE", "", "de"),
        ("?language=de-DE", "", "de"),
        ("", "fr, de-AT;q=0.8, en;q=0.5", "de"),
        ("", "fr, xx, *", "en"),
    ],
)
def test_the_catalogue_is_in_the_language_that_is_asked_for(
    nobody: Api, query: str, accepted: str, language: str
) -> None:
    response = nobody.send("GET", f"/api/categories{query}", headers={"Accept-Language": accepted})

    assert title_of(response) == TITLES[language]
    assert "Accept-Language" in response.headers["Vary"]


def test_a_language_that_does_not_exist_is_refused(nobody: Api, api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload="".join(exports.lines(400)).encode())

    problem = nobody.get("/api/categories?language=fr", status=422)
    assert "The languages are en, hi, es, pt, de." in str(problem)
    api.get(f"/api/chats/{chat.pk}/timeline?language=fr", status=422)
    refused = api.post(
        "/api/insights/unlock", {"chat_id": str(chat.pk), "category_id": "romantic", "language": "fr"}, status=422
    )
    assert "en, hi, es, pt, de" in refused["detail"]
    assert [error["pointer"] for error in refused["errors"]] == ["#/language"]


@pytest.mark.parametrize("address", ["insights/unlock", "insights/quote", "chats/{chat}/ask", "rag/query"])
@pytest.mark.parametrize("language", [5, ["de"], True, "", "xx", "fr-FR"])
def test_a_language_that_is_no_language_is_refused_with_the_list(
    api: Api, owner: User, address: str, language: object
) -> None:
    chat = import_chat(owner=owner, upload="".join(exports.lines(60)).encode())
    body = {"question": "Where?"} if "insights" not in address else {"category_id": "romantic"}
    if "ask" not in address:
        body["chat_id"] = str(chat.pk)
    path = f"/api/{address.format(chat=chat.pk)}"
    refused = api.post(path, {**body, "language": language}, status=422)
    (error,) = refused["errors"]
    assert error["pointer"] == "#/language"
    assert "en, hi, es, pt, de" in error["message"]


@pytest.mark.parametrize(("tag", "code"), [("pt-BR", "pt"), ("DE", "de"), ("de-DE", "de")])
def test_a_tag_of_a_country_asks_for_its_language(api: Api, owner: User, tag: str, code: str) -> None:
    chat = import_chat(owner=owner, upload="".join(exports.lines(400)).encode())
    body = {"chat_id": str(chat.pk), "insight_type_ids": ["communication_basics"], "language": tag}
    assert api.post("/api/insights/unlock", body, status=202)["insights"][0]["language"] == code
    again = api.post("/api/insights/unlock", body, status=200)
    assert "stays" not in again["message"]


def test_a_document_keeps_the_language_of_its_unlock(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload="".join(exports.lines(400)).encode())
    body = {"chat_id": str(chat.pk), "insight_type_ids": ["communication_basics"], "language": "de"}
    job = api.post("/api/insights/unlock", body, status=202)
    indexing.index_chat(chat.pk)
    generate_insights(job["job_id"])

    response = api.send("GET", f"/api/insights/chats/{chat.pk}", headers={"Accept-Language": "es"})
    (insight,) = response.json()["insights"]

    assert (insight["title"], insight["language"]) == (TITLES["de"], "de")
    assert insight["document"]["language"] == "de"
    assert "Nachrichten wurden gezählt, nicht gelesen." in insight["document"]["overall"]["summary"]
    again = api.post("/api/insights/unlock", {**body, "language": "es"}, status=200)
    assert (again["coins_reserved"], again["insights"][0]["title"]) == (0, TITLES["de"])
    assert "It is in German (de)" in again["message"]
    quoted = api.post("/api/insights/quote", {**body, "language": "es"}, status=200)["insights"][0]
    assert (quoted["state"], quoted["language"]) == ("owned", "de")


def test_the_timeline_is_in_the_language_that_is_asked_for(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload="".join(exports.lines(400)).encode())
    address = f"/api/chats/{chat.pk}/timeline"

    english = api.send("GET", address)
    german = api.send("GET", address, headers={"Accept-Language": "de", "If-None-Match": english.headers["ETag"]})

    assert german.status_code == 200
    assert "Accept-Language" in german.headers["Vary"]
    assert german.json()["results"][0]["entries"][0]["title"] == "Die erste Nachricht"
    assert api.get(f"{address}?language=es")["results"][0]["entries"][0]["title"] == "El primer mensaje"
