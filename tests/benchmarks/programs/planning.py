"""Plan a file of prompts, and resume it with a complete ledger. Report the CPU time of both.

planning.py FOLDER COUNT
"""

import json
import sys
import time
from pathlib import Path

from artgen.queue import prompt_files
from artgen.queue.job_queue import JobFilter, pending_jobs
from artgen.queue.ledger import Ledger
from artgen.queue.planner import Planner

folder, count = Path(sys.argv[1]), int(sys.argv[2])
prompts, out = folder / "many.txt", folder / "many"
prompts.write_text("".join(f"a red fox number {i} --seed {i} --steps {10 + i % 20}\n" for i in range(count)))
started = time.process_time()
plan = Planner(out, {"model": "tiny"}).build_plan(prompt_files.read_prompt_file(prompts))
planned = time.process_time() - started
ledger = Ledger(out)
(out / "artgen-ledger").mkdir(parents=True)
with ledger.path.open("w") as file:
    for job in plan.jobs:
        (out / f"{job.number}.png").touch()
        line = {"job": job.fingerprint, "state": "done", "file": f"{job.number}.png", "sha256": job.fingerprint}
        file.write(json.dumps(line) + "\n")
started = time.process_time()
counted = pending_jobs(plan.jobs, ledger, JobFilter())
resumed = time.process_time() - started
if counted.num_completed != count:
    sys.exit(f"{counted.num_completed} of {count} jobs are completed")
print("result: " + json.dumps({"planned": planned, "resumed": resumed}))
