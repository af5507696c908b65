"""WhatsApp's marks on iPhones: in each language, the mark and the content of a line decide what the line is."""

from __future__ import annotations

from pathlib import Path

import pytest

from chats import exports
from chats.exports import phrases
from chats.exports.parsed import Detail, Message, MessageKind, ParsedExport

LRM, RLM = "\u200e", "\u200f"
IOS = "[13/02/2024, 21:05:09] "
ARABIC_IOS = f"[{RLM}13{RLM}/2{RLM}/2024، 21:05:09] "
ANDROID = "13/02/2024, 21:05 - "

LANGUAGES = phrases.load_phrases(Path(phrases.__file__).with_name("phrases.toml"))

both_marks = pytest.mark.parametrize("mark", [LRM, RLM], ids=["LRM", "RLM"])


def read(*lines: str, end: str = "\r\n") -> tuple[ParsedExport, list[Message]]:
    export = exports.read(end.join(lines).encode())
    return export, [message for batch in export.batches for message in batch.messages(export.participants)]


def first(line: str, header: str = IOS) -> Message:
    return read(line, f"{header}Zoya: end")[1][0]


SYSTEM_LINES = [
    *("أنشأت هدى هذه المجموعة", "قام ماجد بتغيير أيقونة هذه المجموعة"),
    *("נועה שינתה את תמונת הקבוצה", "נוספת על ידי דוד"),
    *("سارا نماد این گروه را عوض کرد", "امید به گروه پیوست"),
    *("عائشہ نے گروپ کا آئیکن تبدیل کیا", "ዓሻ ቡድኑን ፈጠረች", "Asha badilisha ikoni ya kikundi"),
]


@both_marks
@pytest.mark.parametrize("header", [IOS, ARABIC_IOS])
@pytest.mark.parametrize("line", SYSTEM_LINES)
def test_a_marked_line_is_a_system_line_and_its_group_no_participant(line: str, header: str, mark: str) -> None:
    export, messages = read(f"{header}Our trip: {mark}{line}", f"{header}Zoya: hello")
    assert (export.participants, export.n_messages, export.n_system) == (["Zoya"], 1, 1)
    assert (messages[0].sender, messages[0].kind, messages[0].text) == (None, MessageKind.SYSTEM, line)


@both_marks
@pytest.mark.parametrize(
    "words", ["پیام تصویری کنار گذاشته شد", "תמונה לא צורפה כאן", "شامل نہیں کی گئی تصویر", "ምስል ቀርቷል"]
)
def test_a_placeholder_in_unknown_words_is_media_of_its_sender_if_the_bracket_is_marked(words: str, mark: str) -> None:
    message = first(f"{mark}{IOS}Omid: {mark}{words}")
    assert (message.sender, message.kind, message.text) == ("Omid", MessageKind.MEDIA, words)
    captioned = first(f"{mark}{IOS}Omid: by the sea {mark}{words}")
    assert (captioned.kind, captioned.text) == (MessageKind.MEDIA, f"{words}\nby the sea")
    assert first(f"{IOS}Omid: by the sea {mark}{words}").kind is MessageKind.TEXT


@both_marks
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("התמונה הושמטה", MessageKind.MEDIA),
        ("لم يتم إدراج الصورة", MessageKind.MEDIA),
        ("تم حذف هذه الرسالة", MessageKind.DELETED),
        ("הודעה זו נמחקה", MessageKind.DELETED),
        ("שיחה קולית שלא נענתה, {mark}יש להקיש כדי לחזור", MessageKind.CALL),
        ("مكالمة صوتية فائتة، {mark}انقر لمعاودة الاتصال", MessageKind.CALL),
        ("<المُرفق: 00000012-PHOTO-2024-02-13.jpg>", MessageKind.MEDIA),
    ],
)
def test_known_words_are_recognised_after_either_mark(body: str, kind: MessageKind, mark: str) -> None:
    body = body.format(mark=mark)
    for line in (f"{IOS}Huda: {mark}{body}", f"{mark}{ARABIC_IOS}Huda: {mark}{body}", f"{ANDROID}Huda: {mark}{body}"):
        message = first(line, ANDROID if line.startswith(ANDROID) else IOS if IOS in line else ARABIC_IOS)
        assert (message.sender, message.kind, message.text) == ("Huda", kind, body.replace(mark, ""))


