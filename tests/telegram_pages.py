"""Web pages as Telegram Desktop writes them for a chat."""

from __future__ import annotations

from html import escape

DATE = "14.03.2024 21:05:33 UTC+01:00"


def page(*messages: str, title: str = "Ravi") -> bytes:
    """Return `messages.html` with these messages."""
    return (
        '<!DOCTYPE html>\n<html>\n\n <head>\n\n  <meta charset="utf-8"/>\n<title>Exported Data</title>\n'
        '  <link href="css/style.css" rel="stylesheet"/>\n\n  <script src="js/script.js" type="text/javascript">\n\n'
        '  </script>\n\n </head>\n\n <body onload="CheckLocation();">\n\n  <div class="page_wrap">\n\n'
        '   <div class="page_header">\n\n    <div class="content">\n\n     <div class="text bold">\n'
        f'{escape(title)} \n     </div>\n\n    </div>\n\n   </div>\n\n   <div class="page_body chat_page">\n\n'
        f'    <div class="history">\n{"".join(messages)}\n    </div>\n\n   </div>\n\n  </div>\n\n </body>\n\n</html>\n'
    ).encode()


def message(number: int, *parts: str, name: str = "", date: str = DATE) -> str:
    """Return a message with the parts; without a name, it continues those of the person before it."""
    picture = from_name = ""
    if name:
        picture = div("pull_left userpic_wrap", div("userpic userpic6", div("initials", name[:1])))
        from_name = div("from_name", f"{escape(name)} ")
    joined = "" if name else " joined"
    time = f'\n       <div class="pull_right date details" title="{date}">\n21:05\n       </div>\n'
    body = div("body", time, from_name, *parts)
    return f'\n     <div class="message default clearfix{joined}" id="message{number}">\n{picture}{body}\n     </div>\n'


def service(number: int, sentence: str) -> str:
    body = div("body details", sentence)
    return f'\n     <div class="message service" id="message{number}">\n{body}\n     </div>\n'


def text(words: str) -> str:
    return div("text", words)


def div(name: str, *parts: str, attributes: str = "") -> str:
    return f'\n      <div class="{name}"{attributes}>\n{"".join(parts)}\n      </div>\n'


def file(kind: str, title: str = "", *, description: str = "", status: str = "", href: str = "") -> str:
    """Return a file that is not included, or something else that Telegram shows in this form."""
    shown = {"title bold": title, "description": description, "status details": status}
    body = div("body", *(div(name, words) for name, words in shown.items() if words))
    tag, link = ("a", f' block_link {kind}" href="{href}"') if href else ("div", f' {kind}"')
    inner = f'<{tag} class="media clearfix pull_left{link}>\n{div("fill pull_left")}{body}</{tag}>\n'
    return div("media_wrap clearfix", inner)


def wrap(kind: str, *parts: str) -> str:
    """Return an included file."""
    image = '<img class="photo" style="width: 1px" src="photos/1_thumb.jpg"/>\n'
    return div(
        "media_wrap clearfix", f'<a class="{kind} clearfix pull_left" href="photos/1.jpg">\n', *parts, image, "</a>\n"
    )


def poll(question: str, *answers: str, note: str = "Anonymous poll") -> str:
    votes = ' <span class="details">2 votes</span>'
    options = (div("answer", f"- {answer}{votes}") for answer in answers)
    inner = (div("question bold", question), div("details", note), *options, div("total details\t", "2 votes"))
    return div("media_wrap clearfix", div("media_poll", *inner))


def reactions(*parts: str) -> str:
    return f'<span class="reactions">\n{"".join(parts)}</span>\n'


def reaction(emoji: str, *people: str, count: int = 0, paid: bool = False) -> str:
    pictures = "".join(
        div("userpic userpic2", div("initials", name[:1], attributes=f' style="line-height: 20px" title="{name}"'))
        for name in people
    )
    shown = f'<span class="userpics">\n{pictures}</span>\n' if people else ""
    shown += f'<span class="count">\n{count}\n</span>\n' if count else ""
    kind = "reaction paid" if paid else "reaction"
    return f'<span class="{kind}">\n<span class="emoji">\n{emoji}\n</span>\n{shown}</span>\n'
