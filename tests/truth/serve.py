"""Serve a planted chat's perfect reader, for a demo: `python -m tests.truth.serve [NAME] [--directory DIR]`.

It writes the chat's export, prints the command that shows what a customer of a language model gets, and answers in the
protocol of chat completions until Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

from tests.benchmarks import stage


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.truth.serve", description=__doc__)
    parser.add_argument("name", nargs="?", default="stormy", help="the generated chat")
    parser.add_argument("--directory", type=Path, default=Path("/tmp/relivchats-truth"), help="where it is written")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, default=2000)
    options = parser.parse_args()
    with stage.installation():
        logging.disable(logging.CRITICAL)
        from tests.fakes.chat_completions import FakeChatCompletions
        from tests.truth import pipeline
        from tests.truth.couples import generate_couples
        from tests.truth.oracle import Oracle

        chats = {chat.truth.name: chat for chat in generate_couples(options.seed, messages=options.messages)}
        if options.name not in chats:
            parser.error(f"no chat {options.name!r}; there are {', '.join(chats)}")
        chat = chats[options.name]
        options.directory.mkdir(parents=True, exist_ok=True)
        path = chat.write(options.directory)
        oracle = Oracle(chat.truth, pipeline.load_definitions())
        with FakeChatCompletions(oracle).serving() as server:
            base_url = server.settings()["OPENAI_BASE_URL"]
            print(f"./dev demo {path} --engine openai --base-url {base_url}    (Ctrl-C ends the server)", flush=True)
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    main()
