"""WhatsApp's own texts are recognised in many languages, and never become a person."""

# ruff: noqa: E501  (one line for each language)

from __future__ import annotations

import unicodedata
from datetime import datetime
from pathlib import Path

import pytest

from chats import exports
from chats.exports import phrases, spelling
from chats.exports.parsed import NO_DETAILS, Detail, MediaKind, Message, MessageKind

MARK = "\u200e"
ANDROID = "13/02/2024, 21:05 - "
IOS = "[13/02/2024, 21:05:09] "
IMPORTS_PAGE = (Path(__file__).parents[2] / "docs/imports.md").read_text(encoding="utf-8")
LANGUAGES = phrases.load_phrases(Path(phrases.__file__).with_name("phrases.toml"))


def first(line: str, *, end: str = "\n") -> tuple[list[str], Message]:
    """Return the participants and the first message of a chat that begins with the line."""
    header = IOS if IOS in line else ANDROID
    export = exports.read(end.join([line, f"{header}Zoya: end"]).encode())
    messages = [message for batch in export.batches for message in batch.messages(export.participants)]
    assert len(messages) == 2
    return export.participants, messages[0]


#: Printed for: a file on Android, a picture on an iPhone, a deleted message, a missed call, an included file.
SAMPLES = {
    "en": ("<Media omitted>", "image omitted", "This message was deleted", "Missed voice call", "(file attached)"),
    "es": ("<Multimedia omitido>", "imagen omitida", "Se eliminó este mensaje.", "Llamada perdida", "(archivo adjunto)"),
    "pt-BR": ("<Mídia oculta>", "imagem ocultada", "Mensagem apagada", "Chamada de voz perdida", "(arquivo anexado)"),
    "pt": ("<Ficheiro não revelado>", "imagem não revelada", "Apagou esta mensagem", "Videochamada perdida", "(ficheiro anexado)"),
    "fr": ("<Médias omis>", "image absente", "Ce message a été supprimé", "Appel vocal manqué", "(fichier joint)"),
    "de": ("<Medien ausgeschlossen>", "Bild weggelassen", "Diese Nachricht wurde gelöscht", "Verpasster Sprachanruf", "(Datei angehängt)"),
    "it": ("<Media omessi>", "immagine omessa", "Questo messaggio è stato eliminato", "Chiamata vocale persa", "(file allegato)"),
    "nl": ("<Media weggelaten>", "afbeelding weggelaten", "Dit bericht is verwijderd", "Gemiste spraakoproep", "(bestand bijgevoegd)"),
    "pl": ("<Pominięto multimedia>", "obraz pominięty", "Ta wiadomość została usunięta", "Nieodebrane połączenie głosowe", "(plik załączony)"),
    "ru": ("<Без медиафайлов>", "изображение отсутствует", "Данное сообщение удалено", "Пропущенный аудиозвонок", "(файл добавлен)"),
    "uk": ("<Медіа пропущено>", "зображення відсутнє", "Ви видалили це повідомлення", "Пропущений відеодзвінок", "(файл додано)"),
    "tr": ("<Medya dahil edilmedi>", "görüntü dahil edilmedi", "Bu mesaj silindi", "Cevapsız sesli arama", "(dosya ekli)"),
    "ar": ("<تم استبعاد الوسائط>", "لم يتم إدراج الصورة", "تم حذف هذه الرسالة", "مكالمة صوتية فائتة", "(الملف مرفق)"),
    "fa": ("<رسانه حذف شد>", "تصویر حذف شد", "این پیام حذف شد", "تماس صوتی پاسخ داده نشده", "(پیوست شد)"),
    "he": ("<המדיה לא נכללה>", "התמונה הושמטה", "הודעה זו נמחקה", "שיחה קולית שלא נענתה", "(קובץ מצורף)"),
    "hi": ("<मीडिया के बिना>", "फ़ोटो हटाई गई", "यह मैसेज डिलीट कर दिया गया है", "मिस्ड वॉइस कॉल", "(फाइल अटैच कर दी गई है)"),
    "bn": ("<মিডিয়া বাদ দেওয়া হয়েছে>", "ইমেজ বাদ দেওয়া হয়েছে", "এই মেসেজটি বাদ দেওয়া হয়েছে", "মিসড ভয়েস কল", "(ফাইল সংযুক্ত হয়েছে)"),
    "ta": ("<கோப்புகள் விடப்பட்டன>", "", "இத்தகவல் திரும்பப்பெறப்பட்டது", "தவறிய குரல் அழைப்பு", ""),
    "te": ("<మీడియా విస్మరించబడింది>", "", "ఈ సందేశం తొలగించబడింది", "మిస్సేడ్ వాయిస్ కాల్", "(ఫైల్ జోడించబడినది)"),
    "mr": ("<मीडिया वगळले>", "इमेज वगळली", "हा मेसेज हटवण्यात आला", "मिस्ड व्हॉइस कॉल", "(फाइल संलग्न)"),
    "gu": ("<મીડિયા અવગણાયું>", "છબી પડતી મૂકાઈ", "આ મેસેજ ડિલીટ કરાયો", "છૂટેલો વોઇસ કૉલ", "(ફાઇલ જોડાયેલ)"),
    "ur": ("<میڈیا چھوڑ دیا گیا>", "تصویر نکال دی گئی ہے", "یہ میسج حذف کر دیا گیا ہے۔", "مسڈ وائس کال", "(پیوستہ فائل)"),
    "id": ("<Media tidak disertakan>", "gambar tidak disertakan", "Pesan ini telah dihapus", "Panggilan suara tak terjawab", "(file terlampir)"),
    "ms": ("<Media disingkirkan>", "imej tidak dimasukkan", "Mesej ini telah dipadam", "Panggilan suara terlepas", "(fail dilampirkan)"),
    "vi": ("<Bỏ qua Media>", "đã bỏ qua hình ảnh", "Tin nhắn này đã bị xóa", "Cuộc gọi nhỡ", "(tệp đính kèm)"),
    "th": ("<ไฟล์สื่อถูกลบ>", "วิดีโอถูกลบ", "ข้อความนี้ถูกลบแล้ว", "สายที่ไม่ได้รับ", "(ไฟล์ที่แนบ)"),
    "zh-CN": ("<省略多媒体文件>", "照片已忽略", "这条消息已被删除", "未接语音通话", "(文件附件)"),
    "zh-TW": ("<省略多媒體檔案>", "圖片已略去", "此訊息已刪除。", "未接語音通話", "(附件檔案)"),
    "ja": ("<メディアなし>", "画像は含まれていません", "このメッセージは削除されました", "音声通話不在着信", "(添付ファイル有り)"),
    "ko": ("<미디어 파일 제외됨>", "이미지 생략됨", "이 메시지는 삭제되었습니다", "부재중 전화", "(파일 첨부됨)"),
    "sv": ("<Media har utelämnats>", "bild utesluten", "Det här meddelandet raderades", "Missat röstsamtal", "(bifogad fil)"),
    "da": ("<Medier udeladt>", "billede udeladt", "Denne besked blev slettet", "Ubesvaret taleopkald", "(fil vedhæftet)"),
    "nb": ("<Media utelatt>", "bilde ikke inkludert", "Denne meldingen ble slettet", "Tapt taleanrop", "(vedlagt fil)"),
    "fi": ("<Media jätettiin pois>", "videota ei sisällytetä", "Tämä viesti poistettiin", "Vastaamaton äänipuhelu", "(liitetiedosto)"),
    "cs": ("<Média vynechány>", "obrázek vynechán", "Tato zpráva byla odstraněna", "Zmeškaný hlasový hovor", "(soubor byl přiložen)"),
    "sk": ("<Médiá vynechané>", "obrázok vynechaný", "Táto správa bola odstránená", "Zmeškaný hovor", "(súbor pripojený)"),
    "hu": ("<Hiányzó médiafájl>", "Videó kihagyva", "Ez az üzenet törlésre került", "Nem fogadott hanghívás", "(fájl csatolva)"),
    "ro": ("<Conținut media omis>", "Imagine omisă", "Acest mesaj a fost șters", "Apel vocal nepreluat", "(fișier atașat)"),
    "el": ("<Εξαίρεση πολυμέσων>", "εικόνα παραλείφθηκε", "Αυτό το μήνυμα διαγράφηκε", "Αναπάντητη κλήση", "(συνημμένο αρχείο)"),
}  # fmt: skip


