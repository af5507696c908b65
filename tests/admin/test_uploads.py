"""The admin shows which files cannot be read, and how often, but no word of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from chats.exports.errors import ExportRefused
from chats.importing import import_chat
from chats.models import ChatUpload
from tests.chats import samples

pytestmark = pytest.mark.django_db

LIST = reverse("admin:chats_chatupload_changelist")


def refused(content: bytes) -> None:
    with pytest.raises(ExportRefused):
        import_chat(owner=samples.person(), upload=content)


def test_failures_are_counted_by_reason_and_by_the_shape_of_their_first_line(desk: Client) -> None:
    import_chat(owner=samples.person(), upload=samples.export(samples.TALK))
    for _ in range(3):
        refused(b"2024/03/14 at nine Ferdinand wrote: swordfish\n" * 3)
    refused(b"")
    shape = ChatUpload.objects.filter(reason="NotAChatExport").values_list("header_shape", flat=True)[0]
    page = desk.get(LIST).content.decode()
    assert f'This is not a chat export · {shape}</span><span class="rc-count">3</span>' in page
    assert 'The file is empty</span><span class="rc-count">1</span>' in page
    assert "EmptyExport</" not in page
    assert "Ferdinand" not in page
    assert "swordfish" not in page
    chosen: Any = desk.get(LIST, {"failure": f"NotAChatExport|{shape}"})
    assert chosen.context_data["cl"].result_count == 3


def test_an_upload_shows_how_long_each_stage_took(desk: Client) -> None:
    import_chat(owner=samples.person(), upload=samples.export(samples.TALK))
    row = ChatUpload.objects.get()
    assert row.stages.keys() == {"read", "parse", "count", "seal", "compare", "store"}
    assert sum(row.stages.values()) <= row.milliseconds + len(row.stages)
    page = desk.get(reverse("admin:chats_chatupload_change", args=[row.pk])).content.decode()
    assert f"parse {row.stages['parse']} ms" in page