@both_marks
@pytest.mark.parametrize("note", ["<تم تعديل هذه الرسالة>", "<ההודעה נערכה>", "<این پیام ویرایش شد>", "<ተስተካክሏል>"])
def test_an_edited_message_is_flagged_after_either_mark(note: str, mark: str) -> None:
    for body in ("see you", "נתראה מחר", f"{mark}+972 50 123"):
        message = first(f"{IOS}Noa: {body} {mark}{note}")
        assert (message.text, message.edited, message.kind) == (body.removeprefix(mark), True, MessageKind.TEXT)


@pytest.mark.parametrize("text", ["שלום לכולם", "مرحبا بالجميع", "سلام به همه"])
def test_a_text_of_a_person_can_begin_with_the_mark_of_a_keyboard(text: str) -> None:
    android = first(f"{ANDROID}Noa: {RLM}{text}", ANDROID)
    assert (android.sender, android.kind, android.text) == ("Noa", MessageKind.TEXT, text)
    notice = f"{IOS}Noa: {LRM}Messages and calls are end-to-end encrypted."
    photo = f"{LRM}{IOS}Noa: {LRM}image omitted"
    for written_by_whatsapp in (notice, photo):
        export, messages = read(written_by_whatsapp, f"{IOS}Noa: {RLM}{text}", f"{IOS}Zoya: end")
        assert (messages[1].sender, messages[1].kind, messages[1].text) == ("Noa", MessageKind.TEXT, text)
        assert export.participants == ["Noa", "Zoya"]


@pytest.mark.parametrize("text", ["מתי נפגשים?", "متى نلتقي؟", "کجایی؟ ", "یوم مبارک!"])
def test_a_question_or_an_exclamation_is_its_author_s_also_on_a_phone_in_arabic(text: str) -> None:
    notice = f"{ARABIC_IOS}Noa: {RLM}Messages and calls are end-to-end encrypted."
    photo = f"{RLM}{ARABIC_IOS}Noa: {RLM}image omitted"
    _, messages = read(notice, photo, f"{ARABIC_IOS}Noa: {RLM}{text}", f"{ARABIC_IOS}Noa: {RLM}נועה עזבה את הטיול")
    assert (messages[2].sender, messages[2].kind, messages[2].text) == ("Noa", MessageKind.TEXT, text)
    assert messages[3].kind is MessageKind.SYSTEM


@both_marks
def test_a_copied_number_at_the_beginning_of_a_text_is_its_author_s(mark: str) -> None:
    message = first(f"{IOS}Noa: {mark}+972 50-123-4567")
    assert (message.sender, message.kind, message.text) == ("Noa", MessageKind.TEXT, "+972 50-123-4567")


def test_a_mark_before_every_bracket_says_nothing_about_files() -> None:
    lines = [f"{RLM}{IOS}{name}: שלום" for name in ("Noa", "David", "Noa")]
    export, messages = read(*lines, f"{RLM}{IOS}Noa: {RLM}נועה עזבה את הטיול")
    assert (export.n_messages, export.n_system) == (3, 1)
    assert messages[-1].kind is MessageKind.SYSTEM


marked_header = pytest.mark.parametrize("before", ["", "mark"], ids=["plain", "marked"])