@pytest.mark.parametrize("language", SAMPLES)
def test_placeholders_are_recognised_in_every_language(language: str) -> None:
    android, iphone, deleted, call, attached = SAMPLES[language]
    expected = {
        android: MessageKind.MEDIA,
        iphone: MessageKind.MEDIA,
        deleted: MessageKind.DELETED,
        call: MessageKind.CALL,
    }
    if attached:
        expected |= {f"IMG-1.jpg {attached}": MessageKind.MEDIA, f"Ben Rao.vcf {attached}": MessageKind.CONTACT}
    expected.pop("", None)
    for body, kind in expected.items():
        for line in (f"{ANDROID}Asha: {body}", f"{IOS}Asha: {MARK}{body}", f"{MARK}{IOS}Asha: {MARK}{body}"):
            participants, read = first(line)
            assert participants == ["Asha", "Zoya"]
            assert read._replace(details=NO_DETAILS) == message(body, kind, ios="[" in line)


def test_a_text_with_many_consecutive_marks_is_compared_as_it_is() -> None:
    # Sorting them takes quadratic time.
    marks = "\u0301\u0323" * 20
    assert spelling.normal(f"Ova poruka{marks}") == f"Ova poruka{marks}"
    assert spelling.normal("Cafe\u0301 o’clock, " + "যা\u09df " * 20).startswith("Caf\u00e9 o'clock, যায়")


