"""Generate an image on a pseudo-terminal. Report when the first output appeared, and the longest time without output.

first_output.py CHECKOUT ARGUMENT...

`first output` and `longest pause` are in seconds; `silent` is the share of the time before the first output.
"""

import fcntl
import itertools
import json
import os
import pty
import subprocess
import sys
import termios
import time

checkout, *arguments = sys.argv[1:]
leader, follower = pty.openpty()
termios.tcsetwinsize(follower, (24, 80))
started = time.monotonic()
process = subprocess.Popen(
    [sys.executable, "-P", "-m", "artgen", *arguments],
    stdin=follower,
    stdout=follower,
    stderr=follower,
    start_new_session=True,
    preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    env={**os.environ, "TERM": "xterm", "PYTHONPATH": checkout},
)
os.close(follower)
times = [started]
while True:
    try:
        chunk = os.read(leader, 65536)
    except OSError:  # Linux raises an error if the other end is closed
        chunk = b""
    if not chunk:
        break
    times.append(time.monotonic())
times.append(time.monotonic())
if process.wait() != 0:
    sys.exit(process.returncode)
first = times[1] - started
result = {
    "first output": first,
    "longest pause": max(after - before for before, after in itertools.pairwise(times)),
    "silent": first / (times[-1] - started),
}
print("result: " + json.dumps(result))