@both_marks
@marked_header
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("Розташування: https://maps.google.com/?q=50.4501,30.5234", MessageKind.LOCATION),
        ("Kinaroroonan: https://maps.google.com/?q=14.6,121.0", MessageKind.LOCATION),
        ("Kohvik (Pikk 12): https://foursquare.com/v/4b0588", MessageKind.LOCATION),
        ("موقعیت: https://maps.google.com/?q=35.7,51.4", MessageKind.LOCATION),
        ("Suara. {mark}2 min", MessageKind.CALL),
        ("Häälkõne, {mark}1 t 5 min", MessageKind.CALL),
        ("Simu ya sauti. {mark}dakika 2", MessageKind.CALL),
        ("תיחש. {mark}3 דק׳", MessageKind.CALL),
        ("تماس ناشناخته، {mark}۴۵ ثانیه", MessageKind.CALL),
        ("အသံခေါ်ဆိုမှု၊ အသစ်။ {mark}၅ မိနစ်", MessageKind.CALL),
        ("Xizmat. {mark}9:05 PM", MessageKind.CALL),
        ("音声。{mark}1分23秒", MessageKind.CALL),
        (
            "KÜSITLUS:\nKuhu?\n{mark}VARIANT: Tartu ({mark}2 häält)\n{mark}VARIANT: Narva ({mark}0 häält)",
            MessageKind.POLL,
        ),
        ("نظرسنجی تازه:\nکجا؟\n{mark}گزینه: کوه ({mark}۲ رأی)", MessageKind.POLL),
        ("新投票:\n去哪里\n{mark}候选：山（北）（{mark}2 票）", MessageKind.POLL),
        ("<manus: 00000012-PHOTO-2024-02-13.jpg>", MessageKind.MEDIA),
    ],
)
def test_the_content_of_a_marked_line_decides_its_kind(body: str, kind: MessageKind, before: str, mark: str) -> None:
    body = body.format(mark=mark)
    message = first(f"{mark if before else ''}{IOS}Taras: {mark}{body}")
    assert (message.sender, message.kind, message.text) == ("Taras", kind, body.replace(mark, ""))


@both_marks
@marked_header
@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Üürileping.pdf • {mark}14 lk {mark}dokument jäeti välja", "Üürileping.pdf • 14 lk dokument jäeti välja"),
        ("Kodi ya nyumba.docx {mark}hati haikujumuishwa", "Kodi ya nyumba.docx hati haikujumuishwa"),
        ("עותק.pdf • {mark}עמוד 1 {mark}מסמך לא צורף כאן", "עותק.pdf • עמוד 1 מסמך לא צורף כאן"),
        ("two\nlines\nRent.xlsx • {mark}3 s {mark}fuera", "Rent.xlsx • 3 s fuera\ntwo\nlines"),
        ("by the sea {mark}<manus: 00000012-PHOTO.jpg>", "<manus: 00000012-PHOTO.jpg>\nby the sea"),
    ],
)
def test_a_document_in_unknown_words_is_media_of_its_sender(body: str, text: str, before: str, mark: str) -> None:
    message = first(f"{mark if before else ''}{IOS}Taras: {body.format(mark=mark)}")
    assert (message.sender, message.kind, message.text) == ("Taras", MessageKind.MEDIA, text)


@both_marks
@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            "Lease draft.pdf • {mark}14 pages {mark}<attached: 00000002-Lease draft.pdf>",
            "Lease draft.pdf • 14 pages <attached: 00000002-Lease draft.pdf>",
        ),
        (
            "contrat.pdf • {mark}1 page {mark}<pièce jointe : 00000002-contrat.pdf>",
            "contrat.pdf • 1 page <pièce jointe : 00000002-contrat.pdf>",
        ),
        ("plan.png {mark}<attached: 00000003-plan.png>", "plan.png <attached: 00000003-plan.png>"),
        ("plan.png {mark}<附件：00000003-plan.png>", "plan.png <附件：00000003-plan.png>"),
        ("see plan.png {mark}<attached: 00000003-plan.png>", "<attached: 00000003-plan.png>\nsee plan.png"),
        (
            "please sign\nLease.pdf • {mark}2 pages {mark}<attached: 00000002-Lease.pdf>",
            "Lease.pdf • 2 pages <attached: 00000002-Lease.pdf>\nplease sign",
        ),
    ],
)
def test_the_name_of_an_attached_document_is_not_its_caption(body: str, text: str, mark: str) -> None:
    message = first(f"{mark}{IOS}Taras: {body.format(mark=mark)}")
    assert (message.kind, message.text) == (MessageKind.MEDIA, text)