#: Wordings of a message that its sender, an admin or the exporting person deleted.
DELETED = [
    *("此消息已删除", "此消息已被删除", "你删除了这条消息", "您已删除此消息。", "這則訊息已被刪除", "你已刪除這則訊息"),
    *("メッセージを削除しました", "메시지를 삭제했습니다", "यह संदेश हटा दिया गया है।", "आपने यह मैसेज डिलीट कर दिया है", "حُذفت هذه الرسالة"),
    *("Has eliminado este mensaje", "Esta mensagem foi apagada", "Apagaste esta mensagem", "Tu as supprimé ce message"),
    *("Hai cancellato questo messaggio", "U heeft dit bericht verwijderd", "Это сообщение было удалено", "این پیام پاک شد"),
    *("Det här meddelandet togs bort", "Du tog bort det här meddelandet", "Usunięto wiadomość", "Törölted az üzenetet"),
    *("यह संदेश मिटाया गया था", "এই মেসেজটি মুছে ফেলা হয়েছে", "Admin deleted this message"),
    "This message was deleted by admin Asha Rao",
    *("Повідомлення видалено", "Usunęłaś tę wiadomość", "Kamu menghapus pesan ini", "คุณลบข้อความนี้แล้ว", "ההודעה נמחקה"),
]  # fmt: skip


def test_a_message_deleted_by_either_side_is_recognised() -> None:
    for body in DELETED:
        for line in (f"{ANDROID}Asha: {body}", f"{IOS}Asha: {MARK}{body}"):
            assert first(line)[1].kind is MessageKind.DELETED, body


def message(body: str, kind: MessageKind, *, ios: bool) -> Message:
    at = datetime.fromisoformat("2024-02-13T21:05:09" if ios else "2024-02-13T21:05:00")
    return Message(1, at, "Asha", kind, body)


#: The languages of WhatsApp for Android and for iPhone.
ANDROID_LANGUAGES = """
af ar az bg bn ca cs da de el en es et fa fi fr gu he hi hr hu id it ja kk kn ko lt lv mk ml mr ms nb nl pa pl pt pt-BR ro
ru sk sl sq sr sv sw ta te th tl tr uk ur uz vi zh-CN zh-HK zh-TW
"""
IPHONE_LANGUAGES = """
ar bn ca cs da de el en es fa fi fr ga gu he hi hr hu id it ja ko mr ms nb nl pl pt pt-BR ro ru sk sv th tr uk ur vi zh-CN
zh-HK zh-TW
"""
ANDROID_FIELDS = {"media", "attached", "deleted", "call", "location", "live", "poll", "edited", "system"}
IPHONE_FIELDS = {
    *("photo", "video", "audio", "gif", "sticker", "document", "contact", "attachment", "talk"),
    *("deleted", "call", "location", "poll", "edited", "system"),
}


def test_every_language_of_whatsapp_has_every_field() -> None:
    for languages, fields in ((ANDROID_LANGUAGES, ANDROID_FIELDS), (IPHONE_LANGUAGES, IPHONE_FIELDS)):
        lacking = {name: fields - LANGUAGES[name].keys() for name in languages.split()}
        assert {name: missing for name, missing in lacking.items() if missing} == {}
    assert set(SAMPLES) <= set(LANGUAGES)


