"""A stage of nothing but Python, for the tests of stage_process: importing it costs nothing."""

import gc
import logging
import os
import signal
import time

from seg2d3d_ros.errors import ResultError

LOG = logging.getLogger("seg2d3d_ros.small_stage")


class SmallStage:
    def __init__(self, start=0):
        if start < 0:
            raise ResultError("there is nothing to go on from")
        self.total = start

    def add(self, num):
        self.total += num
        LOG.info("added %d", num)
        return self.total

    def garbage_threshold(self):
        return gc.get_threshold()

    def pid(self):
        return os.getpid()

    def refuse(self):
        LOG.warning("refused")
        raise ResultError("no")

    def fork(self):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        return pid

    def sleep(self, seconds):
        time.sleep(seconds)

    def take(self, mib):
        return len(bytearray(mib << 20))

    def die(self, number):
        os.kill(os.getpid(), getattr(signal, number))
        time.sleep(60)

    def exit(self, code):
        os._exit(code)

    def hide(self):
        return lambda: None
