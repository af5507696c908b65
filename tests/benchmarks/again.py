"""Seconds to recognise, extend, edit and count a stored chat, with its timeline: `python -m tests.benchmarks.again`.

The chat has 99 % of the messages of the file that is uploaded again. Its owner has four other chats of the same years.
Periods are counted five times; the figures are medians.
"""

from __future__ import annotations

import argparse
from contextlib import suppress

from tests import exports
from tests.benchmarks import stage


def main() -> None:
    """Measure each number of messages in the same process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, nargs="+", default=[100_000, 1_000_000])
    print(stage.machine())
    chosen = parser.parse_args()
    with stage.installation():
        for messages in chosen.messages:
            run(messages)


def run(messages: int) -> None:
    """Import, recognise, extend, edit and count one chat, and print the seconds of each."""
    from chats import counting, editing
    from chats.deduplication import ChatRecognised
    from chats.importing import ImportOptions, import_chat, import_upload
    from chats.people import Person
    from chats.statistics.timeline import TimelineCounter
    from chats.transcript import TranscriptReader
    from relivchats.accounts.models import User

    owner = User.objects.create_user(f"again{messages}@example.com")
    records = list(exports.lines(messages))
    older, newer = (exports.zipped("".join(records[:size]).encode()) for size in (messages * 99 // 100, messages))
    for seed in range(2, 6):
        import_chat(owner=owner, upload=exports.text(20_000, seed=seed))
    chat, first = stage.timed(lambda: import_upload(owner=owner, upload=older).chat)
    _, identical = stage.timed(lambda: import_upload(owner=owner, upload=older))

    def recognise() -> None:
        with suppress(ChatRecognised):
            import_upload(owner=owner, upload=newer)

    _, recognised = stage.timed(recognise)
    _, extended = stage.timed(lambda: import_upload(owner=owner, upload=newer, options=ImportOptions(extend=chat.pk)))
    grown = type(chat).objects.get(pk=chat.pk)
    name = grown.participants[0]
    _, edited = stage.timed(lambda: editing.edit_chat(grown, people=[Person(name="Somebody", aliases=[name])]))
    print(f"{messages:,} messages: new {first}, identical {identical}, recognised {recognised}")
    print(f"  extended {extended}, person renamed {edited}", flush=True)
    whole = counting.Period(grown.first_message_on, grown.last_message_on)
    for period in (whole, whole._replace(first=whole.last - (whole.last - whole.first) / 10)):
        counted = [stage.timed(lambda: counting.count_period(grown, period)) for _ in range(5)]  # noqa: B023
        days, found = (period.last - period.first).days + 1, counted[0][0]["total_messages"]
        print(f"  {found:,} messages of {days} days counted: {stage.median([spent.work for _, spent in counted])}")

    def find_timeline() -> None:
        counter = TimelineCounter()
        for batch in TranscriptReader(grown).batches():
            counter.add(batch)
        counter.result()

    spent_times = [stage.timed(find_timeline) for _ in range(5)]
    print(f"  timeline: {stage.median([spent.work for _, spent in spent_times])}", flush=True)


if __name__ == "__main__":
    main()