def test_the_table_in_the_documentation_shows_what_each_language_has() -> None:
    rows = [line.strip("| ").split(" | ") for line in IMPORTS_PAGE.splitlines() if line.startswith("| ")]
    header = next(row for row in rows if row[0] == "language")
    groups = [cell.strip("`").split() for cell in header[1:]]
    shown = {}
    for name, *cells in rows[rows.index(header) + 1 :]:
        if len(cells) == len(groups) and name.endswith("`"):
            shown[name.split("`")[1]] = [cell == "✓" for cell in cells]
    assert shown == {
        name: [all(field in fields for field in group) for group in groups] for name, fields in LANGUAGES.items()
    }
    documented = {field for group in groups for field in group} | {"voice", "typed"}
    assert documented == {field for fields in LANGUAGES.values() for field in fields}


#: The kind of each field of phrases.toml, and a body in which WhatsApp prints its phrases.
BODIES = {
    "photo": (MessageKind.MEDIA, "{}"),
    "video": (MessageKind.MEDIA, "{}"),
    "audio": (MessageKind.MEDIA, "{}"),
    "voice": (MessageKind.MEDIA, "{}"),
    "gif": (MessageKind.MEDIA, "{}"),
    "sticker": (MessageKind.MEDIA, "{}"),
    "document": (MessageKind.MEDIA, f"bill.pdf {MARK}{{}}"),
    "media": (MessageKind.MEDIA, "{}"),
    "contact": (MessageKind.CONTACT, "{}"),
    "attached": (MessageKind.MEDIA, "IMG-1.jpg ({})"),
    "attachment": (MessageKind.MEDIA, "<{}: 1-PHOTO-2.jpg>"),
    "deleted": (MessageKind.DELETED, "{}"),
    "call": (MessageKind.CALL, "{}"),
    "talk": (MessageKind.CALL, f"{{}}, {MARK}3 min"),
    "location": (MessageKind.LOCATION, "{}: https://maps.google.com/?q=15.5,73.8"),
    "live": (MessageKind.LOCATION, "{}"),
    "poll": (MessageKind.POLL, "{}:\nWhere?\nOPTION: Goa (2 votes)"),
    "edited": (MessageKind.TEXT, "nine {}"),
}
#: Bodies of the phrases that contain other text.
WITH_FILE_NAME = {"attached": "IMG-1.jpg", "attachment": "1-PHOTO-2.jpg"}


def printed(field: str, text: str) -> str:
    """Return a body with a phrase, as WhatsApp prints it."""
    if "…" not in text:
        return BODIES[field][1].format(text)
    body = text.replace("…", WITH_FILE_NAME.get(field, "21:05" if field == "call" else "Ravi"))
    return f"<{body}>" if field == "attachment" else body


#: Letters that WhatsApp writes as one code point, although every normalisation form has two.
DOTTED = {
    "ड\u093c": "\u095c",
    "ढ\u093c": "\u095d",
    "फ\u093c": "\u095e",
    "ज\u093c": "\u095b",
    "য\u09bc": "\u09df",
    "ড\u09bc": "\u09dc",
    "ਜ\u0a3c": "\u0a5b",
    "ਫ\u0a3c": "\u0a5e",
}


