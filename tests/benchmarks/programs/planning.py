"""A file of 100,000 prompts: planned, and looked up in a full ledger; tells processor seconds of both.

planning.py FOLDER
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
began = time.process_time()
plan = Planner(out, {"model": "tiny"}).build_plan(prompt_files.read_prompt_file(prompts))
planned = time.process_time() - began
ledger = Ledger(out)
(out / "artgen-ledger").mkdir(parents=True)
with ledger.path.open("w") as file:
    for job in plan.jobs:
        (out / f"{job.number}.png").touch()
        file.write(
            f'{{"job": "{job.fingerprint}", "state": "done", "file": "{job.number}.png", "sha256": "{job.fingerprint}"}}\n'
        )
began = time.process_time()
counted = pending_jobs(plan.jobs, ledger, JobFilter())
resumed = time.process_time() - began
if counted.num_completed != count:
    sys.exit(f"{counted.num_completed} of {count} found done")
print("told: " + json.dumps({"planned": planned, "resumed": resumed}))
