"""A worker that is forked from a process with a loaded model gets an error instead of hanging."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import multiprocessing, sys
import numpy as np, torch
from small_model import IMAGE_SIZE, small_model

torch.set_num_threads(2)
model = small_model()
pixels = np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
model.observe(pixels)

def work(threads, answers):
    torch.set_num_threads(threads)
    try:
        answers.put(str(model.observe(pixels).embeddings.shape))
    except Exception as error:
        answers.put(f"{type(error).__name__}: {error}")

context = multiprocessing.get_context("fork")
answers = context.Queue()
for threads in (2, 1):
    worker = context.Process(target=work, args=(threads, answers), daemon=True)
    worker.start()
    print(answers.get(timeout=60))
    worker.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system cannot fork.")
def test_a_forked_worker_is_told_to_spawn_and_one_thread_works():
    tests = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=120)
    several, one = done.stdout.splitlines()
    assert several.startswith("BCSamError: This worker was forked")
    assert "get_context('spawn')" in several
    assert one == "(1, 6)"