def as_whatsapp_writes_it(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    for two, one in DOTTED.items():
        text = text.replace(two, one)
    return text


UNICODE_FORMS = {
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "WhatsApp": as_whatsapp_writes_it,
}


@pytest.mark.parametrize("form", UNICODE_FORMS)
@pytest.mark.parametrize("header", [ANDROID, IOS])
def test_each_phrase_of_the_table_has_its_kind_in_each_unicode_form(header: str, form: str) -> None:
    bodies, expected = [], []
    for language, table in LANGUAGES.items():
        for field, texts in table.items():
            if field not in BODIES:
                continue
            for text in texts:
                if header == ANDROID and text in table.get("typed", ()):
                    continue
                mark = MARK if header == IOS and field != "edited" else ""
                bodies.append(f"{header}Asha: {mark}{printed(field, text)}")
                expected.append((language, text, BODIES[field][0], field == "edited"))
    chat = UNICODE_FORMS[form]("\n".join(bodies))
    export = exports.read(chat.encode())
    messages = [message for batch in export.batches for message in batch.messages(export.participants)]
    read = [
        (language, text, message.kind, message.edited)
        for message, (language, text, _, _) in zip(messages, expected, strict=True)
    ]
    assert read == expected
    assert form != "WhatsApp" or any(letter in chat for letter in DOTTED.values())


def test_a_phrase_is_recognised_if_it_mixes_two_spellings_of_a_letter() -> None:
    body = "<মিডি\u09dfা বাদ দেও\u09af\u09bcা হ\u09dfেছে>"
    assert first(f"{ANDROID}Asha: {body}")[1].kind is MessageKind.MEDIA


@pytest.mark.parametrize("form", UNICODE_FORMS)
def test_each_system_line_with_a_colon_in_a_name_is_recognised_in_each_unicode_form(form: str) -> None:
    people = {}
    for language, table in LANGUAGES.items():
        for phrase in table.get("system", ()):
            pieces = phrase.split("…")
            # The last name contains the colon, unless it is WhatsApp's own, behind a word.
            last = ": Ben" if not pieces[-1] and pieces[-2][-1:].isalpha() else "Ben: Work"
            line = UNICODE_FORMS[form]("Asha".join(pieces[:-1]) + last + pieces[-1])
            name, _, body = line.partition(": ")
            lines = phrases.PHRASES.lines
            is_end = body.encode().endswith(lines.ends)
            if not lines.begin(name) and not ((lines.may_begin(name) or is_end) and lines.end(name, body.encode())):
                people[language, phrase] = name
    assert people == {}


#: Lines that a group, a change of its subject, icon or description, an addition, a removal, a new number, a new security
#: code or encryption causes.
SYSTEM_LINES = {
    "ar": [
        'Huda أنشأ مجموعة "رحلة: الجبل"',
        'Huda غيّر اسم المجموعة من "رحلة: الجبل" إلى "البحر"',
        "Huda أضاف Majed: عمل",
        "أنت أزلت Majed: عمل",
        "Huda غيّر أيقونة هذه المجموعة",
        "تغير رمز أمان Majed: عمل. انقر للمزيد من المعلومات.",
        "تم تغيير رقم هاتف Majed: عمل إلى رقم جديد",
    ],
    "he": [
        'Noa יצר/ה את הקבוצה "טיול: צפון"',
        "הקבוצה נוצרה על ידי Noa: טיול",
        'Noa החליף/ה את הנושא ל-"טיול: צפון"',
        "Noa הוסיף/ה את Gil: עבודה",
        "הסרת את Gil: עבודה",
        "קוד האבטחה של Gil: עבודה השתנה. הקש/י למידע נוסף.",
    ],
    "fa": [
        'Sara گروه "سفر: شمال" را به وجود آورد.',
        'Sara موضوع را به "سفر: شمال" تغییر داد',
        "Omid توسط Sara: کار اضافه شد",
        "شما Omid: کار را حذف کردید",
        "کد امنیتی شما با Omid: کار تغییر کرد.",
    ],
    "ur": [
        'Sana نے گروپ "سفر: شمال" بنایا',
        "Sana نے Bilal: کام کو شامل کیا",
        "آپ نے Bilal: کام کو ہٹایا",
        'Sana نے گروپ کا موضوع "سفر: شمال" میں تبدیل کر دیا ہے',
    ],
    "hi": [
        'Kavya ने "यात्रा: गोवा" समूह बनाया',
        "Kavya ने Rohan: काम को शामिल किया",
        "आपने Rohan: काम को हटाया",
        'Kavya ने विषय को "यात्रा: गोवा" में बदला',
        "Kavya ने ग्रुप का नाम बदलकर यात्रा: गोवा किया",
    ],
    "bn": [
        'Mitali "ভ্রমণ: গোয়া" গোষ্ঠীটি তৈরি করেছে',
        'আপনি বিষয় পরিবর্তন করে "ভ্রমণ: গোয়া" করেছেন',
        "আপনি Rafi: কাজ কে সরিয়েছেন",
        "Mitali গ্রুপের নাম পরিবর্তন করে ভ্রমণ: গোয়া করেছেন",
    ],
}


@pytest.mark.parametrize("language", SYSTEM_LINES)
def test_no_system_line_is_text_of_a_person_on_either_phone(language: str) -> None:
    mark = "\u200f" if language in ("ar", "he", "fa", "ur") else MARK
    for header in (ANDROID, f"{IOS}Our trip: {mark}"):
        chat = "".join(f"{header}{line}\n" for line in SYSTEM_LINES[language])
        chat += "".join(f"{ANDROID if header == ANDROID else IOS}{name}: hello\n" for name in ("Asha", "Zoya"))
        export = exports.read(chat.encode())
        kinds = [kind for batch in export.batches for kind in batch.kinds]
        assert export.participants == ["Asha", "Zoya"]
        assert kinds[:-2] == [MessageKind.SYSTEM] * len(SYSTEM_LINES[language])


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("image omitted", MediaKind.PHOTO),
        ("Bild weggelassen", MediaKind.PHOTO),
        ("फ़ोटो हटाई गई", MediaKind.PHOTO),
        ("ei kuvaa", MediaKind.PHOTO),
        ("video omitted", MediaKind.VIDEO),
        ("video note omitted", MediaKind.VIDEO),
        ("vidéo absente", MediaKind.VIDEO),
        ("audio omitted", MediaKind.AUDIO),
        ("오디오 생략됨", MediaKind.AUDIO),
        ("voice message omitted", MediaKind.VOICE),
        ("GIF omitted", MediaKind.GIF),
        ("GIFは含まれていません", MediaKind.GIF),
        ("sticker omitted", MediaKind.STICKER),
        ("figurinha omitida", MediaKind.STICKER),
        ("document omitted", MediaKind.DOCUMENT),
        (f"Rent.pdf {MARK}document omitted", MediaKind.DOCUMENT),
        (f"Miete.pdf • {MARK}2 Seiten {MARK}Dokument weggelassen", MediaKind.DOCUMENT),
        ("<attached: 00000012-PHOTO-2024-02-13-21-05-09.jpg>", MediaKind.PHOTO),
        ("<附件：00000013-VIDEO-2024-02-13-21-05-09.mp4>", MediaKind.VIDEO),
        ("<adjunto: 00000014-AUDIO-2024-02-13-21-05-09.opus>", MediaKind.VOICE),
        ("<Anhang: 00000014-AUDIO-2024-02-13-21-05-09.m4a>", MediaKind.AUDIO),
        ("< pièce jointe : 00000015-GIF-2024-02-13-21-05-09.mp4 >", MediaKind.GIF),
        ("<00000016-STICKER-2024-02-13-21-05-09.webp eklendi>", MediaKind.STICKER),
        ("<allegato: 00000017-Affitto.v2.pdf>", MediaKind.DOCUMENT),
        # Words that the table lacks: the name of the file tells the kind.
        ("<ligado: 00000018-PHOTO-2024-02-13-21-05-09.jpg>", MediaKind.PHOTO),
        ("Waiting for this message. This may take a while.", None),
    ],
)
def test_an_iphone_tells_the_kind_of_a_file(body: str, kind: MediaKind | None) -> None:
    for line in (f"{MARK}{IOS}Asha: {MARK}{body}", f"{MARK}{IOS}Asha: at the beach {MARK}{body}"):
        _, read = first(line)
        assert (read.kind, read.details.media) == (MessageKind.MEDIA, kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("<Media omitted>", None),
        ("<মিডিয়া বাদ দেওয়া হয়েছে>", None),
        ("<Video note omitted>", MediaKind.VIDEO),
        ("<View once voice message omitted>", MediaKind.VOICE),
        ("IMG-20240213-WA0001.jpg (file attached)", MediaKind.PHOTO),
        ("IMG-20240213-WA0001.jpg (file attached)\nat the beach", MediaKind.PHOTO),
        ("VID-20240213-WA0001.mp4 (Datei angehängt)", MediaKind.VIDEO),
        ("PTT-20240213-WA0001.opus (archivo adjunto)", MediaKind.VOICE),
        ("AUD-20240213-WA0001.opus (fichier joint)", MediaKind.AUDIO),
        ("AUD-20240213-WA0001.m4a (dosya ekli)", MediaKind.AUDIO),
        ("STK-20240213-WA0001.webp (файл добавлен)", MediaKind.STICKER),
        ("DOC-20240213-WA0001.pdf (file allegato)", MediaKind.DOCUMENT),
        ("IMG-20240213-WA0001.pdf (फाइल अटैच कर दी गई है)", MediaKind.DOCUMENT),
        ("holiday.JPG (Datei angehängt)", MediaKind.PHOTO),
        ("rent v1.2.xlsx (文件附件)", MediaKind.DOCUMENT),
        ("IMG-20240213-WA0001.jpg இணைக்கப்பட்டது", MediaKind.PHOTO),
        ("فایل پیوست شد PTT-20240213-WA0001.opus", MediaKind.VOICE),
    ],
)
def test_the_name_of_a_file_tells_its_kind_on_android(body: str, kind: MediaKind | None) -> None:
    _, read = first(f"{ANDROID}Asha: {body}")
    assert (read.kind, read.details.media) == (MessageKind.MEDIA, kind)


