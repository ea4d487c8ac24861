"""How busy everybody else keeps the machine while we measure: what shares the cores makes figures that mean nothing."""

import os
import time

TICKS = os.sysconf("SC_CLK_TCK")


class Bystanders:
    """Watches from when it is made; `pids` are the processes that belong to us, besides this one."""

    def __init__(self, pids):
        self.pids = {os.getpid(), *pids}
        self.began, self.others = time.monotonic(), self._others()

    def cores(self):
        """Cores that others kept busy since, on average."""
        return max(0.0, self._others() - self.others) / (time.monotonic() - self.began)

    def _others(self):
        """Seconds of all processors, without ours."""
        return _machine_seconds() - sum(map(_process_seconds, self.pids))


def _machine_seconds():
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _idle, _waiting, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


def _process_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