@both_marks
@pytest.mark.parametrize(
    "line",
    [
        "Taras змінив назву на {mark}+380 44 123 45 67",
        "Ви додали {mark}~ Olena",
        "Код безпеки змінився. {mark}Натисніть, щоб дізнатися більше.",
        "Taras увімкнув зникнення: {mark}нові повідомлення",
        "Taras pakeitė aprašą (2 kartus)",
    ],
)
def test_a_system_line_with_an_inner_mark_or_numbers_keeps_its_kind(line: str, mark: str) -> None:
    export, messages = read(f"{IOS}Taras: {mark}{line.format(mark=mark)}", f"{IOS}Zoya: end")
    assert (messages[0].sender, messages[0].kind) == (None, MessageKind.SYSTEM)
    assert export.participants == ["Zoya"]


@pytest.mark.parametrize("body", [f"call me, {LRM}2 min", f"see plan.pdf: {LRM}+91 98765", f"a (b)\n{LRM}c (2 x)"])
def test_marks_inside_a_text_do_not_change_its_kind(body: str) -> None:
    message = first(f"{IOS}Taras: {body}")
    assert (message.sender, message.kind, message.text) == ("Taras", MessageKind.TEXT, body)


#: By language: the mark of an iPhone, then system lines, among them subjects and names with a colon.
SYSTEM_LINES_BY_LANGUAGE = {
    "ar": (
        RLM,
        [
            "الرسائل والمكالمات مشفرة تمامًا بين الطرفين. لا يمكن لأحد قراءتها.",
            "أنشأت هدى هذه المجموعة",
            'قام ماجد بإنشاء المجموعة "سفر: الجبل"',
            "أضافك ماجد",
            "غادرت هدى",
            "تغيّر رمز الأمان لديك مع هدى.",
        ],
    ),
    "he": (
        RLM,
        [
            "ההודעות והשיחות מוצפנות מקצה לקצה. אף אחד מחוץ לצ'אט לא יכול לקרוא אותן.",
            "נועה יצרה את הקבוצה",
            'דוד שינה את הנושא ל"טיול: הגליל"',
            "דוד הוסיף אותך",
            "נועה עזבה",
            "קוד האבטחה שלך עם נועה השתנה.",
        ],
    ),
    "fa": (
        RLM,
        [
            "پیام‌ها و تماس‌ها سرتاسر رمزگذاری شده‌اند.",
            "سارا این گروه را ایجاد کرد",
            "سارا گروه «سفر: کوه» را ایجاد کرد",
            "امید شما را اضافه کرد",
            "سارا گروه را ترک کرد",
            "کد امنیتی شما با سارا تغییر کرد.",
        ],
    ),
    "ur": (
        RLM,
        [
            "پیغامات اور کالز اینڈ ٹو اینڈ انکرپٹڈ ہیں۔",
            "عائشہ نے یہ گروپ بنایا",
            "عائشہ نے گروپ ”سفر: پہاڑ“ بنایا",
            "کامران نے آپ کو شامل کیا",
            "عائشہ نے گروپ چھوڑ دیا",
            "عائشہ کے ساتھ آپ کا سیکیورٹی کوڈ بدل گیا۔",
        ],
    ),
    "hi": (
        LRM,
        [
            "मैसेज और कॉल एंड-टू-एंड एन्क्रिप्टेड हैं.",
            "काव्या ने यह ग्रुप बनाया",
            'काव्या ने ग्रुप "यात्रा: पहाड़" बनाया',
            "रोहन ने आपको जोड़ा",
            "काव्या ने ग्रुप छोड़ दिया",
            "काव्या के साथ आपका सुरक्षा कोड बदल गया.",
        ],
    ),
    "bn": (
        LRM,
        [
            "মেসেজ এবং কল এন্ড-টু-এন্ড এনক্রিপ্ট করা আছে।",
            "মিতালি এই গ্রুপটি তৈরি করেছেন",
            'মিতালি "সফর: পাহাড়" গ্রুপ তৈরি করেছেন',
            "রফি আপনাকে যোগ করেছেন",
            "মিতালি চলে গেছেন",
            "মিতালির সাথে আপনার নিরাপত্তা কোড পরিবর্তিত হয়েছে।",
        ],
    ),
}


def with_file(words: str, form: str, name: str) -> str:
    """Return the line of a file. In some languages, the phrase contains the place of the name."""
    return words.replace("…", name) if "…" in words else form.format(words, name)