def test_only_media_have_a_kind_of_file() -> None:
    for body in (
        "image omitted? why",
        "Ravi.vcf (file attached)",
        "see rent.pdf",
        "This message was deleted",
        "PTT-1.opus",
    ):
        assert first(f"{ANDROID}Asha: {body}")[1].details.media is None
    assert exports.read(f"{ANDROID}Asha: hi\n".encode()).records == {Detail.MEDIA_KINDS}


@pytest.mark.parametrize(
    "note",
    [
        "<This message was edited>",
        "<Mensagem editada>",
        "<Se editó este mensaje.>",
        "<Diese Nachricht wurde bearbeitet.>",
    ],
)
def test_an_edited_message_is_flagged_in_other_languages(note: str) -> None:
    for line in (f"{ANDROID}Asha: nine {note}", f"{IOS}Asha: nine {MARK}{note}"):
        _, read = first(line)
        assert (read.text, read.edited, read.kind) == ("nine", True, MessageKind.TEXT)


def test_an_edit_note_of_an_iphone_is_recognised_in_an_unknown_language() -> None:
    _, read = first(f"{IOS}Asha: zu spät <3 {MARK}<Hierdie boodskap is gewysig>", end="\r\n")
    assert (read.text, read.edited) == ("zu spät <3", True)
    assert not first(f"{IOS}Asha: I <3 you>")[1].edited


