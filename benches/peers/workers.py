"""The worker processes, as the orchestrator sees them: one at a time computes, the others wait for their next line."""

import json
import os
import select
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILT = ROOT / "target" / "peers"
MODEL = ROOT / "models" / "smollm2-135m"
# A worker that has not answered after so many seconds is ended.
PATIENCE = 240

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
# Program, its argument behind the number of threads, and what its environment has beyond the threads.
PROGRAMS = {
    "rust": ([str(BUILT / "release" / "peer-worker")], MODEL, {}),
    "torch": ([sys.executable, str(HERE / "torch_worker.py")], MODEL, {}),
    "torch-avx2": ([sys.executable, str(HERE / "torch_worker.py")], MODEL, AVX2),
    "llama": ([sys.executable, str(HERE / "llama_worker.py")], BUILT / "gguf", {}),
}
THREAD_VARIABLES = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"]


class Failed(Exception):
    """A worker cannot do what was asked of it; the text says why."""


class Workers:
    """Starts workers for a number of threads when they are first needed."""

    def __init__(self, n_threads):
        self.n_threads, self.running = n_threads, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.running.values():
            worker.stop()

    def ask(self, name, **request):
        """The answer to a request."""
        if name not in self.running:
            self.running[name] = Worker(name, self.n_threads)
        try:
            return self.running[name].ask(request)
        except Died as death:
            # One that died with a signal in one case may do well in the next, so it is started again.
            del self.running[name]
            raise Failed(str(death)) from None

    def pids(self):
        """The processes that run."""
        return [worker.process.pid for worker in self.running.values()]

    def drop(self):
        """Has all of them forget what they prepared."""
        for name in list(self.running):
            self.ask(name, do="drop")


class Died(Exception):
    """The process has ended, or did not answer."""


class Worker:
    def __init__(self, name, n_threads):
        command, argument, variables = PROGRAMS[name]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        environment |= dict.fromkeys(THREAD_VARIABLES, str(n_threads)) | variables
        self.name = name
        self.log = open(BUILT / f"{name}.log", "ab")
        try:
            self.process = subprocess.Popen(
                [*command, str(n_threads), str(argument)],
                env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
            )
        except OSError as error:
            raise Failed(f"{name}: {error}") from None

    def ask(self, request):
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise Died(self.epitaph()) from None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        line = self.process.stdout.readline() if ready else ""
        if not line:
            raise Died(self.epitaph())
        answer = json.loads(line)
        if "error" in answer:
            raise Failed(answer["error"])
        return answer

    def epitaph(self):
        try:
            status = self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return f"{self.name} did not answer within {PATIENCE} s"
        return f"{self.name} ended with {'signal' if status < 0 else 'status'} {abs(status)}; see target/peers/{self.name}.log"

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.log.close()