@pytest.mark.parametrize("phone", ["android", "iphone"])
@pytest.mark.parametrize("language", SYSTEM_LINES_BY_LANGUAGE)
def test_no_line_of_whatsapp_is_the_text_of_a_participant(language: str, phone: str) -> None:
    mark, system_lines = SYSTEM_LINES_BY_LANGUAGE[language]
    table = LANGUAGES[language]
    own = [
        *((phrase, MessageKind.MEDIA) for phrase in table["media"]),
        *((phrase, MessageKind.CONTACT) for phrase in table["contact"]),
        *((phrase.replace("…", "x"), MessageKind.DELETED) for phrase in table["deleted"]),
        *((phrase.replace("…", "9:05"), MessageKind.CALL) for phrase in table["call"]),
        *((f"{word}: https://maps.google.com/?q=1.5,2.5", MessageKind.LOCATION) for word in table["location"]),
    ]
    if phone == "android":
        header, end = ANDROID, "\n"
        lines = [f"{ANDROID}{line}" for line in system_lines]
        lines += [f"{ANDROID}Noor: {phrase}" for phrase, _ in own]
        lines += [f"{ANDROID}Noor: {with_file(words, '{1} ({0})', 'IMG-1.jpg')}" for words in table["attached"]]
        own += [("", MessageKind.MEDIA) for _ in table["attached"]]
    else:
        header, end = (ARABIC_IOS if mark == RLM else IOS), "\r\n"
        lines = [f"{header}{sender}: {mark}{line}" for line in system_lines for sender in ("Our trip", "Noor")]
        lines += [f"{mark}{header}Noor: {mark}{phrase}" for phrase, _ in own]
        lines += [f"{header}Noor: {mark}{word}, {mark}2 min" for word in table.get("talk", [])]
        own += [("", MessageKind.CALL) for _ in table.get("talk", [])]
        lines += [f"{header}Noor: Lease.pdf • {mark}2 min {mark}{words}" for words in table["document"]]
        attachments = [with_file(words, "<{}: {}>", "00000012-PHOTO.jpg") for words in table["attachment"]]
        lines += [f"{mark}{header}Noor: {mark}{attachment}" for attachment in attachments]
        own += [("", MessageKind.MEDIA) for _ in (*table["document"], *table["attachment"])]
    export, messages = read(*lines, f"{header}Noor: hello", f"{header}Majed: well", end=end)
    n_system = len(lines) - len(own)
    assert export.participants == ["Noor", "Majed"]
    assert export.n_system == n_system
    assert {message.sender for message in messages[:n_system]} == {None}
    assert [message.kind for message in messages[n_system:-2]] == [kind for _, kind in own]
    assert [message.text for message in messages if message.kind is MessageKind.TEXT] == ["hello", "well"]


@both_marks
@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ("Voice call, {mark}45 sec", 45),
        ("Video call. {mark}2 min", 120),
        ("Voice call. {mark}1 hr 5 min", 3_900),
        ("Voice call. {mark}1 hr, 5 min", 3_900),
        ("Sprachanruf. {mark}2 Std.", 7_200),
        ("Häälkõne, {mark}2 min", 120),
        ("音声通話。{mark}1分23秒", 83),
        ("שיחה קולית, {mark}3 דק׳", 180),
        ("تماس ناشناخته، {mark}۴۵ ثانیه", 45),
        ("Voice call. {mark}No answer", None),
        ("Missed voice call. {mark}Tap to call back", None),
        ("Group call, {mark}3 invited", None),
        ("Voice call. {mark}9:05 PM", None),
        ("Voice call. {mark}5 min 1 hr", None),
        ("Missed voice call", None),
    ],
)
def test_the_length_of_a_call_is_read_where_its_units_are_known(body: str, seconds: int | None, mark: str) -> None:
    export, messages = read(f"{mark}{IOS}Taras: {mark}{body.format(mark=mark)}", f"{IOS}Zoya: 2 min")
    assert (messages[0].kind, messages[0].details.duration_seconds) == (MessageKind.CALL, seconds)
    assert messages[1].details.duration_seconds is None
    assert Detail.CALL_DURATIONS in export.records