@pytest.mark.parametrize(
    "line",
    [
        'Asha changed the subject from "a: b" to "c"',
        'Asha changed the subject from "c" to "a: b"',
        "Asha changed the subject to “Trip: Goa”",
        "Asha creó el grupo “Viaje: Goa”",
        "Asha criou o grupo “Viagem: Goa”",
        "Asha a créé le groupe « Voyage : Goa »",
        "Asha hat die Gruppe „Reise: Goa“ erstellt",
        "Asha hat den Betreff von „Reise: Goa“ zu „Goa“ geändert",
        "Asha ha creato il gruppo «Viaggio: Goa»",
        "Asha heeft de groep 'Reis: Goa' gemaakt",
        "Asha utworzył(a) grupę „Podróż: Goa”",
        "Asha создал(-а) группу «Поездка: Гоа»",
        "Asha, “Gezi: Goa” grubunu oluşturdu",
        "Asha skapade gruppen ”Resa: Goa”",
        "Asha loi ryhmän ”Matka: Goa”",
        "הקבוצה נוצרה על ידי Asha: טיול",
        'Asha שינה את הנושא ל"טיול: גואה"',
        'قام Asha بإنشاء المجموعة "رحلة: غوا"',
        "Asha membuat grup “Liburan: Goa”",
        "Asha đã tạo nhóm “Du lịch: Goa”",
        "Ashaさんが件名を「旅行: ゴア」に変更しました",
        "Asha创建了群组“旅行: 果阿”",
        "Asha將主旨從「旅行: 果亞」變更為「果亞」",
        "Asha님이 “여행: 고아” 그룹을 만들었습니다.",
        'Asha ने ग्रुप "यात्रा: गोवा" बनाया',
        "Asha added Ben: Work",
        "Asha añadió a Ben: Trabajo",
        "Asha agregó a Ben: trabajo",
        "Asha eliminó a Ben: trabajo",
        "Asha hat Ben: Arbeit hinzugefügt",
        "Asha hat Ben: Arbeit entfernt.",
        "Ben wurde von Asha: Arbeit hinzugefügt",
        "Asha a supprimé Ben: Travail",
        "Asha heeft Ben: Werk toegevoegd",
        "Asha reset this group's invite link: x",
        "Asha started a video call: join",
        "Asha adicionou Ben: Trabalho",
        "You added Ben: Work",
        "Añadiste a Ben: Trabajo",
        "Vous avez ajouté Ben: Travail",
        "Du hast den Betreff zu Reise: Goa geändert",
        "Hai rimosso Ben: lavoro",
        "Вы добавили Ben: работа",
        "Ви створили групу Подорож: Гоа",
        "Dodałeś(aś) Ben: praca",
        "Usunięto użytkownika Ben: praca",
        "आपने Ben: काम को जोड़ा",
        "Asha ने Ben: काम को हटाया",
        "Ben: İş kişisini eklediniz",
        "あなたがBen: 仕事を追加しました",
        "회원님이 Ben: 일님을 추가했습니다.",
        "Você criou o grupo Viagem: Goa",
        "הוספת את Ben: עבודה",
        "Asha添加了Ben: 工作",
        "Asha a ajouté Ben: Travail",
        "Asha добавил(а) Ben: работа",
        "Your security code with Ben: Work changed. Tap to learn more.",
        "Seu código de segurança com Ben: Work mudou. Toque para saber mais.",
    ],
)
def test_a_system_line_with_a_colon_in_a_subject_or_name_creates_no_person(line: str) -> None:
    participants, read = first(f"{ANDROID}{line}")
    assert participants == ["Zoya"]
    assert (read.sender, read.kind, read.text) == (None, MessageKind.SYSTEM, line)


