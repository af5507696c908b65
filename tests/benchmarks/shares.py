"""Print the CPU time of each stage of parsing and counting: python -m tests.benchmarks.shares [MESSAGES] [--people N]

Wrappers measure the functions of each stage, without the time of other measured functions that they call. Each figure
is the minimum of several runs, which excludes most of the effect of other load on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from chats.exports import phrases, senders, whatsapp
from chats.statistics import (
    StatisticsCounter,
    activity,
    languages,
    links,
    mentions,
    sentiment,
    sparse_counts,
    text_page,
    vocabulary,
)
from tests import exports
from tests.benchmarks.stage import machine

#: Stage, the owner of its functions, and their names.
STAGES: list[tuple[str, Any, str]] = [
    ("parse: split headers, dates and times", whatsapp._BatchReader, "split"),
    ("parse: names to numbers", senders.SenderNumbers, "assign"),
    ("parse: find WhatsApp's own texts", phrases.Phrases, "notable"),
    ("parse: read WhatsApp's own texts", whatsapp._BatchReader, "_remove_marks _recognise_inner_marks"),
    ("parse: UTF-8 to texts, columns to batches", whatsapp._BatchReader, "_batch"),
    ("statistics: join texts to bytes", text_page.TextPage, "__init__ find"),
    ("statistics: links and mentions", links.LinkCounter, "extract"),
    ("statistics: links and mentions", mentions.MentionCounter, "add"),
    ("statistics: words and emoji to numbers", vocabulary.Vocabulary, "tokenize"),
    ("statistics: languages", languages.LanguageVotes, "from_labels choose_languages count_words"),
    ("statistics: sentiment", sentiment.SentimentCounter, "add_terms add_messages"),
    ("statistics: hours, turns and answers", activity.Activity, "add"),
    ("statistics: counts by person", sparse_counts.SparseCounter, "add _merge_pending"),
    ("statistics: counts by person", sparse_counts.CountTable, "add"),
    ("statistics: other", StatisticsCounter, "add"),
    ("statistics: final figures", StatisticsCounter, "result"),
]


class StageTimer:
    """CPU seconds of each stage in one run."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            started = time.process_time()
            self._inner.append(0.0)
            try:
                return call(*args, **named)
            finally:
                spent = time.process_time() - started
                self.seconds[stage] += spent - self._inner.pop()
                self._inner[-1] += spent

        return run

    def watch(self, stage: str, owner: Any, name: str) -> None:
        function = owner.__dict__[name]
        wrap = type(function) if isinstance(function, staticmethod | classmethod) else (lambda call: call)
        setattr(owner, name, wrap(self.timed(stage, getattr(function, "__func__", function))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("messages", type=int, nargs="?", default=100_000)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--style", choices=exports.STYLES, default="android-24h")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    text = exports.text(options.messages, people=options.people, style=options.style)
    timer = StageTimer()
    for stage, owner, functions in STAGES:
        for name in functions.split():
            timer.watch(stage, owner, name)
    runs = [run_once(text, timer) for _ in range(options.rounds)]
    fastest = {stage: min(run[stage] for run in runs) for stage in dict.fromkeys(stage for stage, _, _ in STAGES)}
    print(f"{machine()}\n{options.messages:,} messages, {options.people} people, {options.style}")
    for stage, seconds in fastest.items():
        print(f"  {1000 * seconds:6.0f} ms {100 * seconds / sum(fastest.values()):4.0f} %  {stage}")
    print(f"  {1000 * sum(fastest.values()):6.0f} ms in total, including the timer itself")


def run_once(text: bytes, timer: StageTimer) -> dict[str, float]:
    timer.seconds.clear()
    export, counter = whatsapp.parse(text), StatisticsCounter()
    for batch in export.batches:
        counter.add(batch)
    counter.result(export.participants)
    return timer.seconds.copy()


if __name__ == "__main__":
    main()
