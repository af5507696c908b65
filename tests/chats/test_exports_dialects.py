"""Formats of message headers: each dialect is read, and a line that only looks like a header stays text."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from chats import exports
from chats.exports import dialect as dialects
from chats.exports import whatsapp
from chats.exports.errors import NotAChatExport
from chats.exports.parsed import Message, MessageKind, ParsedExport


def read(text: str, *, date_order: str | None = None) -> tuple[ParsedExport, list[Message]]:
    export = whatsapp.parse(text.encode(), date_order=date_order)
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


AT = datetime.fromisoformat("2024-02-13T21:05")
WITH_SECONDS = datetime.fromisoformat("2024-02-13T21:05:09")


@pytest.mark.parametrize(
    ("header", "dialect", "order", "at"),
    [
        ("13/02/2024, 21:05 - ", "android-24h", "dmy", AT),
        ("13/02/24, 21:05 - ", "android-24h", "dmy", AT),
        ("13/2/24 21:05 - ", "android-24h", "dmy", AT),
        ("2/13/24, 9:05 PM - ", "android-12h", "mdy", AT),
        ("2/13/24, 9:05\u202fPM - ", "android-12h", "mdy", AT),
        ("2/13/24, 9:05\u00a0PM - ", "android-12h", "mdy", AT),
        ("13/02/2024, 9:05 pm - ", "android-12h", "dmy", AT),
        ("13/02/2024, 9:05 p.m. - ", "android-12h", "dmy", AT),
        ("13/2/2024, 9:05 p. m. - ", "android-12h", "dmy", AT),
        ("13/2/2024, 9:05\u202fp.\u00a0m. - ", "android-12h", "dmy", AT),
        ("13/2/2024, 9:05P.M. - ", "android-12h", "dmy", AT),
        ("13.02.24, 21:05 - ", "android-24h", "dmy", AT),
        ("13.02.2024, 21.05 - ", "android-24h", "dmy", AT),
        ("13-02-2024 21:05 - ", "android-24h", "dmy", AT),
        ("2024-02-13, 21:05 - ", "android-24h", "ymd", AT),
        ("2024/02/13, 21:05 - ", "android-24h", "ymd", AT),
        ("2024. 02. 13. 21:05 - ", "android-24h", "ymd", AT),
        ("13.02.24 um 21:05 - ", "android-24h", "dmy", AT),
        ("13.2.2024 klo 21.05 - ", "android-24h", "dmy", AT),
        ("13.02.2024 г., 21:05 - ", "android-24h", "dmy", AT),
        ("١٣/٠٢/٢٠٢٤, ٢١:٠٥ - ", "android-24h", "dmy", AT),
        ("१३/०२/२०२४, २१:०५ - ", "android-24h", "dmy", AT),
        ("13/02/2567, 21:05 - ", "android-24h", "dmy", AT),
        # Digits and marks of right-to-left scripts.
        ("\u200f١٣\u200f/٢\u200f/٢٠٢٤، ٩:٠٥ م - ", "android-12h", "dmy", AT),
        ("13\u200f/2\u200f/2024، 9:05 م - ", "android-12h", "dmy", AT),
        ("۲۰۲۴/۲/۱۳،\u200f ۲۱:۰۵ - ", "android-24h", "ymd", AT),
        ("۱۴۰۲/۱۱/۲۴،\u200f ۹:۰۵ ب.ظ. - ", "android-12h", "ymd", AT),
        ("13/2/2024, 9:05\u00a0ب\u200cظ - ", "android-12h", "dmy", AT),
        ("13.2.2024, 9:05 PM - ", "android-12h", "dmy", AT),
        ("१३/२/२४, ९:०५ अपराह्न - ", "android-12h", "dmy", AT),
        ("১৩/২/২৪, ৯:০৫ PM - ", "android-12h", "dmy", AT),
        ("၁၃/၂/၂၄, ၂၁:၀၅ - ", "android-24h", "dmy", AT),
        # Markers after the time.
        ("13/2/24, 9:05 μ.μ. - ", "android-12h", "dmy", AT),
        ("13/2/24, 9:05 CH - ", "android-12h", "dmy", AT),
        ("13/02/2024, 9:05 PTG - ", "android-12h", "dmy", AT),
        ("13/2/2024, 9:05 பிற்பகல் - ", "android-12h", "dmy", AT),
        ("13.02.2024, 9:05 ÖS - ", "android-12h", "dmy", AT),
        ("13.2.2024, 9:05 e pasdites - ", "android-12h", "dmy", AT),
        ("13.2.2024 klo 9.05 ip. - ", "android-12h", "dmy", AT),
        ("2024-02-13, 9:05 em - ", "android-12h", "ymd", AT),
        ("13.02.24, 9:05 odp. - ", "android-12h", "dmy", AT),
        ("2024. 02. 13. 9:05 du. - ", "android-12h", "ymd", AT),
        ("13.02.24, 9:05 пп - ", "android-12h", "dmy", AT),
        ("13.02.24 г., 9:05 ч. pm - ", "android-12h", "dmy", AT),
        ("13/2/2024, 9:05 da tarde - ", "android-12h", "dmy", AT),
        # Markers before the time, years first.
        ("2024. 2. 13. 오후 9:05 - ", "android-12h", "ymd", AT),
        ("24. 2. 13. 오후 9:05 - ", "android-12h", "ymd", AT),
        ("2024년 2월 13일 오후 9:05 - ", "android-12h", "ymd", AT),
        ("2024/2/13 下午9:05 - ", "android-12h", "ymd", AT),
        ("2024/2/13, 晚上9:05 - ", "android-12h", "ymd", AT),
        ("2024年2月13日 21:05 - ", "android-24h", "ymd", AT),
        ("2024/02/13, 午後9:05 - ", "android-12h", "ymd", AT),
        ("13/02/2024, ÖS 9:05 - ", "android-12h", "dmy", AT),
        # Words between or after date and time, and parentheses around the time.
        ("13/02/2024 à 21:05 - ", "android-24h", "dmy", AT),
        ("13.02.2024 kl. 21.05 - ", "android-24h", "dmy", AT),
        ("13.02.2024 в 21:05 - ", "android-24h", "dmy", AT),
        ("13.02.24\u202fг., 21:05 ч. - ", "android-24h", "dmy", AT),
        ("13/02/2024 alle ore 21:05 - ", "android-24h", "dmy", AT),
        ("2/13/24 at 9:05 PM - ", "android-12h", "mdy", AT),
        ("13/2/2567 21:05 น. - ", "android-24h", "dmy", AT),
        ("2024-02-13, 21 h 05 - ", "android-24h", "ymd", AT),
        ("2024/2/13 (21:05) - ", "android-24h", "ymd", AT),
        ("13. 2. 2024 21:05 - ", "android-24h", "dmy", AT),
        ("13. 02. 2024. 21:05 - ", "android-24h", "dmy", AT),
        # Times first, eras, other calendars.
        ("21:05, 13/02/2024 - ", "android-24h", "dmy", AT),
        ("21:05 13/2/24 - ", "android-24h", "dmy", AT),
        ("[21:05:09 13/02/2024] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[21:05, 13/2/2024] ", "ios-24h", "dmy", AT),
        ("[9:05:09 CH, 13/2/24] ", "ios-12h", "dmy", WITH_SECONDS),
        ("[令和6年2月13日 21:05:09] ", "ios-24h", "ymd", WITH_SECONDS),
        ("[R6/02/13 21:05:09] ", "ios-24h", "ymd", WITH_SECONDS),
        ("[R6.2.13 21:05:09] ", "ios-24h", "ymd", WITH_SECONDS),
        ("[2/13/6 R, 9:05:09 PM] ", "ios-12h", "mdy", WITH_SECONDS),
        ("[民國113/2/13 下午9:05:09] ", "ios-12h", "ymd", WITH_SECONDS),
        ("[13/2/2567 BE, 21:05:09] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[13/2/2567, 21:05:09] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[2024/2/13 下午9:05:09] ", "ios-12h", "ymd", WITH_SECONDS),
        ("[2024. 2. 13. 오후 9:05:09] ", "ios-12h", "ymd", WITH_SECONDS),
        ("\u200f[13\u200f/2\u200f/2024, 9:05:09 م] ", "ios-12h", "dmy", WITH_SECONDS),
        ("[١٣\u200f/٢\u200f/٢٠٢٤، ٩:٠٥:٠٩ م] ", "ios-12h", "dmy", WITH_SECONDS),
        ("\u200f[\u200f13/2/2024\u200f, \u200f9:05:09 م\u200f] ", "ios-12h", "dmy", WITH_SECONDS),
        ("[13.2.2024, 21.05.09] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[2024-02-13 21 h 05 min 09 s] ", "ios-24h", "ymd", WITH_SECONDS),
        ("[13/02/2024, 21:05:09] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[13.02.24, 21:05:09] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[2024-02-13 21:05:09] ", "ios-24h", "ymd", WITH_SECONDS),
        ("[2/13/24, 9:05:09 PM] ", "ios-12h", "mdy", WITH_SECONDS),
        ("[2/13/24, 9:05:09\u202fPM] ", "ios-12h", "mdy", WITH_SECONDS),
        ("\u200e[13/02/24, 9:05:09 pm] ", "ios-12h", "dmy", WITH_SECONDS),
        ("[13-02-24 21.05.09] ", "ios-24h", "dmy", WITH_SECONDS),
        ("[13/02/2024 21:05] ", "ios-24h", "dmy", AT),
        ("13/02/2024 21:05:09: ", "legacy-24h", "dmy", WITH_SECONDS),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_dialect_is_detected_from_the_file(header: str, dialect: str, order: str, at: datetime, end: str) -> None:
    export, messages = read(f"\ufeff{header}Asha: hello{end}world: 10:30{end}{header}Ben: bye{end}")
    assert (export.platform, export.dialect, export.date_order) == ("whatsapp", dialect, order)
    assert not export.ambiguous_dates
    assert [(message.sent_at, message.sender, message.text) for message in messages] == [
        (at, "Asha", "hello\nworld: 10:30"),
        (at, "Ben", "bye"),
    ]


@pytest.mark.parametrize(
    ("printed", "hour"),
    [
        ("12:05 AM", 0),
        ("1:05 AM", 1),
        ("12:05 PM", 12),
        ("1:05 PM", 13),
        ("11:05 pm", 23),
        ("21:05 PM", 21),
        ("凌晨12:05", 0),
        ("早上8:05", 8),
        ("中午11:05", 11),
        ("中午12:05", 12),
        ("下午1:05", 13),
        ("晚上11:05", 23),
        ("半夜12:05", 0),
        ("半夜1:05", 1),
        ("রাত 10:05", 22),
        ("রাত 2:05", 2),
    ],
)
def test_twelve_hour_markers_give_the_right_hour(printed: str, hour: int) -> None:
    assert read(f"13/02/2024, {printed} - Asha: x")[1][0].sent_at.hour == hour


@pytest.mark.parametrize(
    ("morning", "afternoon"),
    [("AM", "PM"), ("午前", "午後"), ("ص", "م"), ("ق.ظ.", "ب.ظ."), ("π.μ.", "μ.μ."), ("SA", "CH"), ("de.", "du.")],
)
def test_a_marker_that_first_appears_late_in_the_file_is_recognised(morning: str, afternoon: str) -> None:
    lines = [f"13/02/2024, 9:05 {morning} - Asha: x"] * 3000 + [f"14/02/2024, 9:05 {afternoon} - Ben: y"]
    export, messages = read("\n".join(lines))
    assert (len(messages), messages[-1].sent_at.hour, export.participants) == (3001, 21, ["Asha", "Ben"])


@pytest.mark.parametrize(
    ("printed", "iso"),
    [
        ("平成31年4月30日", "2019-04-30"),
        ("令和元年5月1日", "2019-05-01"),
        ("H31/4/30", "2019-04-30"),
        ("1402/12/29", "2024-03-19"),
        ("1403/01/01", "2024-03-20"),
        ("1403/12/30", "2025-03-20"),
        ("1402/12/30", None),
        ("29/02/2567", "2024-02-29"),
        ("29/2/67", "2024-02-29"),
        ("13/2/52", "2009-02-13"),
        ("29/2/66", None),
        ("29/02/2566", None),
    ],
)
def test_years_of_other_calendars_are_converted(printed: str, iso: str | None) -> None:
    lines = f"[{printed}, 21:05:09] Asha: x\n"
    if iso is None:
        with pytest.raises(NotAChatExport):
            read(lines)
    else:
        assert read(lines)[1][0].sent_at.date().isoformat() == iso


def test_an_era_may_change_within_a_chat() -> None:
    messages = read("[平成31年4月30日 21:05:09] A: x\r\n[令和元年5月1日 9:05:09] A: y\r\n")[1]
    assert [message.sent_at.date().isoformat() for message in messages] == ["2019-04-30", "2019-05-01"]


def test_the_clock_may_change_within_a_chat() -> None:
    lines = [f"[13/02/2024, {hour}:05:0{second}] A: x" for hour in (9, 12, 21) for second in range(9)]
    lines += [
        f"[14/02/2024, {hour}:05:0{second} {half}] A: x"
        for hour in (9, 12)
        for half in ("AM", "PM")
        for second in range(9)
    ]
    hours = [message.sent_at.hour for message in read("\r\n".join(lines))[1]]
    assert hours == [9] * 9 + [12] * 9 + [21] * 9 + [9] * 9 + [21] * 9 + [0] * 9 + [12] * 9


def test_seconds_and_markers_are_right_for_every_time_of_a_day() -> None:
    times = [(hour, minute, second) for hour in range(24) for minute in (0, 9, 59) for second in (0, 7, 59)]
    lines = [
        f"[13/02/2024, {hour % 12 or 12}:{minute:02}:{second:02} {'PM' if hour > 11 else 'AM'}] A: x"
        for hour, minute, second in times
    ]
    messages = read("\r\n".join(lines))[1]
    assert [(m.sent_at.hour, m.sent_at.minute, m.sent_at.second) for m in messages] == times


def chat(*dates: str, time: str = "21:05") -> str:
    return "".join(f"{date}, {time} - Asha: x\n" for date in dates)


def test_a_part_above_twelve_anywhere_in_the_file_decides_day_or_month() -> None:
    filler = "01/02/2024, 21:05 - Asha: x\n" * 9_000
    assert read(filler + chat("01/13/2024"))[0].date_order == "mdy"
    assert read(filler + chat("13/01/2024"))[0].date_order == "dmy"


def test_a_pasted_date_does_not_outvote_the_chat() -> None:
    export, messages = read(chat("25/12/2023", *(f"01/{day}/2024" for day in range(13, 30))))
    assert (export.date_order, len(messages)) == ("mdy", 17)


def test_without_proof_the_order_with_the_fewest_backward_steps_is_taken() -> None:
    export, _ = read(chat("01/09/2024", "01/10/2024", "02/01/2024", "02/02/2024"))
    assert (export.date_order, export.ambiguous_dates) == ("mdy", False)
    export, _ = read(chat("09/01/2024", "10/01/2024", "01/02/2024", "02/02/2024"))
    assert (export.date_order, export.ambiguous_dates) == ("dmy", False)


def test_without_any_evidence_the_day_comes_first_and_the_dates_are_ambiguous() -> None:
    export, messages = read(chat("03/04/2024"))
    assert (export.date_order, export.ambiguous_dates) == ("dmy", True)
    assert messages[0].sent_at.isoformat() == "2024-04-03T21:05:00"


def test_the_american_format_puts_the_month_first_but_the_dates_stay_ambiguous() -> None:
    export, _ = read(chat("3/4/24", time="9:05 PM"))
    assert (export.date_order, export.ambiguous_dates) == ("mdy", True)
    assert read(chat("3/4/24", time="9:05 pm"))[0].date_order == "dmy"
    assert read(chat("03/04/24", time="9:05 PM"))[0].date_order == "dmy"


def test_the_caller_decides_the_order_of_ambiguous_dates() -> None:
    export, messages = read(chat("03/04/2024"), date_order="mdy")
    assert (export.date_order, export.ambiguous_dates) == ("mdy", False)
    assert messages[0].sent_at.isoformat() == "2024-03-04T21:05:00"
    messages = read(chat("23/03/15", "23/04/01"), date_order="ymd")[1]
    assert messages[0].sent_at.isoformat() == "2023-03-15T21:05:00"


def test_two_digit_years_can_come_first() -> None:
    def chats(first: str, months: int) -> list[str]:
        return [first.format(month, day) for month in range(1, months) for day in (3, 15, 27)]

    assert read(chat(*chats("24-{:02}-{:02}", 12)))[0].date_order == "ymd"
    assert read(chat("24/02/20", "24/02/21", "24/02/23"))[0].date_order == "ymd"
    assert read(chat(*chats("{1:02}/{0:02}/24", 12)))[0].date_order == "dmy"
    assert read(chat(*chats("{:02}/{:02}/24", 12)))[0].date_order == "mdy"
    assert read(chat("20/02/24", "21/02/24", "23/02/24"))[0].date_order == "dmy"
    assert read(chat("14/02/24", "14/02/25"))[0].date_order == "dmy"


def test_a_year_of_four_digits_in_front_proves_the_order() -> None:
    assert read(chat("2024-03-04"), date_order="dmy")[0].date_order == "ymd"
    assert not read(chat("2024-03-04"))[0].ambiguous_dates


def test_messages_out_of_order_keep_the_order_of_the_file() -> None:
    days = [message.sent_at.day for message in read(chat("14/02/2024", "13/02/2024", "15/02/2024"))[1]]
    assert days == [14, 13, 15]


def test_the_caller_decides_if_the_dates_prove_both_orders() -> None:
    both = chat("25/12/2023", "12/25/2023")
    assert read(both)[0].ambiguous_dates
    for order in ("dmy", "mdy"):
        export, messages = read(both, date_order=order)
        assert (export.date_order, export.ambiguous_dates, len(messages)) == (order, False, 1)


@pytest.mark.parametrize("wanted", ["mdy", "ymd"])
def test_a_caller_cannot_make_a_chat_unreadable(wanted: str) -> None:
    export, messages = read(chat("03/04/2024", "13/04/2024"), date_order=wanted)
    assert (export.date_order, len(messages)) == ("dmy", 2)


ANDROID = "".join(f"{day:02}/02/2024, 10:00 - Asha: message {day}\n" for day in range(10, 20))


@pytest.mark.parametrize(
    "line",
    [
        "[13/02/2024, 10:00:00] Ben: pasted from another phone",
        "13/02/2024, 9:05 PM - Ben: twelve hours",
        "13.02.2024, 10:00 - Ben: dots",
        "13/02/24, 10:00 - Ben: short year",
        "31/02/2024, 10:00 - Ben: no such day",
        "13/13/2024, 10:00 - Ben: no such month",
        "13/02/2024, 25:00 - Ben: no such hour",
        "13/02/2024, 10:61 - Ben: no such minute",
        " 13/02/2024, 10:00 - Ben: indented",
        "13/02/2024, 10:00 Ben: no dash",
        "0/0/0000, 10:00 - Ben: no year",
        "45/01/2024, 10:00 - Ben: no such day",
    ],
)
def test_a_line_that_only_looks_like_a_header_is_text_of_the_message_before_it(line: str) -> None:
    export, messages = read(f"{ANDROID}{line}\nand more\n20/02/2024, 10:00 - Asha: end")
    assert export.participants == ["Asha"]
    assert [message.text for message in messages[-2:]] == [f"message 19\n{line}\nand more", "end"]


def test_a_first_part_above_31_is_not_a_year_if_the_year_comes_last() -> None:
    line = "45/01/24, 10:00 - Ghost: y"
    export, messages = read(chat("13/02/24", "14/02/24") + line)
    assert export.participants == ["Asha"]
    assert messages[-1].text == f"x\n{line}"


def test_a_second_dialect_with_more_than_a_fifth_of_the_headers_is_read() -> None:
    export, messages = read(ANDROID + "".join(f"{day}/03/2024, 9:00 PM - Ben: x\n" for day in range(10, 20)))
    assert export.participants == ["Asha", "Ben"]
    assert len(messages) == 20


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(("first", "second"), [(3_000, 5_600), (5_600, 3_000), (9_000, 3_000)])
def test_a_chat_that_continues_in_another_dialect_is_read_to_its_end(first: int, second: int, end: str) -> None:
    lines = ["13/02/2024, 21:05 - Asha: from one phone\n"] * first
    lines += [f"[14/02/2024, 21:05:09] Ben: from the other{end}"] * second
    for text in ("".join(lines), "".join(reversed(lines))):
        export, messages = read(text)
        assert sorted(export.participants) == ["Asha", "Ben"]
        assert len(messages) == first + second
        assert {message.text for message in messages} == {"from one phone", "from the other"}


BOTH_PHONES = [
    *(f"{day:02}/01/2024, 21:05 - Asha: from the first phone" for day in range(10, 25)),
    *(f"[02/{day:02}/2024, 21:05:09] Asha: from the second" for day in range(10, 20)),
    "[02/20/2024, 21:05:09] Family: \u200eዓሻ ቡድኑን ፈጠረች",
    "[02/20/2024, 21:05:10] Asha: see you \u200e<ተስተካክሏል>",
    "\u200e[02/20/2024, 21:05:11] Asha: \u200eምስል ቀርቷል",
    "25/01/2024, 21:05 - Ben: \u200e\u202a+91 98765\u202c",
]


@pytest.mark.parametrize("reverse", [False, True])
def test_each_line_of_two_phones_follows_the_rules_of_its_phone(reverse: bool) -> None:
    export, messages = read("\n".join(reversed(BOTH_PHONES) if reverse else BOTH_PHONES))
    assert (sorted(export.participants), export.ambiguous_dates) == (["Asha", "Ben"], False)
    assert {(message.sent_at.month, message.sent_at.day) for message in messages} == {
        *((1, day) for day in range(10, 26)),
        *((2, day) for day in range(10, 21)),
    }
    by_text = {message.text: (message.kind, message.edited) for message in messages}
    assert by_text["ዓሻ ቡድኑን ፈጠረች"] == (MessageKind.SYSTEM, False)
    assert by_text["see you"] == (MessageKind.TEXT, True)
    assert by_text["ምስል ቀርቷል"] == (MessageKind.MEDIA, False)
    assert by_text["+91 98765"] == (MessageKind.TEXT, False)


@pytest.mark.parametrize("ambiguous", [5, 9])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_ambiguous_dates_of_one_phone_are_read_in_the_order_of_the_other_and_reported(
    reverse: bool, ambiguous: int
) -> None:
    lines = [f"01/{day}/2024, 21:05 - Asha: x" for day in range(13, 20)]
    lines += ["[03/04/2024, 21:05:09] Asha: y"] * ambiguous
    export, messages = read("\n".join(reversed(lines) if reverse else lines))
    assert (export.date_order, export.ambiguous_dates) == ("mdy", True)
    assert {message.sent_at.month for message in messages} == {1, 3}


def test_a_file_of_two_phones_with_ambiguous_dates_is_read_in_one_order() -> None:
    american, other = ["3/4/24, 9:05 PM - Asha: x"] * 5, ["[03/04/2024, 21:05:09] Asha: y"] * 4
    for lines, order, month in ((american + other, "mdy", 3), (american[:3] + other, "dmy", 4)):
        export, messages = read("\n".join(lines))
        assert (export.date_order, export.ambiguous_dates) == (order, True)
        assert {message.sent_at.month for message in messages} == {month}


def test_a_header_after_a_bare_line_feed_belongs_to_the_iphone_message() -> None:
    text = "[13/02/2024, 21:05:09] Asha: look:\n[13/02/2024, 21:00:00] Ben: pasted\nend\r\n"
    text += "[13/02/2024, 21:06:00] Cy: x\r\n"
    export, messages = read(text)
    assert export.participants == ["Asha", "Cy"]
    assert messages[0].text == "look:\n[13/02/2024, 21:00:00] Ben: pasted\nend"


def test_old_macintosh_line_ends_are_read() -> None:
    assert [message.text for message in read(ANDROID.replace("\n", "\r"))[1]][:2] == ["message 10", "message 11"]


def test_lines_before_the_first_header_are_skipped() -> None:
    assert len(read(f"Some title\n\n{ANDROID}")[1]) == 10


@pytest.mark.parametrize(
    "text", ["hello\nworld", "12:30 lunch", "%PDF-1.7\n1 0 obj", "2024-02-13 INFO started", "a,b\n1,2"]
)
def test_a_text_without_headers_is_refused_before_it_is_read(text: str) -> None:
    with pytest.raises(NotAChatExport):
        whatsapp.parse(text.encode())


@pytest.mark.parametrize(
    ("printed", "hour", "minute"),
    [
        ("7:40 in the morning", 7, 40),
        ("12:05 in the afternoon", 12, 5),
        ("3:30 in the afternoon", 15, 30),
        ("6:15 in the evening", 18, 15),
        ("9:05 at night", 21, 5),
        ("2:05 at night", 2, 5),
        ("12:20 at night", 0, 20),
        ("12:00 noon", 12, 0),
        ("12:00 midnight", 0, 0),
        ("9:05 de la noche", 21, 5),
        ("9:05 de la mañana", 9, 5),
        ("3:05 de l’après-midi", 15, 5),
        ("9:05 du soir", 21, 5),
        ("9:05 abends", 21, 5),
        ("12:05 mittags", 12, 5),
        ("9:05 вечера", 21, 5),
        ("3:05 дня", 15, 5),
        ("2:05 ночи", 2, 5),
        ("9:05 בערב", 21, 5),
        ("9:05 בבוקר", 9, 5),
        ("9:05 شب", 21, 5),
        ("4:05 عصر", 16, 5),
        ("9:05 رات", 21, 5),
        ("रात 9:05", 21, 5),
        ("दोपहर 12:05", 12, 5),
        ("দুপুর 2:05", 14, 5),
        ("இரவு 9:05", 21, 5),
        ("akşam 8:05", 20, 5),
        ("밤 9:05", 21, 5),
        ("夜9:05", 21, 5),
        ("9:05 malam", 21, 5),
        ("9:05 wieczorem", 21, 5),
    ],
)
@pytest.mark.parametrize(("before", "after"), [("", " - "), ("[", "] ")])
def test_the_periods_of_a_day_are_read_in_any_language(
    printed: str, hour: int, minute: int, before: str, after: str
) -> None:
    export, messages = read(f"{before}13/02/2024, {printed}{after}Asha: x\nin the morning\n")
    assert export.dialect.endswith("-12h")
    assert [(m.sent_at, m.sender, m.text) for m in messages] == [
        (AT.replace(hour=hour, minute=minute), "Asha", "x\nin the morning")
    ]


def test_every_period_of_a_language_is_read_if_only_some_are_in_the_sample() -> None:
    lines = ["13/02/2024, 9:05 in the morning - Asha: x"] * 3000 + ["14/02/2024, 11:05 at night - Ben: y"]
    export, messages = read("\n".join(lines))
    assert (len(messages), messages[-1].sent_at.hour, export.participants) == (3001, 23, ["Asha", "Ben"])


@pytest.mark.parametrize(
    ("header", "order"),
    [
        ("21:05, 13 Feb 2024 - ", "dmy"),
        ("21:05, 13 febrero 2024 - ", "dmy"),
        ("21:05, 13 de feb. de 2024 - ", "dmy"),
        ("21:05, 13 févr. 2024 - ", "dmy"),
        ("21:05, 13. Feb. 2024 - ", "dmy"),
        ("21:05, 13 фев. 2024 - ", "dmy"),
        ("21:05, 13 лютого 2024 - ", "dmy"),
        ("21:05, 13 lut 2024 - ", "dmy"),
        ("21:05, 13 Şub 2024 - ", "dmy"),
        ("21:05, 13 फ़र॰ 2024 - ", "dmy"),
        ("21:05, 13 فبراير 2024 - ", "dmy"),
        ("21:05, 13 בפבר׳ 2024 - ", "dmy"),
        ("21:05, 13 ก.พ. 2024 - ", "dmy"),
        ("21:05, 13 thg 2, 2024 - ", "dmy"),
        ("13 Feb 2024, 21:05 - ", "dmy"),
        ("13 Feb 2024 21:05 - ", "dmy"),
        ("Feb 13, 2024, 9:05 PM - ", "mdy"),
        ("2024 Feb 13, 21:05 - ", "ymd"),
    ],
)
def test_a_month_can_be_a_name(header: str, order: str) -> None:
    export, messages = read(f"{header}Asha: hello\n{header.replace('13', '3')}Ben: bye\n")
    assert (export.date_order, export.ambiguous_dates) == (order, False)
    assert [(m.sent_at, m.sender) for m in messages] == [(AT, "Asha"), (AT.replace(day=3), "Ben")]


def test_a_date_with_another_word_than_a_month_is_text() -> None:
    lines = ["21:05, 13 Feb 2024 - Asha: x", "21:05, 13 mice 2024 - Ben: no", "21:05, 30 Feb 2024 - Ben: no"]
    export, messages = read("\n".join(lines))
    assert (export.participants, messages[0].text) == (["Asha"], "x\n" + "\n".join(lines[1:]))


@pytest.mark.parametrize(
    ("header", "at"),
    [
        ("13-02-24 21:05:09 ", WITH_SECONDS),
        ("13.02.2024 21:05:09 ", WITH_SECONDS),
        ("13/2/2024, 21:05:09 ", WITH_SECONDS),
        ("13/02/24 9:05:09 PM ", WITH_SECONDS),
    ],
)
@pytest.mark.parametrize("name", ["Wietse", "+31 6 1234", "~ Lotte", "Жанна", "Team: A"])
def test_a_header_needs_no_sign_before_the_name(header: str, at: datetime, name: str) -> None:
    text = (
        f"{header}{name}: hoi\nlijst: melk\n{header}ging naar huis\n{header}Lotte: \u200eLotte heeft de groep gemaakt"
    )
    export, messages = read(text)
    # A name with a space after a colon ends at the colon, as in every dialect.
    expected = name.partition(": ")[0].removeprefix("~ ")
    assert [(m.sent_at, m.sender) for m in messages] == [(at, expected), (at, None)]
    assert messages[0].text.endswith(f"hoi\nlijst: melk\n{header}ging naar huis")
    assert export.dialect.startswith("legacy")


@pytest.mark.parametrize(
    "line",
    [
        "13/02/2024 10:00:00 Dentist: bring the card",
        "13/02/2024 10:00:00 ERROR: disk is full",
        "13/02/2024 10:00 Dentist: bring the card",
    ],
)
def test_dates_in_a_text_are_no_headers_however_many_there_are(line: str) -> None:
    for header in ("13/02/2024, 10:00 - ", "[13/02/2024, 10:00:00] ", "13/02/2024 10:00:00: "):
        export, messages = read(f"{header}Asha: my list\n" + f"{line}\n" * 20 + f"{header}Asha: end\n")
        assert (export.participants, len(messages)) == (["Asha"], 2)


@pytest.mark.parametrize("line", ["2024-02-13 10:00:00 ERROR: disk", "13/02/2024 10:00 Dentist: card", "7:40 noon: x"])
def test_a_log_or_a_list_of_dates_is_no_chat(line: str) -> None:
    with pytest.raises(NotAChatExport):
        read(f"{line}\n" * 5)


@pytest.mark.parametrize(
    ("printed", "iso"),
    [
        ("3/18/R4", "2022-03-18"),
        ("18/3/R4", "2022-03-18"),
        ("R4/3/18", "2022-03-18"),
        ("3/18/H31", "2019-03-18"),
        ("18.3.R4", "2022-03-18"),
        ("3/18/令和4", "2022-03-18"),
        ("3/18/Reiwa 4", "2022-03-18"),
        ("3/18/民國113", "2024-03-18"),
        ("18/3/Minguo 113", "2024-03-18"),
        ("18/3/BE 2567", "2024-03-18"),
        ("18/3/พ.ศ. 2567", "2024-03-18"),
        ("18/3/2567 BE", "2024-03-18"),
        ("2567/3/18 BE", "2024-03-18"),
    ],
)
def test_an_era_can_be_anywhere_in_a_date(printed: str, iso: str) -> None:
    messages = read(f"[{printed}, 21:05:09] Asha: x\n")[1]
    assert [message.sent_at.date().isoformat() for message in messages] == [iso]


@pytest.mark.parametrize(
    ("printed", "iso"),
    [
        ("13\u200f/8\u200f/1445 هـ", "2024-02-23"),
        ("١٣\u200f/٨\u200f/١٤٤٥ هـ", "2024-02-23"),
        ("8/13/1445 AH", "2024-02-23"),
        ("۱۴۴۵/۸/۱۳ ه\u200d.ق.", "2024-02-23"),
        ("13/8/1445 H", "2024-02-23"),
        ("13/8/45 هـ", "2024-02-23"),
        ("١٣/٨/١٤٤٥", "2024-02-23"),
        ("1445/8/13", "2024-02-23"),
        ("30/9/1444 هـ", None),
        ("29/9/1444 هـ", "2023-04-20"),
        ("30/7/1447 هـ", "2026-01-19"),
        ("29/1/1431 هـ", "2010-01-15"),
        ("1/10/1445 هـ", "2024-04-10"),
        ("1/1/1446 هـ", "2024-07-07"),
        ("1402/11/24", "2024-02-13"),
        ("۱۴۰۲/۱۱/۲۴ ه\u200d.ش.", "2024-02-13"),
        ("11/24/1402 AP", "2024-02-13"),
    ],
)
def test_hijri_and_persian_years_are_distinguished_and_converted(printed: str, iso: str | None) -> None:
    zero = next(
        (zero for zero in "٠۰" if any(digit in printed for digit in (chr(ord(zero) + 1), chr(ord(zero) + 8)))), "0"
    )
    time = "21:05:09".translate({ord("0") + digit: chr(ord(zero) + digit) for digit in range(10)})
    for lines in (f"[{printed}، {time}] Huda: x\n", f"{printed}, {time[:5]} - Huda: x\n"):
        if iso is None:
            with pytest.raises(NotAChatExport):
                read(lines)
        else:
            assert [message.sent_at.date().isoformat() for message in read(lines)[1]] == [iso]


@pytest.mark.parametrize("name", [":salma", ":)", ":D Ben", ":Team:A"])
@pytest.mark.parametrize("header", ["13/02/2024, 21:05 - ", "[13/02/2024, 21:05:09] ", "13/02/2024 21:05:09: "])
def test_a_name_can_begin_with_a_colon(header: str, name: str) -> None:
    export, messages = read(f"{header}{name}: hi: there\n{header}Rafiq: https://example.org\n")
    assert (export.participants, export.n_system) == ([name, "Rafiq"], 0)
    assert [message.text for message in messages] == ["hi: there", "https://example.org"]


NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)


def read_at_now(text: str, *, date_order: str | None = None) -> tuple[ParsedExport, list[Message]]:
    export = exports.read(text.encode(), now=NOW, date_order=date_order)
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


def test_messages_that_are_later_than_the_upload_are_counted_and_kept() -> None:
    dates = ["30/05/2024", "01/06/2024", "02/06/2024", "04/06/2024", "13/02/2066"]
    system = "13/02/2066, 21:05 - Messages and calls are end-to-end encrypted.\n"
    export, messages = read_at_now(chat(*dates) + system)
    assert (len(messages), export.n_messages, export.n_future) == (6, 5, 2)
    assert [message.sent_at.year for message in messages[-2:]] == [2066, 2066]
    assert exports.read((chat(*dates) + system).encode()).n_future == 0


def test_without_the_time_of_the_upload_no_date_is_in_the_future() -> None:
    export = exports.read(chat("13/02/2066").encode())
    assert [len(batch) for batch in export.batches] == [1]
    assert export.n_future == 0


@pytest.mark.parametrize("wanted", [{}, {"date_order": "dmy"}])
def test_an_order_of_the_dates_that_is_in_the_future_is_not_taken(wanted: dict[str, str]) -> None:
    text = chat("05/07/2024", "05/08/2024", "05/09/2024")
    export, messages = read_at_now(text, **wanted)
    assert (export.date_order, export.ambiguous_dates, export.n_future) == ("mdy", False, 0)
    assert {message.sent_at.month for message in messages} == {5}
    assert read(text)[1][0].sent_at.month == 7


@pytest.mark.parametrize(
    ("dates", "first"),
    [
        (("13/8/45", "14/8/45", "1/9/45"), "2024-02-23"),
        (("45/8/13", "45/8/14", "45/9/1"), "2024-02-23"),
        (("24/11/98", "25/11/98", "26/11/98"), "2020-02-13"),
    ],
)
def test_short_years_in_the_future_are_those_of_another_calendar(dates: tuple[str, ...], first: str) -> None:
    export, messages = read_at_now(chat(*dates))
    assert (messages[0].sent_at.date().isoformat(), export.n_future) == (first, 0)


def test_one_short_year_in_the_future_stays_there_and_is_reported() -> None:
    export, messages = read_at_now(chat("13/2/24", "14/2/24", "15/2/24", "13/8/45"))
    assert (messages[-1].sent_at.year, export.n_future) == (2045, 1)


@pytest.mark.parametrize(
    "header",
    [
        "13/02/2024, 10:00 - ",
        "2/13/24, 9:05 PM - ",
        "[13.02.24, 10:00:05] ",
        "[2024-02-13 9:05:07 p. m.] ",
        "13-02-2024 9:05am: ",
    ],
)
def test_a_common_header_is_the_same_to_the_grammar(header: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"{header}Ada: one\n{header}Ben: two\nat 10:00\n".encode()
    with monkeypatch.context() as patched:
        patched.setattr(dialects.Grammar, "_date_first", None)
        found = dialects.detect_dialect(text)
    monkeypatch.setattr(dialects, "_COMMON_HEADER", re.compile("(?!)"))
    assert found == dialects.detect_dialect(text) is not None