@pytest.mark.parametrize(
    "body",
    [
        "I added sugar: two spoons",
        "Ravi added Ben: Work",
        'who changed the subject from "a: b" to "c"?',
        "Your security code with Ben changed. Tap to learn more.",
        "she left, he removed it: done",
        "Se eliminó este mensaje ayer",
        "<3 <Medien>",
        "die Nachricht wurde gelöscht",
        "image omitted? why",
        "ei kuvaa",
        "Ei kuvaa.",
        "ไม่มีรูปภาพ",
        "fără audio",
        "Missed voice call at the station",
        "Verpasster Videoanruf um ihn zu ärgern",
        "فایل پیوست شد. ببین",
        "voice call, 3 min",
        "location: see https://example.org/",
        "投票:\nGoa",
        "<attached: nothing>",
        "see the bill (file attached)",
    ],
)
def test_a_sentence_that_contains_a_phrase_stays_text_of_its_sender(body: str) -> None:
    for line in (f"{ANDROID}Asha: {body}", f"{IOS}Asha: {body}"):
        participants, read = first(line)
        assert participants == ["Asha", "Zoya"]
        assert (read.sender, read.kind, read.text, read.edited) == ("Asha", MessageKind.TEXT, body, False)


def test_the_encryption_notice_is_text_if_a_person_sent_it() -> None:
    sentence = "Messages and calls are end-to-end encrypted."
    assert first(f"{ANDROID}Asha: {sentence}")[1].sender == "Asha"
    assert first(f"{IOS}Our trip: {sentence}")[0] == ["Zoya"]


@pytest.mark.parametrize(
    "name",
    [
        'ד"ר כהן',
        'Asha "Ash" Rao',
        'TV 55"',
        "O’Neil",
        "„Ash“ Rao",
        "«Ася»",
        "Removed",
        "added",
        "Ася (добавил)",
        "「旅」さん",
        "Wer hat Angst",
    ],
)
def test_a_name_with_quotation_marks_or_words_of_a_phrase_is_a_person(name: str) -> None:
    participants, read = first(f"{ANDROID}{name}: hi")
    assert participants == [name, "Zoya"]
    assert read.kind is MessageKind.TEXT


@pytest.mark.parametrize(
    "word", ["location", "Location", "ubicación", "Standort", "localisation ", "местоположение", "位置"]
)
def test_a_shared_location_has_the_kind_location(word: str) -> None:
    body = f"{word}: https://maps.google.com/?q=15.5,73.8"
    assert first(f"{ANDROID}Asha: {body}")[1].kind is MessageKind.LOCATION


@pytest.mark.parametrize(
    "body", [f"Llamada de voz, {MARK}3 min", f"Videoanruf. {MARK}2 Std.", f"Chamada de voz perdida. {MARK}Toque"]
)
def test_a_call_with_its_duration_has_the_kind_call(body: str) -> None:
    assert first(f"{MARK}{IOS}Asha: {MARK}{body}")[1].kind is MessageKind.CALL
